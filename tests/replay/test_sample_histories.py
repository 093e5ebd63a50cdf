"""The samples still replay what they recorded once: the replay check of `durable_ext.testing`, as an app would use it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from durable_ext.testing import RecordedHistory, replay_history

ROOT = Path(__file__).resolve().parents[2]
HISTORIES = sorted((Path(__file__).parent / "samples").glob("*.json"))


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the app of all samples under a name of its own."""
    monkeypatch.syspath_prepend(str(ROOT / "function_app_samples"))
    spec = importlib.util.spec_from_file_location("all_samples", ROOT / "function_app_samples" / "function_app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
def test_a_sample_replays_what_it_recorded(file: Path, samples: ModuleType) -> None:
    history = RecordedHistory.load(file)

    replayed = replay_history(history, samples.app)

    assert history.started.name == file.stem
    assert replayed.status.value == "Completed"
    assert replayed.output


def test_there_are_histories_of_most_samples() -> None:
    assert {file.stem for file in HISTORIES} >= {"function_chaining", "fan_out_fan_in", "human_interaction", "monitor"}
