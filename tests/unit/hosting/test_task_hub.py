"""What host.json says reaches the store and the worker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable_ext.backends.azure_storage.settings import (
    AzureStorageSettings,
    Identity,
    IdentityConnection,
    MessageEncoding,
    PartitionManagement,
    TransportKind,
)
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.core.versioning import VersionMatch, VersionMismatch, WorkerVersion
from durable_ext.errors import ConfigurationError
from durable_ext.hosting.local.task_hub import backend_settings, worker_settings
from durable_ext.hosting.settings import HubKind, load_settings
from durable_ext.runtime.settings import WorkerSettings

CONNECTION = "UseDevelopmentStorage=true"
WriteApp = Callable[..., Path]


def _store(root: Path, environ: dict[str, str] | None = None, hub: HubKind | None = None) -> Any:
    environ = {"AzureWebJobsStorage": CONNECTION} if environ is None else environ
    return backend_settings(load_settings(root, environ, hub=hub), environ)


def _app(write_app: WriteApp, **durable_task: Any) -> Path:
    return write_app(host={"extensions": {"durableTask": durable_task}})


def test_without_settings_the_store_has_its_own_defaults(write_app: WriteApp) -> None:
    root = write_app()
    azure = _store(root)

    assert azure == AzureStorageSettings(connection=CONNECTION, task_hub="TestHubName", worker_id=azure.worker_id)
    assert _store(root, {}) == SqliteSettings(path=root / ".durable" / "TestHubName.db", task_hub="TestHubName")


@pytest.mark.parametrize(
    ("key", "written", "name", "value"),
    [
        ("partitionCount", 7, "partition_count", 7),
        ("controlQueueBatchSize", 16, "control_queue_batch_size", 16),
        ("controlQueueBufferThreshold", 64, "control_queue_buffer_threshold", 64),
        ("controlQueueVisibilityTimeout", "00:02:00", "control_queue_visibility", timedelta(minutes=2)),
        ("workItemQueueVisibilityTimeout", "00:03:00", "work_item_queue_visibility", timedelta(minutes=3)),
        ("maxQueuePollingInterval", "00:00:05", "max_queue_polling_interval", timedelta(seconds=5)),
        ("fetchLargeMessagesAutomatically", False, "fetch_large_messages", False),
        ("trackingStoreNamePrefix", "Mine", "tracking_prefix", "Mine"),
        ("queueClientMessageEncoding", "base64", "message_encoding", MessageEncoding.BASE64),
        ("transport", "sdk", "transport", TransportKind.SDK),
    ],
)
def test_keys_of_the_storage_provider_reach_the_store(
    write_app: WriteApp, key: str, written: object, name: str, value: object
) -> None:
    store = _store(_app(write_app, storageProvider={key: written}))

    assert getattr(store, name) == value


def test_options_of_the_app_lease_reach_the_store(write_app: WriteApp) -> None:
    options = {"leaseInterval": "00:00:30", "RenewInterval": "00:00:10", "acquireInterval": "00:00:15"}

    store = _store(_app(write_app, useAppLease=False, appLeaseOptions=options))

    assert store.use_app_lease is False
    assert store.app_lease_interval == timedelta(seconds=30)
    assert store.app_lease_renew_interval == timedelta(seconds=10)
    assert store.app_lease_acquire_interval == timedelta(seconds=15)


def test_a_second_account_holds_tables_and_blobs(write_app: WriteApp) -> None:
    root = _app(write_app, storageProvider={"connectionName": "Queues", "trackingStoreConnectionName": "Tables"})

    store = _store(root, {"Queues": CONNECTION, "Tables__accountName": "mine", "Tables__clientId": "me"})

    assert store.connection == CONNECTION
    assert isinstance(store.tracking_connection, IdentityConnection)
    assert (store.tracking_connection.account_name, store.tracking_connection.identity.client_id) == ("mine", "me")


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, ""),
        ({"DTFX_APP_NAME": "plain"}, "plain"),
        ({"WEBSITE_SITE_NAME": "site", "DTFX_APP_NAME": "plain"}, "site"),
    ],
)
def test_the_app_lease_is_that_of_the_app_as_the_provider_names_it(
    write_app: WriteApp, environ: dict[str, str], name: str
) -> None:
    assert _store(write_app(), {"AzureWebJobsStorage": CONNECTION, **environ}).app_name == name


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, PartitionManagement.TABLE),
        ({"useTablePartitionManagement": True}, PartitionManagement.TABLE),
        ({"useTablePartitionManagement": False}, PartitionManagement.SAFE_BLOB),
        ({"useLegacyPartitionManagement": True}, PartitionManagement.LEGACY_BLOB),
        ({"useLegacyPartitionManagement": True, "useTablePartitionManagement": True}, PartitionManagement.LEGACY_BLOB),
        ({"useLegacyPartitionManagement": False, "useTablePartitionManagement": False}, PartitionManagement.SAFE_BLOB),
    ],
)
def test_the_kind_of_leases_is_what_both_switches_say(
    write_app: WriteApp, given: dict[str, bool], kind: PartitionManagement
) -> None:
    assert _store(_app(write_app, storageProvider=given)).partition_manager is kind


def test_a_missing_connection_is_named_with_both_ways_out(write_app: WriteApp) -> None:
    with pytest.raises(ConfigurationError, match=r"AzureWebJobsStorage in local\.settings\.json .* --hub embedded"):
        _store(write_app(), {}, "azure")


def test_a_second_account_that_no_setting_names_is_refused(write_app: WriteApp) -> None:
    root = _app(write_app, storageProvider={"trackingStoreConnectionName": "Tables"})

    with pytest.raises(ConfigurationError, match=r"named 'Tables' of trackingStoreConnectionName"):
        _store(root, {"AzureWebJobsStorage": CONNECTION})


def test_a_connection_that_host_json_names_and_no_setting_has_is_refused(write_app: WriteApp) -> None:
    root = _app(write_app, storageProvider={"connectionName": "Queues"})

    with pytest.raises(ConfigurationError, match=r"connectionName is 'Queues', .* Set Queues in .* --hub embedded"):
        _store(root, {"AzureWebJobsStorage": CONNECTION})


def test_a_connection_that_cannot_be_used_is_named_by_its_setting(write_app: WriteApp) -> None:
    with pytest.raises(ConfigurationError, match=r"^AzureWebJobsStorage: The storage connection string cannot be used"):
        _store(write_app(), {"AzureWebJobsStorage": "nonsense"})


@pytest.mark.parametrize("missing", ["blobServiceUri", "queueServiceUri", "tableServiceUri"])
def test_an_identity_connection_without_one_of_its_addresses_names_it(write_app: WriteApp, missing: str) -> None:
    services = {name: f"https://{name}.x" for name in ("blobServiceUri", "queueServiceUri", "tableServiceUri")}
    section = {f"AzureWebJobsStorage__{name}": uri for name, uri in services.items() if name != missing}

    with pytest.raises(ConfigurationError, match=rf"^AzureWebJobsStorage: .*; {missing} is missing"):
        _store(write_app(), section)


def test_each_key_of_an_identity_connection_reaches_the_store_in_any_case(write_app: WriteApp) -> None:
    section = {
        "credential": "managedidentity",
        "CLIENTID": "c",
        "managedIdentityResourceId": "r",
        "managedIdentityObjectId": "o",
        "managedIdentityClientId": "m",
        "azureCloud": "usgov",
        "tenantId": "t",
        "clientSecret": "s",
        "certificate": "/p.pem",
        "accountName": "acct",
        "blobServiceUri": "https://b.x",
        "queueServiceUri": "https://q.x",
        "tableServiceUri": "https://t.x",
    }

    store = _store(write_app(), {f"AzureWebJobsStorage__{key}": value for key, value in section.items()})

    assert store.connection == IdentityConnection(
        identity=Identity(
            credential="managedidentity",
            client_id="c",
            resource_id="r",
            object_id="o",
            managed_client_id="m",
            cloud="usgov",
            tenant_id="t",
            client_secret="s",
            certificate="/p.pem",
        ),
        account_name="acct",
        blob_service_uri="https://b.x",
        queue_service_uri="https://q.x",
        table_service_uri="https://t.x",
    )


def test_an_empty_key_of_an_identity_connection_is_none(write_app: WriteApp) -> None:
    keys = {"accountName": "acct", "clientId": "", "credential": "", "blobServiceUri": ""}

    store = _store(write_app(), {f"AzureWebJobsStorage__{key}": value for key, value in keys.items()})

    assert store.connection == IdentityConnection(identity=Identity(), account_name="acct")


@pytest.mark.parametrize(
    "setting",
    [
        "ConnectionStrings:AzureWebJobsHub",
        "AzureWebJobsHub",
        "ConnectionStrings:Hub",
        "Hub",
        "ConnectionStrings__AzureWebJobsHub",
        "ConnectionStrings__Hub",
    ],
)
def test_a_connection_is_found_under_each_name_that_the_extension_tries(write_app: WriteApp, setting: str) -> None:
    root = _app(write_app, storageProvider={"connectionName": "Hub"})

    assert _store(root, {setting: CONNECTION}).connection == CONNECTION
    assert _store(root, {f"{setting}__accountName": "acct"}).connection.account_name == "acct"


def test_of_several_settings_for_a_connection_the_first_name_wins(write_app: WriteApp) -> None:
    environ = {"AzureWebJobsHub__accountName": "acct", "Hub": CONNECTION, "ConnectionStrings:Hub": "later"}

    store = _store(_app(write_app, storageProvider={"connectionName": "Hub"}), environ)

    assert store.connection.account_name == "acct"


def test_the_embedded_store_has_the_durability_that_is_asked_for(write_app: WriteApp) -> None:
    assert _store(_app(write_app, storageProvider={"synchronous": "normal"}), {}).synchronous == "NORMAL"


@pytest.mark.parametrize(
    ("values", "name", "value"),
    [
        ({"maxConcurrentActivityFunctions": 3}, "max_concurrent_activities", 3),
        ({"maxConcurrentOrchestratorFunctions": 4}, "max_concurrent_orchestrations", 4),
        ({"maxConcurrentEntityFunctions": 5}, "max_concurrent_entities", 5),
        ({"maxEntityOperationBatchSize": 6}, "max_entity_batch", 6),
        ({"extendedSessionIdleTimeoutInSeconds": 7}, "session_idle_timeout", timedelta(seconds=7)),
        ({"maxOrchestrationActions": 8}, "max_orchestration_actions", 8),
        ({"entityMessageReorderWindowInMinutes": 9}, "reorder_window", timedelta(minutes=9)),
        ({"rollbackEntityOperationsOnExceptions": False}, "entity_rollback", False),
        ({"storeInputsInOrchestrationHistory": True}, "store_inputs", True),
        ({"storageProvider": {"localActivities": "batched"}}, "local_activities", "batched"),
        ({"storageProvider": {"localActivities": False}}, "local_activities", "off"),
        ({"storageProvider": {"localActivitySpill": "00:00:02"}}, "local_activity_spill", timedelta(seconds=2)),
        (
            {"defaultVersion": "1.2"},
            "worker_version",
            WorkerVersion(version="1.2", match=VersionMatch.CURRENT_OR_OLDER, mismatch=VersionMismatch.REJECT),
        ),
        (
            {"versionMatchStrategy": "strict", "versionFailureStrategy": "fail"},
            "worker_version",
            WorkerVersion(match=VersionMatch.STRICT, mismatch=VersionMismatch.FAIL),
        ),
        (
            {"httpSettings": {"defaultAsyncRequestSleepTimeMilliseconds": 1500}},
            "http_async_poll",
            timedelta(milliseconds=1500),
        ),
    ],
)
def test_keys_of_host_json_reach_the_worker(write_app: WriteApp, values: dict[str, Any], name: str, value: object) -> None:
    settings = worker_settings(load_settings(_app(write_app, **values), {}))

    assert getattr(settings, name) == value


def test_without_settings_the_worker_has_its_own_defaults(write_app: WriteApp) -> None:
    settings = worker_settings(load_settings(write_app(host={"functionTimeout": "-1"}), {}))

    assert settings == WorkerSettings()
