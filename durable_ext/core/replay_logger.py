"""ReplaySafeLogger: a logger that is silent while an orchestration replays; knows no logging library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Logger(Protocol):
    """What is used of a `logging.Logger`."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None: ...
    def isEnabledFor(self, level: int) -> bool: ...


class ReplaySafeLogger:
    """Hands on to `logger` what is logged by code that runs for the first time."""

    __slots__ = ("_is_replaying", "_logger")

    def __init__(self, logger: Logger, is_replaying: Callable[[], bool]) -> None:
        self._logger, self._is_replaying = logger, is_replaying

    def isEnabledFor(self, level: int) -> bool:
        """Whether a message of this level would be logged now."""
        return not self._is_replaying() and self._logger.isEnabledFor(level)

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """Log with a numeric level of `logging`."""
        if not self._is_replaying():
            self._logger.log(level, msg, *args, **kwargs)

    def debug(self, msg: object, *args: Any, **kwargs: Any) -> None:
        """Log with level DEBUG."""
        self.log(10, msg, *args, **kwargs)

    def info(self, msg: object, *args: Any, **kwargs: Any) -> None:
        """Log with level INFO."""
        self.log(20, msg, *args, **kwargs)

    def warning(self, msg: object, *args: Any, **kwargs: Any) -> None:
        """Log with level WARNING."""
        self.log(30, msg, *args, **kwargs)

    def error(self, msg: object, *args: Any, **kwargs: Any) -> None:
        """Log with level ERROR."""
        self.log(40, msg, *args, **kwargs)

    def exception(self, msg: object, *args: Any, **kwargs: Any) -> None:
        """Log with level ERROR and the exception that is handled."""
        self.log(40, msg, *args, **{"exc_info": True, **kwargs})

    def critical(self, msg: object, *args: Any, **kwargs: Any) -> None:
        """Log with level CRITICAL."""
        self.log(50, msg, *args, **kwargs)
