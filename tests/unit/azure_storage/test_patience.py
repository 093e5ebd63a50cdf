"""How long a request waits for the service, on clocks that are moved: not while its process stands still."""

from __future__ import annotations

import pytest

from durable_ext.backends.azure_storage.transport.patience import Patience
from durable_ext.backends.azure_storage.transport.wire import StoodStillError


class Machine:
    """Its two clocks."""

    def __init__(self) -> None:
        self.running = self.wall = 100.0

    def patience(self, seconds: float) -> Patience:
        return Patience(seconds, monotonic=lambda: self.running, wall=lambda: self.wall)

    def wait(self, seconds: float, *, late: float = 0.0, asleep: float = 0.0) -> None:
        """Let a wait of so many seconds end so late, `asleep` of it with the monotonic clock at rest."""
        self.running += seconds + late - asleep
        self.wall += seconds + late


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_a_service_that_does_not_answer_is_waited_for_as_long_as_it_was_said(machine: Machine) -> None:
    patience = machine.patience(30)
    waited = 0.0
    while (seconds := patience.next_wait()) > 0:
        machine.wait(seconds, late=0.1)
        waited += seconds + 0.1

    assert 30 <= waited < 30.2
    error = patience.timeout("no answer", 30)
    assert (type(error), str(error)) == (TimeoutError, "no answer within 30 s")


@pytest.mark.parametrize("nap", [5.0, 29.0, 31.0, 45.0, 3_600.0])
@pytest.mark.parametrize("suspended", [False, True])  # the monotonic clock of a laptop that sleeps stands still too
def test_after_a_nap_the_service_has_some_seconds_to_answer_and_is_not_blamed(
    machine: Machine, nap: float, suspended: bool
) -> None:
    patience = machine.patience(30)
    machine.wait(patience.next_wait(), late=nap, asleep=nap if suspended else 0.0)
    left = patience.next_wait()
    machine.wait(left)

    assert 0 < left <= 5
    assert patience.next_wait() == 0
    error = patience.timeout("no answer", 30)
    assert isinstance(error, StoodStillError)
    assert str(error) == f"no answer: this process stood still for at least {nap:.0f} s"


def test_a_short_wait_is_not_made_longer_by_looking(machine: Machine) -> None:
    patience = machine.patience(0.05)

    assert patience.next_wait() == pytest.approx(0.05)
    machine.wait(0.06)
    assert patience.next_wait() == 0
