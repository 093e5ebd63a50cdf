"""The client of this package where the engine is in the process."""

from __future__ import annotations

from durable_ext.sdk.engine_client import EngineOrchestrationClient

from .models.DurableOrchestrationClient import DurableOrchestrationClient


class EngineClient(EngineOrchestrationClient, DurableOrchestrationClient):
    """Calls of the engine's client, payloads of this package's client."""


__all__ = ["EngineClient"]
