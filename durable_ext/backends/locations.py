"""Which store a file path or a storage connection means; opens nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Union

from durable_ext.errors import ConfigurationError

if TYPE_CHECKING:
    from durable_ext.backends import BackendSettings
    from durable_ext.backends.protocol import Backend

HubLocation = Union[Path, str, "BackendSettings"]


def settings_at(where: HubLocation, task_hub: str | None = None) -> BackendSettings:
    """Return the settings of an existing hub.

    Args:
        where: The file of an embedded hub, an Azure Storage connection string, or settings, which are returned as they are.
        task_hub: Name of the hub; of a file, its name without suffix if not given; of an account it is needed.

    Raises:
        ConfigurationError: There is no such file, or an account without a hub name or with one that cannot be.
    """
    if not isinstance(where, (Path, str)):
        return where
    if _is_account(where):
        from durable_ext.backends.azure_storage.names import check_hub_name
        from durable_ext.backends.azure_storage.settings import AzureStorageSettings

        if task_hub is None:
            raise ConfigurationError("A storage account may hold many task hubs. Pass task_hub= as well.")
        check_hub_name(task_hub, "Correct task_hub=.")
        return AzureStorageSettings(connection=str(where), task_hub=task_hub)
    from durable_ext.backends.sqlite.settings import SqliteSettings

    path = Path(where)
    if not path.is_file():
        raise ConfigurationError(
            f"There is no task hub file '{path}'. `durable start` makes one in .durable/ beside the app. If a storage "
            f"account is meant, pass its connection string: AccountName=...;AccountKey=..., or UseDevelopmentStorage=true."
        )
    return SqliteSettings(path=path, task_hub=task_hub or path.stem)


async def check_hub_exists(where: HubLocation, backend: Backend) -> None:
    """Refuse a hub that is not in its account; `backend` is not open yet. A file was looked for by `settings_at`.

    Raises:
        ConfigurationError: There is no such hub.
        BackendUnavailableError: The account does not answer.
    """
    if _is_account(where) and not await backend.hub.exists():
        raise ConfigurationError(
            f"There is no task hub '{backend.task_hub}' in this storage account. Correct task_hub=: hubName in host.json "
            f"(TestHubName if nothing is said); the first host that starts on a hub makes it."
        )


def _is_account(where: HubLocation) -> bool:
    return isinstance(where, str) and "=" in where
