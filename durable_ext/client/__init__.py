"""DurableClient: what can be done to instances and entities from outside."""

from durable_ext.client.client import DurableClient
from durable_ext.client.entities import EntityPage, EntityQuery, EntitySnapshot, StorageCleaning
from durable_ext.client.opening import open_client
from durable_ext.client.query import InstanceQuery, StatusPage
from durable_ext.client.status import InstanceStatus

__all__ = [
    "DurableClient",
    "EntityPage",
    "EntityQuery",
    "EntitySnapshot",
    "InstanceQuery",
    "InstanceStatus",
    "StatusPage",
    "StorageCleaning",
    "open_client",
]
