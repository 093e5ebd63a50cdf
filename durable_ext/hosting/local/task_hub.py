"""Which store a host's settings mean, and what of them a worker takes; opens nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.errors import ConfigurationError
from durable_ext.hosting.settings import HostSettings, check_hub_name, find_connection
from durable_ext.runtime.settings import WorkerSettings

if TYPE_CHECKING:
    from durable_ext.backends import BackendSettings

HUB_FOLDER = ".durable"


def hub_file(settings: HostSettings) -> Path:
    """Return the file of the embedded hub."""
    return settings.script_root / HUB_FOLDER / f"{settings.task_hub}.db"


def backend_settings(settings: HostSettings, environ: Mapping[str, str]) -> BackendSettings:
    """Return the settings of the hub's store.

    Raises:
        ConfigurationError: A storage connection is missing, or cannot be one; the text names its setting, not its value.
    """
    storage = settings.durable_task.storage
    if settings.hub_kind == "embedded":
        return SqliteSettings(
            path=hub_file(settings), task_hub=settings.task_hub, synchronous=storage.get("synchronous", "FULL")
        )
    connection = find_connection(settings.connection_name, environ)
    if connection is None:
        raise ConfigurationError(
            f"Unable to resolve the Azure Storage connection named '{settings.connection_name}'. Set "
            f"{_setting_name(settings)} in local.settings.json or the environment, or use --hub embedded."
        )
    from durable_ext.hosting.azure_hub import azure_storage_settings

    tracking_name = storage.get("trackingStoreConnectionName") or storage.get("trackingStoreConnectionStringName")
    tracking = find_connection(tracking_name, environ) if tracking_name else None
    if tracking_name and tracking is None:
        raise ConfigurationError(
            f"Unable to resolve the Azure Storage connection named '{tracking_name}' of trackingStoreConnectionName in "
            f"host.json. Set {tracking_name} in local.settings.json or the environment, or leave that key out."
        )
    app_name = environ.get("WEBSITE_SITE_NAME") or environ.get("DTFX_APP_NAME", "")
    found = azure_storage_settings(settings, connection, tracking, app_name=app_name)
    for name, account in ((_setting_name(settings), "account"), (tracking_name, "tracking_account")):
        try:
            getattr(found, account)
        except ConfigurationError as exc:
            raise ConfigurationError(f"{name}: {exc}") from exc
    return found


def away_hint(store: BackendSettings) -> str:
    """Return what to do if a store cannot be reached at the start."""
    if isinstance(store, SqliteSettings):
        return ""
    if store.account.is_emulator:
        return "Start Azurite (npx azurite) or use --hub embedded."
    return "Check the network and the account's firewall; --hub embedded does without it. The host goes on trying."


def other_backend_settings(
    settings: HostSettings, environ: Mapping[str, str], task_hub: str, connection: str
) -> BackendSettings:
    """Return the settings of another hub of the same kind: a file beside the own one, or a hub in a storage account.

    Raises:
        ConfigurationError: The name cannot be that of a hub, or there is no connection of that name.
    """
    if settings.hub_kind == "embedded" and connection.lower() != settings.connection_name.lower():
        raise ConfigurationError(
            f"Unable to resolve the Azure Storage connection named '{connection}': this host works on files. Leave the "
            f"connection out."
        )
    hub = check_hub_name(task_hub, "The request", "Correct taskHub.")
    if settings.hub_kind == "embedded":
        files = (settings.script_root / HUB_FOLDER).glob("*.db")
        hub = next((file.stem for file in files if file.stem.lower() == hub.lower()), hub)
    return backend_settings(replace(settings, task_hub=hub, connection_name=connection), environ)


def _setting_name(settings: HostSettings) -> str:
    return "AzureWebJobsStorage" if settings.connection_name == "Storage" else settings.connection_name


def worker_settings(settings: HostSettings) -> WorkerSettings:
    """Return what of host.json concerns the worker."""
    options = settings.durable_task
    local = {"true": "on", "false": "off", "batched": "batched"}
    values: dict[str, Any] = {
        "local_activities": local[options.storage.get("localActivities", "true")],
        "local_activity_spill": options.storage.get("localActivitySpill", timedelta(milliseconds=500)),
    }
    if options.entity_rollback is not None:
        values["entity_rollback"] = options.entity_rollback
    return WorkerSettings(
        max_concurrent_orchestrations=options.max_concurrent_orchestrations,
        max_concurrent_activities=options.max_concurrent_activities,
        max_concurrent_entities=options.max_concurrent_entities,
        session_idle_timeout=options.session_idle_timeout,
        function_timeout=settings.function_timeout,
        max_entity_batch=options.max_entity_batch,
        reorder_window=options.reorder_window,
        store_inputs=options.store_inputs,
        max_orchestration_actions=options.max_orchestration_actions,
        http_async_poll=options.http_async_poll,
        worker_version=options.worker_version,
        **values,
    )
