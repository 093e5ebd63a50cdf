"""Random orchestrators answer as azure-functions-durable 1.7.0 did: the requests and its answers were recorded once.

`random_orchestrations.json`: seed of the orchestrator (support/random_orchestrator.py), the host's last request, and the
answer or the text of the exception.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import azure.durable_functions as df
import pytest
from support.random_orchestrator import random_orchestrator

RECORDED = json.loads((Path(__file__).parent / "random_orchestrations.json").read_text(encoding="utf-8"))
ANSWERED = [each for each in RECORDED if "answer" in each]
FAILED = [each for each in RECORDED if "exception" in each]


def _seed(recorded: dict[str, Any]) -> str:
    return str(recorded["seed"])


@pytest.mark.parametrize("recorded", ANSWERED, ids=_seed)
def test_a_random_orchestrator_is_answered_byte_for_byte(recorded: dict[str, Any]) -> None:
    handle = df.Orchestrator.create(random_orchestrator(recorded["seed"], df))

    assert handle(json.dumps(recorded["request"])) == recorded["answer"]


@pytest.mark.parametrize("recorded", FAILED, ids=_seed)
def test_a_random_orchestrator_fails_with_the_recorded_text(recorded: dict[str, Any]) -> None:
    handle = df.Orchestrator.create(random_orchestrator(recorded["seed"], df))

    with pytest.raises(Exception, match="OutOfProcData") as failed:
        handle(json.dumps(recorded["request"]))

    assert str(failed.value) == recorded["exception"]
