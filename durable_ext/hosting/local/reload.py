"""Restart on change: waits until a file of the app changes, then replaces the process by a new one of the same command."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

_SKIPPED: Final = frozenset({"node_modules", "__pycache__", "site-packages", "venv", "env"})
_FILES: Final = frozenset({"host.json", "local.settings.json", "function.json"})


async def wait_for_change(script_root: Path) -> Path:
    """Return the first Python or settings file of the app that was changed, added or deleted.

    Hidden folders, virtual environments and caches are not looked at.
    """
    from watchfiles import awatch

    own = awatch(script_root, recursive=False, watch_filter=_concerns_app, debounce=200)
    folders = watched_folders(script_root)
    if not folders:
        return await _first(own)
    return await _first(awatch(script_root, *folders, recursive=True, watch_filter=_concerns_app, debounce=200))


def watched_folders(script_root: Path) -> list[Path]:
    """Return the folders directly below the script root that may hold code of the app."""
    folders = (entry for entry in script_root.iterdir() if entry.is_dir() and not entry.is_symlink())
    return sorted(each for each in folders if _may_hold_code(each))


def _may_hold_code(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name in _SKIPPED
    return not hidden and not (folder / "pyvenv.cfg").exists()


async def _first(changes: object) -> Path:
    async for batch in changes:  # type: ignore[attr-defined]
        for _, path in batch:
            return Path(path)
    raise RuntimeError("The watch on the app's files ended.")


def _concerns_app(change: object, path: str) -> bool:
    parts = Path(path).parts
    if any(part in _SKIPPED or part.startswith(".") for part in parts[:-1] if part != os.sep):
        return False
    return path.endswith(".py") or parts[-1] in _FILES


def restart(folder: Path, environ: Mapping[str, str]) -> NoReturn:
    """Run the same command again in `folder` as this process; sockets and files of this one are closed by then."""
    os.chdir(folder)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)
