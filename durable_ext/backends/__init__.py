"""Stores: `open_backend()` turns settings into the implementation; everybody else sees `backends.protocol` only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

from durable_ext.aio.clock import Clock, SystemClock
from durable_ext.errors import ConfigurationError

if TYPE_CHECKING:
    from durable_ext.backends.azure_storage.settings import AzureStorageSettings
    from durable_ext.backends.protocol import Backend
    from durable_ext.backends.sqlite.settings import SqliteSettings

    BackendSettings = Union[SqliteSettings, AzureStorageSettings]

__all__ = ["open_backend"]


def open_backend(settings: BackendSettings, clock: Clock | None = None) -> Backend:
    """Return the backend of these settings, not opened yet.

    Only the modules of that store are imported: the Azure client libraries stay out of an embedded hub.

    Raises:
        ConfigurationError: Settings of a store that is not installed here; names their class.
    """
    clock = clock or SystemClock()
    kind = type(settings).__name__
    if kind == "SqliteSettings":
        from durable_ext.backends.sqlite.service import SqliteBackend

        return SqliteBackend(settings, clock)  # type: ignore[arg-type]
    if kind == "AzureStorageSettings":
        from durable_ext.backends.azure_storage.service import AzureStorageBackend

        return AzureStorageBackend(settings, clock)  # type: ignore[arg-type]
    raise ConfigurationError(
        f"There is no store for settings of class '{kind}'. Use SqliteSettings or AzureStorageSettings."
    )
