"""FailureDetails: what is recorded of an exception; knows no history and no store."""

from __future__ import annotations

import os
import traceback
from dataclasses import dataclass
from typing import Final, TypeVar

_MAX_CAUSES: Final = 32
_PACKAGE: Final = os.path.dirname(os.path.abspath(__file__)) + os.sep
_STANDARD_LIBRARY: Final = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_INSTALLED: Final = ("site-packages", "dist-packages")  # below the standard library where there is no environment
_ERRORS: Final = f"{__package__}.errors"  # by name: that module needs this one
_MARK: Final = "_durable_refusal"

_Error = TypeVar("_Error", bound=BaseException)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureDetails:
    """A recorded failure, as DurableTask.Core's class of the same name (specs/azure-storage.md 5.3).

    `properties` is kept as JSON text because its values are foreign; `None` if there are none.
    """

    error_type: str
    error_message: str
    stack_trace: str | None = None
    inner_failure: FailureDetails | None = None
    is_non_retriable: bool = False
    properties: str | None = None

    @property
    def message(self) -> str:
        """The same as `error_message`, by its name in azure-functions-durable 2.x."""
        return self.error_message

    def is_caused_by(self, error: type[BaseException] | str) -> bool:
        """Whether this or an inner failure is of an exception class, or of a name as it was recorded."""
        name = error if isinstance(error, str) else error.__name__
        failure: FailureDetails | None = self
        while failure is not None:
            if name in (failure.error_type, failure.error_type.rpartition(".")[2]):
                return True
            failure = failure.inner_failure
        return False


def legible(text: str) -> str:
    """Return a text with escapes for halves of characters, which most outputs cannot print."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def exception_text(exc: BaseException) -> str:
    """Return `str(exc)`, or what kind of exception it is if its class cannot make a text."""
    try:
        return str(exc)
    except Exception:  # user code runs here
        return str(type(exc))


def failure_from_exception(exc: BaseException) -> FailureDetails:
    """Return the details of a caught exception, its `__cause__` chain included; never raises.

    A chain that leads back to itself ends there, one of more than 32 causes after those.
    """
    chain: list[BaseException] = []
    link: BaseException | None = exc
    while link is not None and len(chain) <= _MAX_CAUSES and not any(link is known for known in chain):
        chain.append(link)
        link = link.__cause__
    details: FailureDetails | None = None
    for link in reversed(chain):
        details = FailureDetails(
            error_type=type(link).__name__,
            error_message=exception_text(link),
            stack_trace="".join(user_frames(link).format()) or None,
            inner_failure=details,
        )
    assert details is not None
    return details


def refusal(error: _Error) -> _Error:
    """Mark an error that the engine raises on purpose, if its class has to be one of Python's: `raise refusal(error)`."""
    setattr(error, _MARK, True)
    return error


def is_refusal(error: BaseException) -> bool:
    """Whether the engine raised an error on purpose: one of `durable_ext.errors`, or a marked one."""
    return getattr(error, _MARK, False) is True or any(kind.__module__ == _ERRORS for kind in type(error).__mro__)


def user_frames(exc: BaseException) -> traceback.StackSummary:
    """Return the stack of an exception as far as it concerns the user: it begins in the user's code.

    An error that the engine raises on purpose also ends there, and has no frames if the user's code is not on its stack.
    Of any other error all frames are kept then: it is a bug of the engine.
    """
    frames = traceback.extract_tb(exc.__traceback__)
    users = [index for index, frame in enumerate(frames) if _is_users(frame.filename)]
    on_purpose = is_refusal(exc)
    if not users:
        return traceback.StackSummary.from_list([] if on_purpose else frames)
    end = users[-1] + 1 if on_purpose else len(frames)
    return traceback.StackSummary.from_list(frames[users[0] : end])


def has_user_frames(exc: BaseException) -> bool:
    """Whether the user's code is on the stack of an exception."""
    return last_user_frame(exc) is not None


def last_user_frame(exc: BaseException) -> traceback.FrameSummary | None:
    """Return the innermost frame of the user's code on the stack of an exception, `None` if there is none.

    That of an installed package only if there is no other.
    """
    frames = [frame for frame in traceback.extract_tb(exc.__traceback__) if _is_users(frame.filename)]
    own = [frame for frame in frames if not any(part in frame.filename for part in _INSTALLED)]
    return next(reversed(own or frames), None)


def _is_users(filename: str) -> bool:
    if filename.startswith(_PACKAGE):
        return False
    return not filename.startswith(_STANDARD_LIBRARY) or any(part in filename for part in _INSTALLED)
