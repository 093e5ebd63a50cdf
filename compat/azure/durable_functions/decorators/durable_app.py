"""DFApp and Blueprint."""

from __future__ import annotations

from typing import ClassVar

from azure.functions import AuthLevel, FunctionRegister

import durable_ext

from ..entity import Entity
from ..models.DurableOrchestrationClient import DurableOrchestrationClient
from ..orchestrator import Orchestrator


class Blueprint(durable_ext.Blueprint):
    """See `durable_ext.Blueprint`; what is registered here keeps the semantics of 1.x."""

    _legacy: ClassVar[bool] = True
    _orchestrator_class = Orchestrator
    _entity_class = Entity
    _client_class = DurableOrchestrationClient


class DFApp(Blueprint, FunctionRegister):
    """See `durable_ext.DFApp`; what is registered here keeps the semantics of 1.x."""

    def __init__(self, http_auth_level: AuthLevel | str = AuthLevel.FUNCTION) -> None:
        super().__init__(http_auth_level)


__all__ = ["Blueprint", "DFApp"]
