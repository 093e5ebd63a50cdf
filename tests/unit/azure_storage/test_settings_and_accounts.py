"""Connections and settings: what is accepted, what is refused and with which hint."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest

from durable_ext.backends.azure_storage.settings import AzureStorageSettings, IdentityConnection
from durable_ext.backends.azure_storage.transport.account import (
    Identity,
    Sas,
    SharedKey,
    account_from_connection_string,
    account_from_identity,
)
from durable_ext.errors import ConfigurationError

KEY = base64.b64encode(b"secret").decode()


def test_development_storage_is_azurite_on_its_usual_ports() -> None:
    account = account_from_connection_string("UseDevelopmentStorage=true")

    assert account.queue_endpoint == "http://127.0.0.1:10001/devstoreaccount1"
    assert account.is_emulator


def test_an_account_key_gives_the_public_endpoints() -> None:
    account = account_from_connection_string(
        f"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={KEY};EndpointSuffix=core.chinacloudapi.cn"
    )

    assert account.table_endpoint == "https://acct.table.core.chinacloudapi.cn"
    assert account.credential == SharedKey("acct", b"secret")
    assert not account.is_emulator


def test_a_shared_access_signature_needs_no_account_name() -> None:
    account = account_from_connection_string(
        "BlobEndpoint=https://a.blob.x/;QueueEndpoint=https://a.queue.x/;TableEndpoint=https://a.table.x/;"
        "SharedAccessSignature=?sv=2021&sig=abc"
    )

    assert account.credential == Sas("sv=2021&sig=abc")
    assert account.blob_endpoint == "https://a.blob.x"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "AccountName=a",
        "AccountName=a;AccountKey=%%%",
        "AccountName=a;AccountKey=é",
        f"AccountKey={KEY}",
        "AccountName=a;AccountKey",
    ],
)
def test_a_connection_string_that_cannot_be_used_says_what_to_do_and_not_what_it_holds(text: str) -> None:
    with pytest.raises(ConfigurationError, match="portal") as caught:
        account_from_connection_string(text)

    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"AccountName=a;AccountKey={KEY};QueueEndpoint=127.0.0.1:10001/a", "QueueEndpoint is '127.0.0.1:10001/a'"),
        (f"AccountName=a;AccountKey={KEY};TableEndpoint=http://127.0.0.1:x", "TableEndpoint is 'http://127.0.0.1:x'"),
        (f"AccountName=a;AccountKey={KEY};BlobEndpoint=https:///a?sig=SIGNATURE", "BlobEndpoint is 'https:///a'"),
        (f"AccountName=my account;AccountKey={KEY}", "'https://my account.blob.core.windows.net'"),
        (f"DefaultEndpointsProtocol=ftp;AccountName=a;AccountKey={KEY}", "'ftp://a.blob.core.windows.net'"),
        ("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=azurite", "DevelopmentStorageProxyUri is 'azurite'"),
        ("@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/s)", "reference to a key vault"),
        (f"AccountName=a;{KEY}", "its part 2"),
    ],
)
def test_an_address_that_is_none_is_shown_without_any_secret(text: str, shown: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        account_from_connection_string(text)

    assert shown in str(caught.value)
    assert KEY not in str(caught.value)
    assert "SIGNATURE" not in str(caught.value)


def test_an_empty_suffix_is_none() -> None:
    account = account_from_connection_string(f"AccountName=acct;AccountKey={KEY};EndpointSuffix=")

    assert account.queue_endpoint == "https://acct.queue.core.windows.net"


def test_an_empty_account_name_of_an_identity_connection_is_missing() -> None:
    with pytest.raises(ConfigurationError, match="needs accountName"):
        account_from_identity(Identity(), account_name="")


def test_an_address_of_an_identity_connection_that_is_none_is_shown() -> None:
    with pytest.raises(ConfigurationError, match=r"queueServiceUri or accountName is 'queue\.x'"):
        account_from_identity(Identity(), blob_uri="https://blob.x", queue_uri="queue.x", table_uri="https://table.x")


def test_an_identity_needs_an_account_name_or_all_endpoints() -> None:
    named = account_from_identity(Identity(), account_name="acct")

    assert named.queue_endpoint == "https://acct.queue.core.windows.net"
    with pytest.raises(ConfigurationError, match="tableServiceUri"):
        account_from_identity(Identity(), blob_uri="https://b", queue_uri="https://q")


def test_keys_and_secrets_do_not_show_in_representations() -> None:
    settings = AzureStorageSettings(connection=f"AccountName=acct;AccountKey={KEY}", task_hub="Hub")
    identity = IdentityConnection(identity=Identity(client_secret="hush"))

    assert KEY not in repr(settings)
    assert KEY not in repr(settings.account)
    assert b"secret" not in repr(settings.account).encode()
    assert "hush" not in repr(identity)


@pytest.mark.parametrize(
    ("fields", "setting"),
    [
        ({"partition_count": 0}, "partitionCount"),
        ({"partition_count": 17}, "partitionCount"),
        ({"control_queue_batch_size": 33}, "controlQueueBatchSize"),
        ({"control_queue_buffer_threshold": 0}, "controlQueueBufferThreshold"),
        ({"task_hub": "my-hub"}, "hubName"),
        ({"task_hub": "x" * 50}, "hubName"),
        ({"app_lease_interval": timedelta(seconds=14)}, "leaseInterval"),
        ({"app_lease_interval": timedelta(seconds=61)}, "leaseInterval"),
        ({"app_lease_renew_interval": timedelta(0)}, "renewInterval"),
        ({"app_lease_renew_interval": timedelta(seconds=60)}, "renewInterval"),
        ({"app_lease_acquire_interval": timedelta(0)}, "acquireInterval"),
        ({"control_queue_visibility": timedelta(days=8)}, "controlQueueVisibilityTimeout"),
        ({"work_item_queue_visibility": timedelta(days=8)}, "workItemQueueVisibilityTimeout"),
        ({"work_item_queue_visibility": timedelta(0)}, "workItemQueueVisibilityTimeout"),
        ({"tracking_prefix": "my-tables", "tracking_connection": "UseDevelopmentStorage=true"}, "trackingStoreNamePrefix"),
    ],
)
def test_a_setting_out_of_range_is_named(fields: dict[str, object], setting: str) -> None:
    values: dict[str, object] = {"connection": "UseDevelopmentStorage=true", "task_hub": "Hub", **fields}

    with pytest.raises(ConfigurationError, match=setting):
        AzureStorageSettings(**values)  # type: ignore[arg-type]


def test_the_longest_hub_name_is_that_whose_containers_can_be_made() -> None:
    settings = AzureStorageSettings(connection="UseDevelopmentStorage=true", task_hub="H" * 49)

    assert len(settings.names.large_message_container) == 63


def test_messages_are_taken_for_a_minute_unless_the_user_says_otherwise() -> None:
    settings = AzureStorageSettings(connection="UseDevelopmentStorage=true", task_hub="Hub")

    assert (settings.control_visibility_seconds, settings.work_item_visibility_seconds) == (60, 60)


def test_every_process_has_a_worker_id_of_its_own() -> None:
    one, other = (AzureStorageSettings(connection="UseDevelopmentStorage=true", task_hub="Hub") for _ in range(2))

    assert one.worker_id != other.worker_id
