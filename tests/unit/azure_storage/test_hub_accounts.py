"""The accounts of a hub when they are reached for the first time: what is a mistake, and what may pass."""

from __future__ import annotations

import pytest

from durable_ext.backends.azure_storage.hub_accounts import HubAccounts
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.errors import StorageHostUnknownError
from durable_ext.errors import ConfigurationError


async def looked_up(host: str) -> None:
    raise StorageHostUnknownError(call="table.query /Partitions", host=host)


async def test_an_account_of_azure_that_nobody_knows_is_a_mistake_that_names_it() -> None:
    accounts = HubAccounts(AzureStorageSettings(connection="UseDevelopmentStorage=true", task_hub="Hub"), None)

    with pytest.raises(ConfigurationError, match=r"'typo\.table\.core\.windows\.net' .* is not known\. Check AccountName"):
        await accounts.reached(looked_up("typo.table.core.windows.net"))

    await accounts.close()


async def test_the_name_of_another_host_may_appear_later() -> None:
    accounts = HubAccounts(AzureStorageSettings(connection="UseDevelopmentStorage=true", task_hub="Hub"), None)

    with pytest.raises(StorageHostUnknownError):
        await accounts.reached(looked_up("azurite"))

    await accounts.close()
