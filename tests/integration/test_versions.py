"""Workers of different versions on one hub."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from support.functions import registry_of

from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.versioning import VersionMatch, VersionMismatch, WorkerVersion
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import run_task_hub


def _hello(context: Any) -> str:
    return f"ran as {context.version}"


def _worker(version: str, mismatch: VersionMismatch = VersionMismatch.REJECT) -> WorkerSettings:
    policy = WorkerVersion(version=version, match=VersionMatch.CURRENT_OR_OLDER, mismatch=mismatch)
    return WorkerSettings(worker_version=policy)


async def test_an_instance_that_a_worker_rejects_waits_for_one_that_takes_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = registry_of(orchestrators=[_hello])
    caplog.set_level(logging.WARNING, "durable_ext")
    async with run_task_hub(tmp_path / "h.db", registry, settings=_worker("1.0")) as hub:
        instance_id = await hub.client.start("_hello", version="2.0")
        await eventually(lambda: "left to another worker" in caplog.text)
        rejected = await hub.client.get_status(instance_id)
    async with run_task_hub(tmp_path / "h.db", registry, settings=_worker("2.0")) as hub:
        status = await hub.client.wait_for_completion(instance_id)

    assert rejected is not None
    assert rejected.runtime_status is OrchestrationStatus.PENDING
    assert status.output == "ran as 2.0"


async def test_an_instance_of_a_newer_version_fails_where_that_is_asked_for(tmp_path: Path) -> None:
    registry = registry_of(orchestrators=[_hello])
    async with run_task_hub(tmp_path / "h.db", registry, settings=_worker("1.0", VersionMismatch.FAIL)) as hub:
        instance_id = await hub.client.start("_hello", version="2.0")
        status = await hub.client.wait_for_completion(instance_id)

    assert status.runtime_status is OrchestrationStatus.FAILED
    assert status.output == "VersionMismatch: Orchestration version did not comply with Worker Versioning"
