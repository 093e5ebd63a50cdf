"""What to do when a service refuses access, for the kind of credential that was used. Tells no key and no signature."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from durable_ext.backends.azure_storage.transport.account import Sas, Service, SharedKey, StorageAccount

_CLOCK_TOLERANCE: Final = timedelta(minutes=5)  # the service takes a quarter of an hour


def access_advice(account: StorageAccount, service: Service, ahead: timedelta) -> str:
    """Return what the user of an account should look at; `ahead` is how far the service's clock is ahead of ours."""
    where = account.endpoint(service)
    if abs(ahead) > _CLOCK_TOLERANCE:
        direction = "behind" if ahead > timedelta(0) else "ahead of"
        minutes = abs(ahead).total_seconds() / 60
        return f"The clock of this machine is {minutes:.0f} minutes {direction} that of {where}: set it right."
    if isinstance(account.credential, SharedKey):
        return (
            f"Check the account key or SAS of the connection: AccountKey is not a key of account "
            f"'{account.credential.account}' at {where}, or the account's network rules or its ban on keys keep this "
            f"machine out. Copy the connection string from the portal again (Access keys)."
        )
    if isinstance(account.credential, Sas):
        return (
            f"The shared access signature for {where} has expired, was revoked with its key, or lacks a permission: it "
            f"needs the services blob, queue and table, the resource types container and object, and all of rwdlacup."
        )
    return (
        f"The identity needs the roles Storage Queue, Blob and Table Data Contributor on the account of {where}; a new "
        f"assignment takes some minutes."
    )
