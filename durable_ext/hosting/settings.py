"""HostSettings: host.json, local.settings.json and the environment, parsed once; the only reader of all three."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

from durable_ext.core.timestamps import timespan_from_text, timespan_to_text
from durable_ext.core.versioning import VersionMatch, VersionMismatch, WorkerVersion
from durable_ext.errors import ConfigurationError
from durable_ext.hosting.host_json import HostJson
from durable_ext.hosting.json_files import read_json_object
from durable_ext.hosting.local_settings import LocalHost, read_local_settings

HubKind = Literal["embedded", "azure"]

_STRICT_TYPING: Final = "AZURE_FUNCTIONS_DURABLE_STRICT_TYPING"
_SETTING: Final = re.compile(r"%([^%]+)%")
_HUB_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{2,49}")
_INERT: Final = {
    "extensions.durableTask.tracing": "this host sends no traces. What instances do is in its log (logging.logLevel).",
    "extensions.durableTask.notifications.eventGrid": (
        "this host publishes no events to Event Grid. Let the orchestrator call an activity that does, or poll the status."
    ),
}
_MINUTE: Final = timedelta(minutes=1)
_STORAGE_BOUNDS: Final[tuple[tuple[str, Any, Any, str], ...]] = (  # key, least, most, and the words of the extension
    ("partitionCount", 1, 16, "an integer value between 1 and 16"),
    ("controlQueueBatchSize", 1, None, "a non-negative integer other than 0"),
    ("controlQueueBufferThreshold", 1, 1000, "between 1 and 1000"),
    ("controlQueueVisibilityTimeout", _MINUTE, 60 * _MINUTE, "between 1 and 60 minutes"),
    ("maxQueuePollingInterval", timedelta.resolution, None, "non-negative and not 0"),
    ("localActivitySpill", timedelta(0), None, "00:00:00 or more"),
)
_LEVELS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "information": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "none": logging.CRITICAL + 10,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableTaskSettings:
    """Section `extensions.durableTask`, with defaults filled in (specs/host-json.md 2).

    `storage` and `app_lease` hold the keys of `storageProvider` and `appLeaseOptions` in their Python types, as host.json
    spells them; absent keys are absent.
    """

    max_concurrent_activities: int
    max_concurrent_orchestrations: int
    max_concurrent_entities: int
    max_entity_batch: int
    session_idle_timeout: timedelta
    max_orchestration_actions: int
    replace_any_state: bool
    reorder_window: timedelta
    entity_rollback: bool | None
    store_inputs: bool
    worker_version: WorkerVersion
    http_async_poll: timedelta
    use_forwarded_host: bool
    use_app_lease: bool
    app_lease: Mapping[str, timedelta]
    storage: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What a host has to know before it loads an app.

    Attributes:
        task_hub, hub_kind, hub_reason: Which hub, and for people: why this one.
        connection_name: Connection of an Azure Storage hub as settings name it; `Storage` means `AzureWebJobsStorage`.
        route_prefix: Before each HTTP route, without slashes around it; may be empty.
        function_timeout: Upper bound of one function call, `None` = none.
        log_levels: Category of host.json → level of `logging`; `default` in lower case.
        allowed_functions: Names of `functions`, in any case; `None` = all.
        strict_typing: Payloads have to fit the types that code expects (`AZURE_FUNCTIONS_DURABLE_STRICT_TYPING`).
        warnings: Lines to show once.
    """

    script_root: Path
    task_hub: str
    hub_kind: HubKind
    hub_reason: str
    connection_name: str
    durable_task: DurableTaskSettings
    route_prefix: str = "api"
    function_timeout: timedelta | None = None
    log_levels: Mapping[str, int]
    allowed_functions: frozenset[str] | None = None
    local_host: LocalHost = field(default_factory=LocalHost)
    strict_typing: bool = False
    warnings: tuple[str, ...] = ()


def load_settings(script_root: Path, environ: MutableMapping[str, str], *, hub: HubKind | None = None) -> HostSettings:
    """Read the settings of the app in `script_root`; puts local.settings.json's values into `environ`.

    Raises:
        ConfigurationError: A file or a value cannot be used; one line that names file, path, value and remedy.
    """
    local = read_local_settings(script_root / "local.settings.json")
    skipped = local.apply(environ)
    path = script_root / "host.json"
    content = read_json_object(path)
    _check_version(path, content)
    host = HostJson(content, environ)
    kind, reason = _choose_hub(host, environ, hub)
    return HostSettings(
        script_root=script_root,
        task_hub=_hub_name(host, environ),
        hub_kind=kind,
        hub_reason=reason,
        connection_name=_connection_name(host),
        durable_task=_durable_task(host),
        route_prefix=_default(host.get("extensions.http.routePrefix"), "api").strip("/"),
        function_timeout=_function_timeout(host),
        log_levels=_log_levels(host),
        allowed_functions=_allowed_functions(host),
        local_host=local.host,
        strict_typing=environ.get(_STRICT_TYPING, "").strip().lower() in ("1", "true", "yes"),
        warnings=(*host.warnings, *_relations(host), *_without_effect(host), *skipped),
    )


def environment() -> MutableMapping[str, str]:
    """Return the environment of this process: what `load_settings` completes and the app sees."""
    return os.environ


def resolve_setting_names(text: str, environ: Mapping[str, str]) -> str:
    """Replace each `%NAME%` by that app setting; the text stays as it is if one of them is missing."""
    if any(name not in environ for name in _SETTING.findall(text)):
        return text
    return _SETTING.sub(lambda match: environ[match.group(1)], text)


def find_connection(name: str, environ: Mapping[str, str]) -> str | dict[str, str] | None:
    """Return a connection string, or the keys of an identity-based connection, or `None` (specs/host-json.md 8)."""
    for candidate in (f"ConnectionStrings:AzureWebJobs{name}", f"AzureWebJobs{name}", f"ConnectionStrings:{name}", name):
        for spelling in (candidate, candidate.replace(":", "__")):
            if environ.get(spelling):
                return environ[spelling]
            prefix = f"{spelling}__"
            section = {key.removeprefix(prefix): value for key, value in environ.items() if key.startswith(prefix)}
            if section:
                return section
    return None


def _default(value: Any, default: Any) -> Any:
    return default if value is None else value


def _check_version(path: Path, content: Mapping[str, Any]) -> None:
    version = {key.lower(): value for key, value in content.items()}.get("version")
    if version != "2.0":
        said = "is missing" if version is None else f"is {version!r}"
        raise ConfigurationError(f'{path}: the \'version\' property {said}. Write "version": "2.0".')


def _connection_name(host: HostJson) -> str:
    provider = "extensions.durableTask.storageProvider"
    name: str | None = host.get(f"{provider}.connectionName") or host.get(f"{provider}.connectionStringName")
    return name or "Storage"


def _choose_hub(host: HostJson, environ: Mapping[str, str], option: HubKind | None) -> tuple[HubKind, str]:
    """--hub > storageProvider.type > a storage connection > embedded (design.md 1)."""
    if option is not None:
        return option, f"--hub {option}"
    provider = host.get("extensions.durableTask.storageProvider.type")
    if provider is not None:
        kinds: dict[str, HubKind] = {"embedded": "embedded", "azurestorage": "azure"}
        kind = kinds.get(provider.strip().lower())
        if kind is None:
            raise ConfigurationError(
                f"host.json: storage provider type ({provider}) was not found. Available storage providers: AzureStorage, "
                f"Embedded. Change extensions.durableTask.storageProvider.type."
            )
        return kind, f"storageProvider.type is {provider} in host.json"
    name = _connection_name(host)
    is_default = name in ("Storage", "AzureWebJobsStorage")
    setting = "AzureWebJobsStorage" if is_default else name
    if find_connection(name, environ) is not None:
        return "azure", f"{setting} is set"
    if not is_default:  # somebody wants this hub in that account, not in a file here
        raise ConfigurationError(
            f"host.json: storageProvider.connectionName is '{name}', but there is no setting of that name. Set {name} in "
            f"local.settings.json or in the environment, or use --hub embedded."
        )
    return "embedded", f"{setting} is {'empty' if setting in environ else 'not set'}"


def _hub_name(host: HostJson, environ: Mapping[str, str]) -> str:
    default = _sanitized(environ.get("WEBSITE_SITE_NAME") or "TestHubName")
    written = host.get("extensions.durableTask.hubName")
    if written is None:
        return _outside_slots(default, environ)
    name = resolve_setting_names(written, environ)
    missing = [each for each in _SETTING.findall(name) if each not in environ]
    if missing:
        raise ConfigurationError(
            f"host.json: hubName is '{written}', but the setting {missing[0]} does not exist. Set it in local.settings.json "
            f"or in the environment."
        )
    if not name.strip():
        raise ConfigurationError("host.json: A non-empty HubName configuration is required.")
    if name.lower() == default.lower():
        return _outside_slots(default, environ)
    return check_hub_name(name, "host.json", "Change extensions.durableTask.hubName.")


def _outside_slots(default: str, environ: Mapping[str, str]) -> str:
    """Return the default hub; a deployment slot of the site would take work of production from it."""
    slot = environ.get("WEBSITE_SLOT_NAME")
    if slot and slot.lower() != "production":
        raise ConfigurationError(
            f"The deployment slot '{slot}' would share the task hub '{default}' with the site it belongs to. Set "
            f"extensions.durableTask.hubName in host.json to another name, with a slot setting such as %TASKHUB_NAME%."
        )
    return default


def check_hub_name(name: str, where: str, remedy: str) -> str:
    """Return the name of a task hub.

    Raises:
        ConfigurationError: It cannot be one; the text begins with `where` it is written and ends with `remedy`.
    """
    if not _HUB_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{where}: Task hub name '{name}' should contain only alphanumeric characters, start with a letter, and have "
            f"length between 3 and 45. {remedy}"
        )
    return name


def _sanitized(name: str) -> str:
    kept = re.sub(r"[^A-Za-z0-9]", "", name) or "DefaultTaskHub"
    kept = (f"t{kept}" if kept[0].isdigit() else kept)[:45]
    return kept if len(kept) >= 3 else f"{kept}Hub"


def _durable_task(host: HostJson) -> DurableTaskSettings:
    def option(name: str, default: Any) -> Any:
        return _default(host.get(f"extensions.durableTask.{name}"), default)

    slots = 10 * (os.cpu_count() or 1)
    return DurableTaskSettings(
        max_concurrent_activities=option("maxConcurrentActivityFunctions", slots),
        max_concurrent_orchestrations=option("maxConcurrentOrchestratorFunctions", slots),
        max_concurrent_entities=option("maxConcurrentEntityFunctions", slots),
        max_entity_batch=option("maxEntityOperationBatchSize", 5000),
        session_idle_timeout=timedelta(seconds=option("extendedSessionIdleTimeoutInSeconds", 30)),
        max_orchestration_actions=option("maxOrchestrationActions", 100_000),
        replace_any_state=option("overridableExistingInstanceStates", "NonRunningStates") == "AnyState",
        reorder_window=timedelta(minutes=option("entityMessageReorderWindowInMinutes", 30)),
        entity_rollback=option("rollbackEntityOperationsOnExceptions", None),
        store_inputs=option("storeInputsInOrchestrationHistory", False),
        worker_version=_worker_version(option("defaultVersion", ""), option),
        http_async_poll=timedelta(milliseconds=option("httpSettings.defaultAsyncRequestSleepTimeMilliseconds", 30_000)),
        use_forwarded_host=option("httpSettings.useForwardedHost", False),
        use_app_lease=option("useAppLease", True),
        app_lease=_section(host, "extensions.durableTask.appLeaseOptions"),
        storage=_checked_storage(_section(host, "extensions.durableTask.storageProvider")),
    )


def _worker_version(version: str, option: Callable[[str, Any], Any]) -> WorkerVersion:
    # An app that says nothing about versions takes every instance, whatever version its start named.
    match = option("versionMatchStrategy", "CurrentOrOlder" if version else "None")
    mismatch = option("versionFailureStrategy", "Reject")
    return WorkerVersion(version=version, match=VersionMatch(match), mismatch=VersionMismatch(mismatch))


def _section(host: HostJson, path: str) -> dict[str, Any]:
    """Return the known keys of a section that are there, as they are spelled, with their values."""
    values = {name: host.get(f"{path}.{name}") for name in host.known(path)}
    return {name: value for name, value in values.items() if value is not None}


def _checked_storage(storage: dict[str, Any]) -> dict[str, Any]:
    for key, least, most, rule in _STORAGE_BOUNDS:
        value = storage.get(key)
        if value is not None and (value < least or (most is not None and value > most)):
            shown = timespan_to_text(value) if isinstance(value, timedelta) else value
            name = f"{key[0].upper()}{key[1:]}"
            raise ConfigurationError(
                f"host.json: extensions.durableTask.storageProvider.{key} is {shown}: {name} must be {rule}."
            )
    return storage


def _relations(host: HostJson) -> list[str]:
    provider = "extensions.durableTask.storageProvider"
    batch = host.get(f"{provider}.controlQueueBatchSize") or 32
    threshold = host.get(f"{provider}.controlQueueBufferThreshold") or 256
    found = []
    if batch > threshold:
        found.append(
            "ControlQueueBatchSize cannot be larger than ControlQueueBufferThreshold. Please adjust these values in your "
            "`host.json` settings for predictable performance"
        )
    if host.get(f"{provider}.useLegacyPartitionManagement") and host.get(f"{provider}.useTablePartitionManagement"):
        found.append(
            f"host.json: {provider}.useTablePartitionManagement is ignored: useLegacyPartitionManagement is true too. "
            f"Remove one of them; every worker of the hub needs the same."
        )
    return found


def _without_effect(host: HostJson) -> list[str]:
    return [f"host.json: {path} has no effect: {instead}" for path, instead in _INERT.items() if host.get(path)]


def _function_timeout(host: HostJson) -> timedelta | None:
    value = host.get("functionTimeout")
    if value is None:
        return timedelta(minutes=30)
    if str(value).strip() == "-1":
        return None
    refusal = (
        f"host.json: functionTimeout is {value!r}; it must be a time span above zero, such as 00:30:00, or -1 for none."
    )
    if not isinstance(value, str):
        raise ConfigurationError(refusal)
    try:
        span = timespan_from_text(value)
    except ValueError as exc:
        raise ConfigurationError(refusal) from exc
    if span <= timedelta(0):
        raise ConfigurationError(refusal)
    return span


def _log_levels(host: HostJson) -> dict[str, int]:
    section = host.get("logging") or {}
    levels = section.get("loglevel") if isinstance(section, dict) else None
    found = {}
    for category, name in (levels or {}).items() if isinstance(levels, dict) else ():
        level = _LEVELS.get(str(name).strip().lower())
        if level is None:
            raise ConfigurationError(
                f"host.json: logging.logLevel.{category} is {name!r}; it must be one of Trace, Debug, Information, Warning, "
                f"Error, Critical, None."
            )
        found[category] = level
    return found


def _allowed_functions(host: HostJson) -> frozenset[str] | None:
    names = host.get("functions")
    if isinstance(names, dict):
        names = list(names.values())
    if names is not None and not isinstance(names, list):
        raise ConfigurationError(f"host.json: functions is {names!r}; it must be a list of names.")
    for name in names or ():
        if not isinstance(name, str):
            raise ConfigurationError(f"host.json: functions has {name!r}; it must be a list of names.")
    return frozenset(names) if names else None
