"""The examples in the documents that name their file run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import durable_ext as df
from durable_ext.errors import RegistrationError
from durable_ext.testing import run_task_hub

DOCS = Path(__file__).resolve().parents[2] / "docs"


def _write_examples(page: str, folder: Path) -> list[str]:
    blocks = re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", (DOCS / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    for name, text in blocks:
        (folder / name).write_text(text, encoding="utf-8")
    return [name for name, _ in blocks]


def _run(folder: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_examples_of_testing_an_app_pass(tmp_path: Path) -> None:
    names = _write_examples("testing.md", tmp_path)

    printed = _run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(n for n in names if n.startswith("test_")))

    tests = ["test_app.py", "test_timer.py", "test_order.py", "test_counter.py", "test_history.py", "test_replay.py"]
    assert [name for name in names if name.startswith("test_")] == tests
    assert "13 passed" in printed


async def test_the_client_script_of_the_reference_works_on_a_hub_file(tmp_path: Path) -> None:
    (tmp_path / ".durable").mkdir()
    async with run_task_hub(tmp_path / ".durable" / "TestHubName.db", df.DFApp(), task_hub="TestHubName"):
        pass
    _write_examples("reference.md", tmp_path)

    assert _run(tmp_path, "script.py") == "PENDING\n1\n"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (ModuleType("empty"), "'empty' has no app object"),
        (df.Blueprint(), "Blueprint is no app object"),
    ],
)
async def test_what_is_no_app_is_refused(tmp_path: Path, source: Any, text: str) -> None:
    with pytest.raises(RegistrationError, match=text):
        async with run_task_hub(tmp_path / "hub.db", source):
            pass
