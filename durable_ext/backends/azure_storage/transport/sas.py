"""What a shared access signature says about itself, so that one that cannot do is refused before it is used (pure).

Source: the query parameters of account SAS: `ss` services, `srt` resource types, `sp` permissions, `st` and `se` its time.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Final
from urllib.parse import parse_qs

from durable_ext.backends.azure_storage.transport.account import Sas
from durable_ext.errors import ConfigurationError

_SERVICES: Final = {"b": "blob", "q": "queue", "t": "table"}
_TYPES: Final = {"c": "container", "o": "object"}
_PERMISSIONS: Final = {
    "r": "read",
    "w": "write",
    "d": "delete",
    "l": "list",
    "a": "add",
    "c": "create",
    "u": "update",
    "p": "process",
}


def check_sas_is_valid(sas: Sas, now: datetime) -> None:
    """Refuse a SAS that no service would take now.

    Raises:
        ConfigurationError: What is wrong with it, without its signature.
    """
    said = _parameters(sas)
    if "sig" not in said:
        raise _refused("has no signature (sig)")
    if "ss" not in said:
        raise _refused("is for a single resource (it has no ss); a task hub needs one for the whole account")
    expires, starts = _instant(said.get("se")), _instant(said.get("st"))
    if expires is not None and expires <= now:
        raise _refused(f"has expired: it was valid until {said['se']}, now it is {now:%Y-%m-%dT%H:%M:%SZ}")
    if starts is not None and starts > now:
        raise _refused(f"is not valid yet: its time begins at {said['st']}, now it is {now:%Y-%m-%dT%H:%M:%SZ}")


def check_sas_is_enough(sas: Sas) -> None:
    """Refuse a SAS with which a worker would fail sooner or later.

    Raises:
        ConfigurationError: What it lacks.
    """
    said = _parameters(sas)
    lacks = [
        f"{title} {', '.join(missing)} ({name})"
        for name, title, known in (
            ("ss", "the services", _SERVICES),
            ("srt", "the resource types", _TYPES),
            ("sp", "the permissions", _PERMISSIONS),
        )
        if (missing := [meaning for letter, meaning in known.items() if letter not in said.get(name, "")])
    ]
    if lacks:
        raise _refused(f"lacks {'; '.join(lacks)}")


def _parameters(sas: Sas) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(sas.token).items()}


def _instant(text: str | None) -> datetime | None:
    """Return a time of a SAS, which may be a date only; `None` if there is none or the service has to judge it."""
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=timezone.utc)


def _refused(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The shared access signature of the storage connection {why}. Make a new one for the account (portal, Shared "
        f"access signature): services blob, queue and table, resource types container and object, and all of read, write, "
        f"delete, list, add, create, update and process."
    )
