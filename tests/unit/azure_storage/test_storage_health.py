"""An outage of the storage account: one line when it begins, one when it is over."""

from __future__ import annotations

import pytest

from durable_ext.backends.azure_storage.transport.errors import StorageAccessError, StorageUnavailableError
from durable_ext.backends.azure_storage.transport.health import StorageHealth

GONE = StorageUnavailableError(call="queue.get /q", why="nobody listens")


class Stopwatch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def health(clock: Stopwatch) -> StorageHealth:
    watched = StorageHealth(clock)
    watched.watch()
    return watched


def test_an_outage_of_several_services_is_told_once_and_so_is_its_end(
    health: StorageHealth, clock: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    for service in ("queue", "table", "queue"):
        health.failed(service, GONE)
    clock.now = 60
    health.answered("table.query")
    assert health.is_down
    health.answered("queue.get")
    health.answered("queue.get")

    assert not health.is_down
    assert [record.message for record in caplog.records] == [
        "Azure Storage did not do queue.get /q: nobody listens. What was under way is tried again until it answers; "
        "nothing is lost.",
        "Azure Storage answers again, after 60 s.",
    ]


def test_a_service_that_refuses_now_and_then_is_one_outage(
    health: StorageHealth, clock: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(100):
        clock.now = second
        health.failed("table", GONE)
        clock.now = second + 0.5
        health.answered("table.query")

    assert len(caplog.records) == 1


def test_a_service_that_nobody_calls_again_does_not_keep_an_outage_alive(
    health: StorageHealth, clock: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    health.failed("blob", GONE)
    for second in range(0, 120, 10):
        clock.now = second
        health.answered("queue.get")
    assert not health.is_down
    health.failed("table", GONE)
    assert health.is_down

    assert [record.__dict__["event"] for record in caplog.records] == ["storage_down", "storage_up", "storage_down"]
    assert caplog.records[1].message == (
        "Azure Storage answers again, as far as is known: other calls succeed, and nobody has called blob since it failed "
        "70 s ago."
    )


def test_a_service_that_fails_long_after_another_is_an_outage_of_its_own(
    health: StorageHealth, clock: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    health.failed("blob", GONE)
    clock.now = 3_600
    health.failed("table", GONE)
    clock.now += 10
    health.answered("table.query")

    assert not health.is_down
    assert [record.__dict__["event"] for record in caplog.records] == ["storage_down", "storage_down", "storage_up"]
    assert caplog.records[2].message == "Azure Storage answers again, after 10 s."


def test_an_outage_lasts_as_long_as_one_service_keeps_failing(
    health: StorageHealth, clock: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(0, 600, 30):
        clock.now = second
        health.failed("blob", GONE)
        health.answered("queue.get")

    assert health.is_down
    assert len(caplog.records) == 1


def test_an_outage_that_turns_into_a_refusal_tells_that_too(health: StorageHealth, caplog: pytest.LogCaptureFixture) -> None:
    refused = StorageAccessError(call="queue.get /q", status=403, code="AuthenticationFailed")
    for error in (GONE, refused, GONE, refused):
        health.failed("queue", error)

    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "Azure Storage did not do queue.get /q",
        "Azure Storage does not allow queue.get /q",
    ]


def test_what_happens_before_the_hub_is_open_is_told_by_whoever_opens_it(caplog: pytest.LogCaptureFixture) -> None:
    StorageHealth().failed("queue", GONE)

    assert not caplog.records


FULL = StorageUnavailableError(call="blob.put /c/b", why="500 Internal Server Error InternalError No space left on device")


def test_writes_that_fail_while_reads_work_are_one_outage_which_says_so(
    health: StorageHealth, clock: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(0, 240, 30):
        clock.now = second + 2.5
        health.answered("blob.get")
        health.answered("queue.get")
        clock.now = second + 3
        health.failed("blob.put", FULL, since=second)
        clock.now = second + 20
        health.answered("blob.get")
        health.answered("queue.get")
    clock.now = 240
    health.answered("blob.put")

    assert caplog.messages == [
        "Azure Storage did not do blob.put /c/b: 500 Internal Server Error InternalError No space left on device. Writes "
        "fail while reads work (blob.get, queue.get). What was under way is tried again until it answers; nothing is lost.",
        "Azure Storage answers again, after 237 s.",
    ]


def test_an_outage_of_writes_in_which_other_writes_work_names_them(
    health: StorageHealth, clock: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock.now = 2
    for verb in ("table.batch", "queue.get"):
        health.answered(verb)
    clock.now = 3
    health.failed("blob.put", FULL, since=0)

    assert "on device. Other calls work (queue.get, table.batch). What was" in caplog.text


def test_what_answered_before_the_failing_call_began_is_not_said_to_work(
    health: StorageHealth, clock: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock.now = 10.1  # under way when the service broke
    health.answered("blob.get")
    clock.now = 13
    health.failed("blob.put", FULL, since=10)

    assert "on device. What was" in caplog.text


def test_a_read_that_fails_too_after_the_log_has_said_that_reads_work_is_told(
    health: StorageHealth, clock: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock.now = 2
    health.answered("queue.get")
    clock.now = 3
    health.failed("blob.put", FULL, since=0)
    for _ in range(2):
        health.failed("queue.put", FULL, since=0)
        health.failed("queue.get", StorageUnavailableError(call="queue.get /q", why="500"), since=3)

    assert [message.partition(":")[0] for message in caplog.messages] == [
        "Azure Storage did not do blob.put /c/b",
        "Azure Storage did not do queue.get /q",
    ]


def test_a_verb_that_nobody_calls_again_does_not_keep_an_outage_alive(
    health: StorageHealth, clock: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    health.failed("blob.put", FULL, since=0)
    for second in range(0, 180, 10):
        clock.now = second
        health.answered("blob.get")
    assert health.is_down
    clock.now = 181
    health.answered("queue.get")

    assert not health.is_down
    assert caplog.messages[1:] == [
        "Azure Storage answers again, as far as is known: other calls succeed, and nobody has called blob.put since it "
        "failed 181 s ago."
    ]


def test_a_verb_that_nobody_calls_again_does_not_make_an_outage_longer_than_the_others(
    health: StorageHealth, clock: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    health.failed("blob.put", FULL, since=0)
    for second in range(0, 300, 30):
        clock.now = second
        health.failed("table.batch", FULL, since=second)
    clock.now = 300
    health.answered("table.batch")

    assert caplog.messages[1:] == ["Azure Storage answers again, after 300 s."]
