"""InstanceView: what an orchestration can know and say of itself: identity, input, time, ids, custom status."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from durable_ext.core.events import HistoryEvent
from durable_ext.core.ids import deterministic_guid, deterministic_uuid
from durable_ext.core.replay import Replay
from durable_ext.core.replay_logger import Logger, ReplaySafeLogger
from durable_ext.core.timestamps import ticks_from_datetime, ticks_to_datetime


class InstanceView:
    """The part of an orchestration's context that calls nothing; the same at every replay.

    Source: specs/sdk.md 2.4, 4.4-4.6.
    """

    __slots__ = (
        "_clock_ticks",
        "_clock_value",
        "_custom_status",
        "_expected_type",
        "_function_context",
        "_histories",
        "_replay",
        "_status_place",
        "_status_set",
        "_uuid_counter",
    )

    def __init__(
        self,
        replay: Replay,
        *,
        histories: Sequence[HistoryEvent] = (),
        expected_type: Any = None,
        function_context: Any = None,
    ) -> None:
        self._replay = replay
        self._histories = histories
        self._expected_type = expected_type
        self._function_context = function_context
        self._uuid_counter = 0
        self._custom_status: Any = None
        self._status_set = False
        self._status_place = ("", 0)
        self._clock_ticks = -1
        self._clock_value = ticks_to_datetime(replay.now)

    @property
    def instance_id(self) -> str:
        """Id of this instance."""
        return self._replay.instance_id

    @property
    def parent_instance_id(self) -> str | None:
        """Id of the instance that started this one as a sub-orchestration, `None` at the top."""
        started = self._replay.started
        return started.parent.instance.instance_id if started is not None and started.parent is not None else None

    @property
    def version(self) -> str | None:
        """Version that the instance was started with."""
        return self._replay.started.version if self._replay.started is not None else None

    @property
    def histories(self) -> list[HistoryEvent]:
        """The history events known so far, past and new."""
        return list(self._histories)

    @property
    def function_context(self) -> Any:
        """Further values that the host gave, as attributes; empty in our own hosts."""
        if self._function_context is None:
            self._function_context = SimpleNamespace()
        return self._function_context

    @property
    def is_replaying(self) -> bool:
        """Whether the code that runs now has run before; guard logging and other side effects with it."""
        return self._replay.is_replaying

    @property
    def current_utc_datetime(self) -> datetime:
        """The orchestration's time, aware, in UTC: when the episode that runs or is replayed began."""
        ticks = self._replay.now
        if ticks != self._clock_ticks:
            self._clock_ticks = ticks
            self._clock_value = ticks_to_datetime(ticks)
        return self._clock_value

    @current_utc_datetime.setter
    def current_utc_datetime(self, value: datetime) -> None:
        self._replay.now = self._clock_ticks = ticks_from_datetime(value)
        self._clock_value = value

    @property
    def custom_status(self) -> Any:
        """The value last given to `set_custom_status`, `None` before."""
        return self._custom_status

    @property
    def will_continue_as_new(self) -> bool:
        """Whether `continue_as_new` was called."""
        return self._replay.next_input is not None

    def create_replay_safe_logger(self, logger: Logger) -> ReplaySafeLogger:
        """Return a logger that hands on to `logger` what is logged for the first time, and drops it in replays."""
        return ReplaySafeLogger(logger, lambda: self.is_replaying)

    def get_input(self, expected_type: Any = None) -> Any:
        """Return the input, decoded afresh at every call; `None` if there is none.

        Args:
            expected_type: Decode into this type instead of the orchestrator's registered input type.
        """
        replay = self._replay
        text = replay.converter.unwrap_input(replay.started.input) if replay.started is not None else None
        if text is None:
            return None
        return replay.converter.from_text(text, expected_type or self._expected_type)

    def set_custom_status(self, status: Any) -> None:
        """Show a JSON value to whoever queries the instance; `None` clears it. Over 16 KB the orchestration fails."""
        if not self._replay.detached:
            self._custom_status = status
            self._status_set = True
            caller = sys._getframe(1)
            self._status_place = (caller.f_code.co_filename, caller.f_lineno)

    def new_uuid(self) -> str:
        """Return a UUID text that is the same at every replay."""
        counter = self._uuid_counter
        self._uuid_counter = counter + 1
        return deterministic_uuid(self.instance_id, self.current_utc_datetime, counter)

    def new_guid(self) -> uuid.UUID:
        """Return a UUID that is the same at every replay."""
        counter = self._uuid_counter
        self._uuid_counter = counter + 1
        return deterministic_guid(self.instance_id, self.current_utc_datetime, counter)

    @property
    def reported_status(self) -> tuple[bool, Any]:
        """Whether a custom status was set in this generation, and which; for the engine."""
        return self._status_set, self._custom_status

    @property
    def status_place(self) -> str:
        """`file:line` of the last `set_custom_status` call; for the engine."""
        filename, line = self._status_place
        return f"{filename}:{line}"
