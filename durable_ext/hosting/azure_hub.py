"""Settings of an Azure Storage hub, out of host.json's terms into the store's."""

from __future__ import annotations

from typing import Any, Final

from durable_ext.backends.azure_storage.settings import (
    AzureStorageSettings,
    Identity,
    IdentityConnection,
    MessageEncoding,
    PartitionManagement,
    TransportKind,
)
from durable_ext.hosting.settings import HostSettings

_SAME_MEANING: Final = {
    "partitionCount": "partition_count",
    "controlQueueBatchSize": "control_queue_batch_size",
    "controlQueueBufferThreshold": "control_queue_buffer_threshold",
    "controlQueueVisibilityTimeout": "control_queue_visibility",
    "workItemQueueVisibilityTimeout": "work_item_queue_visibility",
    "maxQueuePollingInterval": "max_queue_polling_interval",
    "fetchLargeMessagesAutomatically": "fetch_large_messages",
    "trackingStoreNamePrefix": "tracking_prefix",
}
_APP_LEASE: Final = {
    "leaseInterval": "app_lease_interval",
    "renewInterval": "app_lease_renew_interval",
    "acquireInterval": "app_lease_acquire_interval",
}


def azure_storage_settings(
    settings: HostSettings,
    connection: str | dict[str, str],
    tracking: str | dict[str, str] | None = None,
    *,
    app_name: str = "",
) -> AzureStorageSettings:
    """Return the store's settings; `connection` is a connection string or the keys of an identity-based one."""
    storage = settings.durable_task.storage
    values: dict[str, Any] = {name: storage[key] for key, name in _SAME_MEANING.items() if key in storage}
    values |= {_APP_LEASE[key]: span for key, span in settings.durable_task.app_lease.items()}
    if "queueClientMessageEncoding" in storage:
        values["message_encoding"] = MessageEncoding[storage["queueClientMessageEncoding"].upper()]
    if "transport" in storage:
        values["transport"] = TransportKind(storage["transport"])
    if storage.get("useLegacyPartitionManagement"):
        values["partition_manager"] = PartitionManagement.LEGACY_BLOB
    elif storage.get("useTablePartitionManagement") is False:
        values["partition_manager"] = PartitionManagement.SAFE_BLOB
    return AzureStorageSettings(
        connection=_connection(connection),
        tracking_connection=None if tracking is None else _connection(tracking),
        task_hub=settings.task_hub,
        use_app_lease=settings.durable_task.use_app_lease,
        app_name=app_name,
        **values,
    )


def _connection(value: str | dict[str, str]) -> str | IdentityConnection:
    if isinstance(value, str):
        return value
    keys = {key.lower(): text for key, text in value.items() if text}
    return IdentityConnection(
        identity=Identity(
            credential=keys.get("credential"),
            client_id=keys.get("clientid"),
            resource_id=keys.get("managedidentityresourceid"),
            object_id=keys.get("managedidentityobjectid"),
            managed_client_id=keys.get("managedidentityclientid"),
            cloud=keys.get("azurecloud"),
            tenant_id=keys.get("tenantid"),
            client_secret=keys.get("clientsecret"),
            certificate=keys.get("certificate"),
        ),
        account_name=keys.get("accountname"),
        blob_service_uri=keys.get("blobserviceuri"),
        queue_service_uri=keys.get("queueserviceuri"),
        table_service_uri=keys.get("tableserviceuri"),
    )
