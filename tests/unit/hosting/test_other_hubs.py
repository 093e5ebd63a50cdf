"""Hubs that requests name besides the host's own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from durable_ext.backends.protocol import Backend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.errors import ConfigurationError, InvalidArgumentError
from durable_ext.hosting.local.other_hubs import MOST, OtherHubs


def _client(backend: Backend) -> DurableClient:
    return DurableClient(backend.instances, converter=DataConverter(), entity_codec=JsonEntityCodec())


@pytest.fixture
async def hubs(tmp_path: Path) -> AsyncIterator[OtherHubs]:
    def settings_of(task_hub: str, connection: str) -> SqliteSettings:
        return SqliteSettings(path=tmp_path / f"{task_hub}.db", task_hub=task_hub)

    others = OtherHubs(settings_of, _client)
    yield others
    await others.close()


async def test_a_hub_is_opened_once_whatever_the_case_of_its_name(hubs: OtherHubs, tmp_path: Path) -> None:
    one, two = await hubs.client("Shop", "Storage"), await hubs.client("shop", "storage")

    assert one is two
    assert {name for name in os.listdir(tmp_path) if name.endswith(".db")} == {"Shop.db"}


async def test_what_was_started_there_is_there_for_others(hubs: OtherHubs) -> None:
    await (await hubs.client("Shop", "Storage")).start("anything", instance_id="i1")
    await hubs.close()

    found = await (await hubs.client("Shop", "Storage")).get_status("i1")

    assert found is not None


async def test_a_hub_that_cannot_be_opened_may_be_asked_for_again(hubs: OtherHubs, tmp_path: Path) -> None:
    (tmp_path / "Shop.db").write_bytes(b"a letter to my aunt" * 100)

    with pytest.raises(ConfigurationError, match=r"Shop\.db"):
        await hubs.client("Shop", "Storage")
    (tmp_path / "Shop.db").unlink()

    assert await hubs.client("Shop", "Storage")


async def test_a_host_does_not_keep_any_number_of_hubs_open(hubs: OtherHubs) -> None:
    for number in range(MOST):
        await hubs.client(f"Shop{number}", "Storage")

    with pytest.raises(InvalidArgumentError, match=f"{MOST} other task hubs"):
        await hubs.client("OneMore", "Storage")
    assert await hubs.client("Shop0", "Storage")
