"""A real embedded store that says it works like Azure Storage, and remembers what it was asked to write."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from durable_ext.backends.azure_storage.service import TRAITS as AZURE_TRAITS
from durable_ext.backends.protocol import (
    BackendTraits,
    Checkpoint,
    OrchestrationSession,
    Receipt,
)
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.errors import PayloadTooLargeError


class RecordingSession:
    """Passes everything on; notes each checkpoint that the store has accepted."""

    def __init__(self, session: OrchestrationSession, checkpoints: list[Checkpoint]) -> None:
        self._session = session
        self._checkpoints = checkpoints

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def checkpoint(self, checkpoint: Checkpoint) -> Receipt:
        receipt = await self._session.checkpoint(checkpoint)
        self._checkpoints.append(checkpoint)
        return receipt


@dataclass
class RecordingBackend:
    """`checkpoints` by instance id, in order."""

    inner: SqliteBackend
    traits: BackendTraits = AZURE_TRAITS
    checkpoints: dict[str, list[Checkpoint]] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def orchestrations(self) -> RecordingBackend:
        return self

    async def lock_next_orchestration(self, wait: timedelta) -> Any:
        return self.recorded(await self.inner.orchestrations.lock_next_orchestration(wait))

    async def lock_next_entity(self, wait: timedelta) -> Any:
        return self.recorded(await self.inner.orchestrations.lock_next_entity(wait))

    def recorded(self, session: OrchestrationSession | None) -> RecordingSession | None:
        return None if session is None else RecordingSession(session, self.of(session))

    def of(self, session: OrchestrationSession) -> list[Checkpoint]:
        return self.checkpoints.setdefault(session.instance.instance_id, [])


class NarrowSession(RecordingSession):
    """Refuses checkpoints with a text that is longer than `limit` characters, as a store may."""

    def __init__(self, session: OrchestrationSession, checkpoints: list[Checkpoint], limit: int) -> None:
        super().__init__(session, checkpoints)
        self._limit = limit

    async def checkpoint(self, checkpoint: Checkpoint) -> Receipt:
        for event in checkpoint.new_events:
            for name in ("result", "input"):
                text = getattr(event, name, None)
                if text is not None and len(text) > self._limit:
                    raise PayloadTooLargeError(f"{type(event).__name__}.{name}", len(text), self._limit)
        return await super().checkpoint(checkpoint)


@dataclass
class NarrowBackend(RecordingBackend):
    """A store that holds no text of more than `limit` characters."""

    limit: int = 1_000

    def recorded(self, session: OrchestrationSession | None) -> RecordingSession | None:
        return None if session is None else NarrowSession(session, self.of(session), self.limit)
