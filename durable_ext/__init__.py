"""Durable Functions for Python without the .NET extension: what an app imports, usually `as df`."""

from durable_ext.core.context import OrchestrationContext as DurableOrchestrationContext
from durable_ext.core.entities.context import EntityContext as DurableEntityContext
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.http_call import DurableHttpRequest, ManagedIdentityTokenSource, TokenSource
from durable_ext.core.retry import RetryOptions
from durable_ext.core.tasks import Task
from durable_ext.errors import (
    ClientError,
    DurableError,
    EntityOperationError,
    FunctionNotFoundError,
    InstanceAlreadyExistsError,
    InstanceNotFoundError,
    InstanceWaitTimeoutError,
    InvalidInstanceStateError,
    NonDeterminismError,
    OrchestrationError,
    TaskFailedError,
)
from durable_ext.failure import FailureDetails
from durable_ext.sdk.app import Blueprint, DFApp
from durable_ext.sdk.class_entities import EntityBase
from durable_ext.sdk.orchestration_client import DurableOrchestrationClient
from durable_ext.sdk.out_of_proc import Entity, Orchestrator
from durable_ext.sdk.retry_policy import RetryPolicy
from durable_ext.sdk.status_values import (
    DurableOrchestrationStatus,
    EntityStateResponse,
    OrchestrationRuntimeStatus,
    PurgeHistoryResult,
)

__all__ = [
    "Blueprint",
    "ClientError",
    "DFApp",
    "DurableEntityContext",
    "DurableError",
    "DurableHttpRequest",
    "DurableOrchestrationClient",
    "DurableOrchestrationContext",
    "DurableOrchestrationStatus",
    "Entity",
    "EntityBase",
    "EntityId",
    "EntityOperationError",
    "EntityStateResponse",
    "FailureDetails",
    "FunctionNotFoundError",
    "InstanceAlreadyExistsError",
    "InstanceNotFoundError",
    "InstanceWaitTimeoutError",
    "InvalidInstanceStateError",
    "ManagedIdentityTokenSource",
    "NonDeterminismError",
    "OrchestrationError",
    "OrchestrationRuntimeStatus",
    "Orchestrator",
    "PurgeHistoryResult",
    "RetryOptions",
    "RetryPolicy",
    "Task",
    "TaskFailedError",
    "TokenSource",
]
