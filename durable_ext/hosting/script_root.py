"""Where the Functions app is that a command is about; reads no settings of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from durable_ext.errors import ConfigurationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def find_script_root(option: Path | None, environ: Mapping[str, str], folder: Path) -> Path:
    """Return the app's folder: option > `AzureWebJobsScriptRoot` > `folder` if it has an app > pyproject.toml > `folder`.

    Raises:
        ConfigurationError: The named folder does not exist, or it has no host.json.
    """
    named = option or (Path(environ["AzureWebJobsScriptRoot"]) if environ.get("AzureWebJobsScriptRoot") else None)
    if named is None:
        named = folder if _has_app(folder) else _from_pyproject(folder) or folder
    root = (folder / named).resolve()
    if not root.is_dir():
        raise ConfigurationError(f"The folder {root} does not exist. Pass the folder of the app with --script-root.")
    if not (root / "host.json").is_file():
        raise ConfigurationError(
            f"There is no host.json in {root}. Run this in the folder of a Functions app, pass it with --script-root, or "
            f'write a host.json with {{"version": "2.0"}}.'
        )
    return root


def _has_app(folder: Path) -> bool:
    return (folder / "function_app.py").is_file() or any(folder.glob("*/function.json"))


def _from_pyproject(folder: Path) -> Path | None:
    path = folder / "pyproject.toml"
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc}. Correct it, or pass --script-root.") from exc
    root = content.get("tool", {}).get("durable_ext", {}).get("script_root")
    return Path(root) if isinstance(root, str) else None
