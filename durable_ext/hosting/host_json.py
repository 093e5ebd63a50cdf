"""host.json: which keys there are, what type each has, and what to say about the others; reads no environment.

Keys match without case, values may be the text forms of their types, and overrides win (specs/host-json.md 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from durable_ext.core.timestamps import timespan_from_text
from durable_ext.errors import ConfigurationError

OVERRIDE_PREFIX: Final = "azurefunctionsjobhost__"

# A leaf names its type; a dict is a section whose keys are known; OPEN is a section that others own.
OPEN: Final = "open"
_INT, _POSITIVE, _BOOL, _SPAN, _TEXT = "integer", "positive integer", "boolean", "time span", "string"
_NATURAL: Final = "integer of 0 or more"
_MAX_NATURAL: Final = 2**31 - 1  # an `int` of the extension, and a span of that many minutes still can be
_ARTICLES: Final = {_INT: "an", _NATURAL: "an"}

_STORAGE_PROVIDER: Final[dict[str, Any]] = {
    "type": _TEXT,
    "connectionName": _TEXT,
    "connectionStringName": _TEXT,
    "trackingStoreConnectionName": _TEXT,
    "trackingStoreConnectionStringName": _TEXT,
    "trackingStoreNamePrefix": _TEXT,
    "partitionCount": _INT,
    "controlQueueBatchSize": _INT,
    "controlQueueBufferThreshold": _INT,
    "controlQueueVisibilityTimeout": _SPAN,
    "workItemQueueVisibilityTimeout": _SPAN,
    "maxQueuePollingInterval": _SPAN,
    "fetchLargeMessagesAutomatically": _BOOL,
    "useLegacyPartitionManagement": _BOOL,
    "useTablePartitionManagement": _BOOL,
    "partitionTableOperationTimeout": _SPAN,
    "allowReplayingTerminalInstances": _BOOL,
    "queueClientMessageEncoding": ("UTF8", "Base64"),
    "useInstanceTableEtag": _BOOL,
    "localActivities": ("true", "false", "batched"),
    "localActivitySpill": _SPAN,
    "synchronous": ("FULL", "NORMAL"),
    "transport": ("lean", "sdk"),
}

_DURABLE_TASK: Final[dict[str, Any]] = {
    "hubName": _TEXT,
    "storageProvider": _STORAGE_PROVIDER,
    "tracing": {
        "traceInputsAndOutputs": _BOOL,
        "traceReplayEvents": _BOOL,
        "allowVerboseLinuxTelemetry": _BOOL,
        "distributedTracingEnabled": _BOOL,
        "distributedTracingProtocol": _TEXT,
        "version": ("None", "V1", "V2"),
    },
    "notifications": {
        "eventGrid": {
            "topicEndpoint": _TEXT,
            "keySettingName": _TEXT,
            "publishRetryCount": _INT,
            "publishRetryInterval": _SPAN,
            "publishRetryHttpStatus": OPEN,
            "publishEventTypes": OPEN,
        }
    },
    "httpSettings": {"defaultAsyncRequestSleepTimeMilliseconds": _NATURAL, "useForwardedHost": _BOOL},
    "maxConcurrentActivityFunctions": _POSITIVE,
    "maxConcurrentOrchestratorFunctions": _POSITIVE,
    "maxConcurrentEntityFunctions": _POSITIVE,
    "maxEntityOperationBatchSize": _POSITIVE,
    "localRpcEndpointEnabled": _BOOL,
    "extendedSessionsEnabled": _BOOL,
    "extendedSessionIdleTimeoutInSeconds": _NATURAL,
    "maxOrchestrationActions": _POSITIVE,
    "overridableExistingInstanceStates": ("NonRunningStates", "AnyState"),
    "entityMessageReorderWindowInMinutes": _NATURAL,
    "useGracefulShutdown": _BOOL,
    "rollbackEntityOperationsOnExceptions": _BOOL,
    "throwStatusExceptionsOnRaiseEvent": _BOOL,
    "useAppLease": _BOOL,
    "appLeaseOptions": {"renewInterval": _SPAN, "acquireInterval": _SPAN, "leaseInterval": _SPAN},
    "storeInputsInOrchestrationHistory": _BOOL,
    "defaultVersion": _TEXT,
    "versionMatchStrategy": ("None", "Strict", "CurrentOrOlder"),
    "versionFailureStrategy": ("Reject", "Fail"),
    "maxGrpcMessageSizeInBytes": _INT,
    "grpcHttpClientTimeout": _SPAN,
    "grpcListenerMode": _TEXT,
}

_HTTP: Final[dict[str, Any]] = {
    "routePrefix": _TEXT,
    "maxOutstandingRequests": _INT,
    "maxConcurrentRequests": _INT,
    "dynamicThrottlesEnabled": _BOOL,
    "hsts": OPEN,
    "customHeaders": OPEN,
}

_KNOWN: Final[dict[str, Any]] = {
    "$schema": OPEN,
    "version": _TEXT,
    "functionTimeout": OPEN,
    "functions": OPEN,
    "watchDirectories": OPEN,
    "watchFiles": OPEN,
    "logging": OPEN,
    "extensionBundle": OPEN,
    "extensions": {"durableTask": _DURABLE_TASK, "durableExt": {"hosting": _TEXT}, "http": _HTTP, "*": OPEN},
    "aggregator": OPEN,
    "applicationInsights": OPEN,
    "blobs": OPEN,
    "concurrency": OPEN,
    "configurationProfile": OPEN,
    "cosmosDB": OPEN,
    "customHandler": OPEN,
    "eventHubs": OPEN,
    "healthMonitor": OPEN,
    "id": OPEN,
    "managedDependency": OPEN,
    "queues": OPEN,
    "retry": OPEN,
    "sendGrid": OPEN,
    "serviceBus": OPEN,
    "singleton": OPEN,
    "telemetryMode": OPEN,
}


class HostJson:
    """The content of host.json with its overrides merged in; answers typed questions about known keys.

    `warnings` tells of unknown keys, each with its JSON path and the nearest known one.
    """

    def __init__(self, content: Mapping[str, Any], overrides: Mapping[str, str] | None = None) -> None:
        """Merge and check; `overrides` are environment variables, of which only `AzureFunctionsJobHost__*` count.

        Raises:
            ConfigurationError: A known key has a value of another type; the text names path, value and type.
        """
        self._values = _lowered(content)
        warnings = list(_unknown_keys(content, _KNOWN, "", "host.json"))
        for name, value in (overrides or {}).items():
            path = name.replace(":", "__")
            if path.lower().startswith(OVERRIDE_PREFIX):
                keys = path[len(OVERRIDE_PREFIX) :].split("__")
                _put(self._values, [key.lower() for key in keys], value)
                said: dict[str, Any] = {}
                _put(said, keys, value)
                warnings += _unknown_keys(said, _KNOWN, "", name)
        self.warnings = tuple(warnings)
        self._check(self._values, _KNOWN, "")

    def get(self, path: str) -> Any:
        """Return the value at a dotted path in its Python type, `None` if it is absent or null."""
        value: Any = self._values
        kind: Any = _KNOWN
        for key in path.split("."):
            value = value.get(key.lower()) if isinstance(value, dict) else None
            kind = kind[key] if isinstance(kind, dict) else OPEN
        return None if value is None else _typed(value, kind, path)

    @staticmethod
    def known(path: str) -> tuple[str, ...]:
        """Return the known keys of a section, as they are spelled."""
        section: Any = _KNOWN
        for key in path.split("."):
            section = section[key]
        return tuple(section)

    def _check(self, values: Mapping[str, Any], known: Mapping[str, Any], prefix: str) -> None:
        for name, kind in known.items():
            value = values.get(name.lower())
            if value is None or kind == OPEN:
                continue
            if isinstance(kind, dict):
                if not isinstance(value, dict):
                    raise ConfigurationError(f"host.json: {prefix}{name} must be an object, not {value!r}.")
                self._check(value, kind, f"{prefix}{name}.")
            else:
                _typed(value, kind, f"{prefix}{name}")


def _lowered(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key).lower(): _lowered(value) for key, value in content.items()}
    return content


def _put(values: dict[str, Any], path: list[str], value: str) -> None:
    for key in path[:-1]:
        inner = values.get(key)
        if isinstance(inner, list):  # an index of a list, as in functions__0
            inner = {str(index): item for index, item in enumerate(inner)}
        values[key] = inner = inner if isinstance(inner, dict) else {}
        values = inner
    values[path[-1]] = value


def _typed(value: Any, kind: Any, path: str) -> Any:
    if kind == OPEN or isinstance(kind, dict):
        return value
    if isinstance(kind, tuple):
        text = str(value).lower() if isinstance(value, bool) else value
        for choice in kind:
            if isinstance(text, str) and text.strip().lower() == choice.lower():
                return choice
        raise ConfigurationError(f"host.json: {path} is {value!r}; it must be one of {', '.join(kind)}.")
    try:
        return _CONVERTERS[kind](value)
    except (TypeError, ValueError) as exc:
        if kind == _POSITIVE and not isinstance(value, bool) and str(value).strip().lstrip("-").isdigit():
            name = path.rpartition(".")[2]
            text = f"{name[0].upper()}{name[1:]} must be a positive integer value."
            raise ConfigurationError(f"host.json: {path} is {value!r}: {text}") from exc
        raise ConfigurationError(f"host.json: {path} is {value!r}; it must be {_ARTICLES.get(kind, 'a')} {kind}.") from exc


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(value)
    return int(value)


def _positive(value: Any) -> int:
    number = _integer(value)
    if number <= 0:
        raise ValueError(value)
    return number


def _natural(value: Any) -> int:
    number = _integer(value)
    if not 0 <= number <= _MAX_NATURAL:
        raise ValueError(value)
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _span(value: Any) -> timedelta:
    return timespan_from_text(_text(value))


_CONVERTERS: Final[dict[str, Any]] = {
    _INT: _integer,
    _POSITIVE: _positive,
    _NATURAL: _natural,
    _BOOL: _boolean,
    _TEXT: _text,
    _SPAN: _span,
}


def _unknown_keys(content: Mapping[str, Any], known: Mapping[str, Any], prefix: str, where: str) -> Iterator[str]:
    names = {name.lower(): name for name in known}
    is_open = "*" in names
    for key, value in content.items():
        name = names.get(str(key).lower())
        if name is not None:
            if isinstance(known[name], dict) and isinstance(value, Mapping):
                yield from _unknown_keys(value, known[name], f"{prefix}{name}.", where)
            continue
        close = difflib.get_close_matches(str(key).lower(), [lower for lower in names if lower != "*"], n=1, cutoff=0.6)
        if is_open and not (close and difflib.SequenceMatcher(None, close[0], str(key).lower()).ratio() > 0.8):
            continue  # a section of another extension
        hint = f" Did you mean '{prefix}{names[close[0]]}'?" if close else ""
        yield f"{where}: unknown key '{prefix}{key}' is ignored.{hint}"
