"""local.settings.json: the app settings of a developer's machine, put into the environment as func does.

Source: specs/host-json.md 9; specs/functions-hosting.md 6.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from durable_ext.errors import ConfigurationError
from durable_ext.hosting.json_files import read_json_object

_MAX_PORT: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalHost:
    """The `Host` section: what the command line may overrule. `cors` holds origins, `*` = any."""

    port: int | None = None
    address: str | None = None
    cors: tuple[str, ...] = ()
    cors_credentials: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """The file's content; `values` are environment variables in their order."""

    values: Mapping[str, str]
    host: LocalHost = field(default_factory=LocalHost)

    def apply(self, environ: MutableMapping[str, str]) -> list[str]:
        """Set what is not set yet; return a line for each value that was skipped because it is."""
        skipped = []
        for name, value in self.values.items():
            if name in environ:
                if environ[name] != value:
                    skipped.append(
                        f"Skipping '{name}' from local settings as it's already defined in current environment variables."
                    )
            else:
                environ[name] = value
        return skipped


def read_local_settings(path: Path) -> LocalSettings:
    """Return the settings of a file, empty ones if there is no file.

    Raises:
        ConfigurationError: Not JSON, encrypted, or a value is not a string; the text names file and key.
    """
    if not path.exists():
        return LocalSettings(values={})
    content = {str(key).lower(): value for key, value in read_json_object(path).items()}
    if content.get("isencrypted") is True:
        raise ConfigurationError(
            f"{path}: the values are encrypted (IsEncrypted is true), with a key that only the Azure Functions tools have. "
            f"Run 'func settings decrypt' once, or write plain values and set IsEncrypted to false."
        )
    values = _strings(path, "Values", content.get("values"))
    for name, value in (_section(path, "ConnectionStrings", content.get("connectionstrings"))).items():
        text = value.get("ConnectionString") if isinstance(value, dict) else value
        values.update(_strings(path, "ConnectionStrings", {f"ConnectionStrings:{name}": text}))
    return LocalSettings(values=values, host=_host(path, _section(path, "Host", content.get("host"))))


def _section(path: Path, name: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path}: '{name}' must be an object, not {type(value).__name__}.")
    return value


def _strings(path: Path, section: str, value: Any) -> dict[str, str]:
    strings = {}
    for name, text in _section(path, section, value).items():
        if text is None or not name:
            continue
        if not isinstance(text, str):
            raise ConfigurationError(
                f"{path}: {section}.{name} is {text!r}, but app settings are strings. Write it in quotes."
            )
        strings[name] = text
    return strings


def _host(path: Path, section: Mapping[str, Any]) -> LocalHost:
    values = {key.lower(): value for key, value in section.items()}
    return LocalHost(
        port=_port(path, values.get("localhttpport")),
        address=_text(path, "LocalHttpAddress", values.get("localhttpaddress")),
        cors=tuple(
            origin.strip() for origin in (_text(path, "CORS", values.get("cors")) or "").split(",") if origin.strip()
        ),
        cors_credentials=str(values.get("corscredentials")).lower() == "true",
    )


def _port(path: Path, value: Any) -> int | None:
    """Return the port; the range and its words are those of `durable start --port`."""
    if value is None:
        return None
    try:
        port = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else -1
    except ValueError:
        port = -1
    if not 0 <= port <= _MAX_PORT:
        raise ConfigurationError(
            f"{path}: Host.LocalHttpPort is {value!r}, which is not in the range 0<=x<={_MAX_PORT}. "
            f"Write a port such as 7071."
        )
    return port


def _text(path: Path, name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ConfigurationError(f"{path}: Host.{name} is {value!r}; it must be a string. Write it in quotes.")
