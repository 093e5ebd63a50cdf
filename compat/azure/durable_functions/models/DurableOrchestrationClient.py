"""The client: as that of `durable_ext`, but events arrive as JSON text, as 1.x sends them (specs/sdk.md 7, row 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import durable_ext

if TYPE_CHECKING:
    from durable_ext.sdk.engine_client import EngineOrchestrationClient


class DurableOrchestrationClient(durable_ext.DurableOrchestrationClient):
    """See `durable_ext.DurableOrchestrationClient`."""

    _keeps_1x_events: ClassVar[bool] = True

    @classmethod
    def engine_class(cls) -> type[EngineOrchestrationClient]:
        """Return the class of the client on the engine of this process."""
        from .._engine_client import EngineClient

        return EngineClient


__all__ = ["DurableOrchestrationClient"]
