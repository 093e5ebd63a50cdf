"""How core turns entity values into recorded text and back: a port that `codec/entity_wire.py` fills."""

from __future__ import annotations

from typing import Protocol

from durable_ext.core.entities.messages import (
    EntityRelease,
    EntityRequest,
    EntityResponse,
    EntityStatus,
    SchedulerState,
)


class EntityCodec(Protocol):
    """Entity values ↔ JSON text, byte for byte as the Durable extension writes it (specs/azure-storage.md 10.5).

    `typed` texts begin with `$type`: what orchestrations and entities send has it, what clients send has not.
    Readers ignore unknown members and raise `ValueError` on a text that is no such message.
    """

    def request_text(self, request: EntityRequest, *, typed: bool) -> str: ...
    def read_request(self, text: str) -> EntityRequest: ...
    def response_text(self, response: EntityResponse, *, typed: bool = True) -> str: ...
    def read_response(self, text: str) -> EntityResponse: ...
    def release_text(self, release: EntityRelease, *, typed: bool) -> str: ...
    def read_release(self, text: str) -> EntityRelease: ...
    def state_text(self, state: SchedulerState) -> str: ...
    def read_state(self, text: str | None) -> SchedulerState:
        """Read a recorded scheduler state; `None` is the empty one."""
        ...

    def status_text(self, status: EntityStatus) -> str: ...
    def read_status(self, text: str | None) -> EntityStatus:
        """Read a custom status; anything that is none (an internal error's text) reads as empty."""
        ...
