"""Restart on change: waits until a file of the app changes, then replaces the process by a new one of the same command."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

_SKIPPED: Final = frozenset({"node_modules", "__pycache__", "site-packages", "venv", "env"})
_FILES: Final = frozenset({"host.json", "local.settings.json", "function.json"})
_LOOK_MILLISECONDS: Final = 1000


AppFiles = Mapping[str, int]
"""The Python and settings files of an app: path → time of its last change, in nanoseconds."""


def app_files(script_root: Path) -> AppFiles:
    """Return the files that matter, as they are now."""
    found: dict[str, int] = {}
    places = [(str(script_root), [entry.name for entry in script_root.iterdir() if entry.is_file()])]
    for folder in watched_folders(script_root):
        for place, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith(".")]
            places.append((place, names))
    for place, names in places:
        for path in (os.path.join(place, name) for name in names):
            if _concerns_app(None, path):
                with suppress(OSError):  # gone meanwhile
                    found[path] = os.stat(path).st_mtime_ns
    return found


async def wait_for_change(script_root: Path, loaded: AppFiles) -> Path:
    """Return the first Python or settings file of the app that is not as when it was loaded.

    Hidden folders, virtual environments and caches are not looked at.
    """
    from watchfiles import awatch

    folders = watched_folders(script_root)
    changes = awatch(
        script_root,
        *folders,
        recursive=bool(folders),
        watch_filter=_concerns_app,
        debounce=200,
        rust_timeout=_LOOK_MILLISECONDS,
        yield_on_timeout=True,
    )
    looked = False
    async for batch in changes:
        for _, path in batch:
            return Path(path)
        if not looked:  # what changed after it was loaded and before the watch began
            looked = True
            now = app_files(script_root)
            for path in sorted(loaded.keys() | now.keys()):
                if loaded.get(path) != now.get(path):
                    return Path(path)
    raise RuntimeError("The watch on the app's files ended.")


def watched_folders(script_root: Path) -> list[Path]:
    """Return the folders directly below the script root that may hold code of the app."""
    folders = (entry for entry in script_root.iterdir() if entry.is_dir() and not entry.is_symlink())
    return sorted(each for each in folders if _may_hold_code(each))


def _may_hold_code(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name in _SKIPPED
    return not hidden and not (folder / "pyvenv.cfg").exists()


def _concerns_app(change: object, path: str) -> bool:
    parts = Path(path).parts
    if any(part in _SKIPPED or part.startswith(".") for part in parts[:-1] if part != os.sep):
        return False
    return path.endswith(".py") or parts[-1] in _FILES


def restart(folder: Path, environ: Mapping[str, str]) -> NoReturn:
    """Run the same command again in `folder` as this process; sockets and files of this one are closed by then."""
    os.chdir(folder)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)
