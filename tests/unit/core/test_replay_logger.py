"""A logger that is silent while an orchestration replays."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from support.orchestration_bench import OrchestrationBench

from durable_ext.core.replay_logger import ReplaySafeLogger


def test_each_line_is_logged_once_however_often_the_code_runs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def logs(context: Any) -> Any:
        log = context.create_replay_safe_logger(logging.getLogger("app"))
        log.info("before %s", 1)
        yield context.call_activity("A")
        log.warning("after")

    bench = OrchestrationBench(logs)
    bench.start()
    bench.forget()
    bench.complete(0, None)

    assert [record.getMessage() for record in caplog.records if record.name == "app"] == ["before 1", "after"]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "exception", "critical"])
def test_every_level_is_there(caplog: pytest.LogCaptureFixture, level: str) -> None:
    caplog.set_level(logging.DEBUG)
    log = ReplaySafeLogger(logging.getLogger("app"), lambda: False)

    getattr(log, level)("text")

    (record,) = caplog.records
    assert record.levelname == ("ERROR" if level == "exception" else level.upper())
    assert log.isEnabledFor(record.levelno)


def test_nothing_is_enabled_in_a_replay() -> None:
    log = ReplaySafeLogger(logging.getLogger("app"), lambda: True)

    assert not log.isEnabledFor(logging.CRITICAL)
