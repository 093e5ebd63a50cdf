"""Episodes that an error of ours ended: how often in a row, so that their instance does not come back for ever."""

from __future__ import annotations

from typing import Final

from durable_ext.errors import DurableError, EpisodeFailedError, RequestRefusedError

_ATTEMPTS: Final = 3
_MOST_KNOWN: Final = 10_000
_MISTAKES: Final = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, TypeError, ValueError)


class EpisodeFailures:
    """Shared by the runs of one worker; used from its event loop. Other workers count for themselves.

    Only mistakes count: what a store, the network or the system refuse may be over the next time. An instance whose
    checkpoint the store refuses is known too, so that it can be terminated, but it is never failed: a wrong proxy or a fault
    of the service would fail every instance of the hub.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, str]] = {}

    def note(self, instance_id: str, error: Exception) -> None:
        """Count a mistake, know of a refusal; other errors do not count."""
        is_refusal = isinstance(error, RequestRefusedError)
        if not is_refusal and (isinstance(error, DurableError) or not isinstance(error, _MISTAKES)):
            return
        times, _ = self._known.pop(instance_id, (0, ""))
        if len(self._known) >= _MOST_KNOWN:
            self._known.pop(next(iter(self._known)))
        self._known[instance_id] = (times if is_refusal else times + 1, _text(error))

    def forget(self, instance_id: str) -> None:
        """An episode of the instance was stored."""
        if self._known:
            self._known.pop(instance_id, None)

    def is_suspect(self, instance_id: str) -> bool:
        """Whether the last episode of an instance has failed that way."""
        return instance_id in self._known

    def end_of(self, instance_id: str) -> EpisodeFailedError | None:
        """Return what the instance fails with, `None` if it may be played again."""
        times, text = self._known.get(instance_id, (0, ""))
        return EpisodeFailedError(times, text) if times >= _ATTEMPTS else None


def _text(error: Exception) -> str:
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # it may hold a value of the user's, which may have no text
        text = type(error).__name__
    return text.encode("utf-8", "backslashreplace").decode("utf-8")[:1000]
