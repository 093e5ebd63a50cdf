"""Apps and settings files in a folder of their own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WriteApp = Callable[..., Path]


@pytest.fixture
def write_app(tmp_path: Path) -> Iterator[WriteApp]:
    """Write `function_app.py`, host.json and local.settings.json; forget the imported app afterwards."""
    path, modules = list(sys.path), set(sys.modules)

    def write(code: str | None = None, *, host: Any = None, local: Any = None, **files: str) -> Path:
        if code is not None:
            (tmp_path / "function_app.py").write_text(code, encoding="utf-8")
        (tmp_path / "host.json").write_text(json.dumps({"version": "2.0", **(host or {})}), encoding="utf-8")
        if local is not None:
            (tmp_path / "local.settings.json").write_text(json.dumps(local), encoding="utf-8")
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return tmp_path

    yield write
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and Path(origin).is_relative_to(tmp_path):
            del sys.modules[name]
