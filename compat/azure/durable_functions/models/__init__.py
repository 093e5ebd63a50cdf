"""Contexts, clients and values. As in 1.x a class shadows the module of its own name."""

from . import DurableOrchestrationStatus, EntityStateResponse, FunctionContext, RpcManagementOptions
from .DurableEntityContext import DurableEntityContext
from .DurableHttpRequest import DurableHttpRequest
from .DurableOrchestrationBindings import DurableOrchestrationBindings
from .DurableOrchestrationClient import DurableOrchestrationClient
from .DurableOrchestrationContext import DurableOrchestrationContext
from .OrchestrationRuntimeStatus import OrchestrationRuntimeStatus
from .OrchestratorState import OrchestratorState
from .PurgeHistoryResult import PurgeHistoryResult
from .RetryOptions import RetryOptions
from .Task import TaskBase
from .TokenSource import ManagedIdentityTokenSource

__all__ = [
    "DurableEntityContext",
    "DurableHttpRequest",
    "DurableOrchestrationBindings",
    "DurableOrchestrationClient",
    "DurableOrchestrationContext",
    "ManagedIdentityTokenSource",
    "OrchestrationRuntimeStatus",
    "OrchestratorState",
    "PurgeHistoryResult",
    "RetryOptions",
    "TaskBase",
]
