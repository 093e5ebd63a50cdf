"""JSON configuration files as people write them: with comments, trailing commas and a byte-order mark; know no key."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from durable_ext.errors import ConfigurationError

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'"(?:\\.|[^"\\])*"|,(?=\s*[}\]])', re.DOTALL)


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object that a file holds.

    Raises:
        ConfigurationError: The file cannot be read, is not JSON (the text has line and column), or is no object.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc.strerror or exc}.") from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{path} is not UTF-8 text (byte {exc.start}). Save it as UTF-8.") from exc
    try:
        value = json.loads(_TRAILING_COMMA.sub(_keep_strings, _TOKEN.sub(_keep_strings, text)))
    except json.JSONDecodeError as exc:
        raise ConfigurationError(f"{path}:{exc.lineno}:{exc.colno}: not valid JSON: {exc.msg}.") from exc
    except ValueError as exc:
        raise ConfigurationError(f"{path} has a number with too many digits to be one.") from exc
    except RecursionError as exc:
        raise ConfigurationError(f"{path} is nested too deeply.") from exc
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path} must hold a JSON object, not {type(value).__name__}.")
    return value


def _keep_strings(match: re.Match[str]) -> str:
    """Blank out what is not a string, keeping line breaks so that error positions stay true."""
    text = match.group()
    return text if text.startswith('"') else re.sub(r"[^\n]", " ", text)
