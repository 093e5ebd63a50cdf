"""`run_task_hub` on its own: what it takes and what it gives."""

from __future__ import annotations

from pathlib import Path

from support.functions import registry_of

from durable_ext.testing import run_task_hub


async def double(number: int) -> int:
    return 2 * number


def twice(context):
    return (yield context.call_activity("double", context.get_input()))


async def test_the_file_may_be_named_by_a_text(tmp_path: Path) -> None:
    async with run_task_hub(str(tmp_path / "hub.db"), registry_of(orchestrators=[twice], activities=[double])) as hub:
        status = await hub.client.wait_for_completion(await hub.client.start("twice", 21))

    assert status.output == 42
    assert (tmp_path / "hub.db").exists()
