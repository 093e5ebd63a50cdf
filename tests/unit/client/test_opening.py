"""open_client: which hub a place means."""

from __future__ import annotations

from pathlib import Path

import pytest

import durable_ext as df
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.locations import settings_at
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.client import open_client
from durable_ext.errors import ConfigurationError
from durable_ext.testing import run_task_hub


async def test_a_client_on_a_file_sees_what_a_host_on_it_does(tmp_path: Path) -> None:
    path = tmp_path / "Orders.db"
    async with run_task_hub(path, df.DFApp(), task_hub="Orders") as hub, open_client(str(path)) as client:
        instance_id = await hub.client.start("later")

        status = await client.get_status(instance_id)

    assert status is not None
    assert status.name == "later"


async def test_a_file_that_does_not_exist_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="There is no task hub file"):
        async with open_client(tmp_path / "typo.db"):
            pass

    assert not (tmp_path / "typo.db").exists()


async def test_a_file_that_holds_another_hub_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    async with run_task_hub(path, df.DFApp(), task_hub="Orders"):
        pass

    with pytest.raises(ConfigurationError, match="holds the task hub 'Orders', not 'Invoices'"):
        async with open_client(path, task_hub="Invoices"):
            pass


def test_a_connection_string_is_an_azure_storage_hub() -> None:
    settings = settings_at("UseDevelopmentStorage=true", "Orders")

    assert isinstance(settings, AzureStorageSettings)
    assert (settings.connection, settings.task_hub) == ("UseDevelopmentStorage=true", "Orders")


def test_a_connection_string_without_a_hub_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Pass task_hub="):
        settings_at("UseDevelopmentStorage=true")


def test_a_hub_name_that_cannot_be_is_that_of_the_argument() -> None:
    with pytest.raises(ConfigurationError, match=r"Task hub name 'a-b' cannot be used: .* Correct task_hub=\.$"):
        settings_at("UseDevelopmentStorage=true", "a-b")


def test_what_is_neither_a_file_nor_a_connection_string_may_have_been_meant_as_either() -> None:
    with pytest.raises(ConfigurationError, match=r"There is no task hub file 'garbage'.*connection string.*AccountName="):
        settings_at("garbage", "X")


def test_settings_stand_for_themselves() -> None:
    settings = SqliteSettings(path=Path("somewhere.db"), task_hub="Orders")

    assert settings_at(settings) is settings
