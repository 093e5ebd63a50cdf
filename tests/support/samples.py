"""The sample apps, each in a folder of its own, so that a task hub made there is a new one."""

from __future__ import annotations

import shutil
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[2] / "function_app_samples"
NAMES = sorted(path.parent.name for path in SAMPLES.glob("*/function_app.py"))


def copy_sample(name: str, folder: Path) -> Path:
    """Copy a sample (or `"."`: all of them) into a folder and return the copy."""
    target = folder / "sample"
    shutil.copytree(SAMPLES / name, target, ignore=shutil.ignore_patterns(".durable", "__pycache__"))
    return target
