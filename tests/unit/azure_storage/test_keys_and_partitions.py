"""Partition hash, key escaping and names, with the vectors of specs/azure-storage.md 1 and 3."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_ext.backends.azure_storage.app_lease import app_lease_id
from durable_ext.backends.azure_storage.key_encoding import escape_key, unescape_key
from durable_ext.backends.azure_storage.names import HubNames, check_hub_name, message_blob, property_blob
from durable_ext.backends.azure_storage.partitions import fnv1a, partition_index
from durable_ext.backends.azure_storage.transport.blob import uri_name
from durable_ext.errors import ConfigurationError


@pytest.mark.parametrize(
    ("instance_id", "expected", "by_count"),
    [
        ("", 0x811C9DC5, {1: 0}),
        ("a", 0xE40C292C, {1: 0}),
        ("foobar", 0xBF9CF968, {1: 0}),
        ("abc123", 0x38B29A05, {2: 1, 3: 0, 4: 1, 8: 5, 16: 5}),
        ("ABC123", 0x45854FE5, {2: 1, 3: 0, 4: 1, 8: 5, 16: 5}),
        ("hello", 0x4F9F2CAB, {2: 1, 3: 0, 4: 3, 8: 3, 16: 11}),
        ("order/42", 0x6CCBED52, {2: 0, 3: 0, 4: 2, 8: 2, 16: 2}),
        ("8f1e4b7c9d2a4c6e8b0f1a2b3c4d5e6f", 0x2F7633FF, {2: 1, 3: 0, 4: 3, 8: 7, 16: 15}),
        ("@counter@mykey", 0xCC6A5E00, {2: 0, 3: 2, 4: 0, 8: 0, 16: 0}),
        ("@Counter@a", 0xDEC75166, {2: 0, 3: 1, 4: 2, 8: 6, 16: 6}),
        ("9f4f1d2e3c4b5a69788796a5b4c3d2e1:0", 0x78D6E99E, {2: 0, 3: 2, 4: 2, 8: 6, 16: 14}),
        ("héllo", 0x4AA48540, {2: 0, 3: 0, 4: 0, 8: 0, 16: 0}),
        ("日本", 0x9F26EE51, {2: 1, 3: 0, 4: 1, 8: 1, 16: 1}),
        ("😀", 0x33A29608, {2: 0, 3: 2, 4: 0, 8: 0, 16: 8}),
    ],
)
def test_an_instance_id_hashes_as_in_the_provider(instance_id: str, expected: int, by_count: dict[int, int]) -> None:
    assert fnv1a(instance_id) == expected
    assert {count: partition_index(instance_id, count) for count in by_count} == by_count


@pytest.mark.parametrize(
    ("instance_id", "key"),
    [
        ("a/b", "a^0b"),
        ("a\\b", "a^1b"),
        ("a#b", "a^2b"),
        ("a?b", "a^3b"),
        ("a^b", "a^^b"),
        ("\t", "^\u00c9"),
        ("\x7f", "^\u013f"),
        ("\x9f", "^\u015f"),
        ("it's 50% @x 😀", "it's 50% @x 😀"),
    ],
)
def test_a_key_is_escaped_as_in_the_provider(instance_id: str, key: str) -> None:
    assert escape_key(instance_id) == key
    assert unescape_key(key) == instance_id


@given(st.text())
def test_every_id_comes_back_from_its_key(instance_id: str) -> None:
    assert unescape_key(escape_key(instance_id)) == instance_id


def test_queues_and_containers_are_lower_case_and_tables_are_not() -> None:
    names = HubNames(task_hub="MyHub")

    assert names.control_queues(2) == ("myhub-control-00", "myhub-control-01")
    assert (names.work_item_queue, names.large_message_container) == ("myhub-workitems", "myhub-largemessages")
    assert (names.lease_container, names.app_lease_container) == ("myhub-leases", "myhub-applease")
    assert (names.history_table, names.instances_table) == ("MyHubHistory", "MyHubInstances")
    assert names.partitions_table == "MyHubPartitions"


def test_a_tracking_account_has_a_prefix_of_its_own() -> None:
    names = HubNames(task_hub="MyHub", tracking_prefix="DurableTask")

    assert (names.history_table, names.instances_table) == ("DurableTaskHistory", "DurableTaskInstances")
    assert names.partitions_table == "MyHubPartitions"


def test_blob_names_use_the_raw_id_for_messages_and_the_escaped_one_for_columns() -> None:
    message = message_blob("a/b", "0f0e0d0c-0b0a-0908-0706-050403020100", "ExecutionStarted")
    column = property_blob("a^0b", "0000000000000001", "ExecutionStarted", "0A1B2C3D", "Input")

    assert message == "a/b/message-0f0e0d0c0b0a09080706050403020100-ExecutionStarted.json.gz"
    assert column == "a^0b/history-0000000000000001-ExecutionStarted-0A1B2C3D-Input.json.gz"


@pytest.mark.parametrize(
    ("instance_id", "folder"),
    [(".", ".#"), ("..", "..#"), ("...", "..."), ("a.", "a."), ("..a", "..a"), ("a/../b", "a/..#/b"), (".\\..", ".#\\..#")],
)
def test_blob_names_have_no_steps_of_a_path(instance_id: str, folder: str) -> None:
    activity_id = "0f0e0d0c-0b0a-0908-0706-050403020100"

    assert message_blob(instance_id, activity_id, "EventRaised").startswith(f"{folder}/message-")
    assert property_blob(instance_id, "0", "EventRaised", "0A1B2C3D", "Input").startswith(f"{folder}/history-")


@pytest.mark.parametrize(
    ("name", "stored"),
    [("a\\b/m", "a/b/m"), ("./m", "m"), ("../m", "m"), ("a/./b/m", "a/b/m"), ("a/../../b/m", "b/m"), ("a./.b/m", "a./.b/m")],
)
def test_a_blob_is_found_where_the_rules_of_uris_put_it(name: str, stored: str) -> None:
    assert uri_name(name) == stored


@pytest.mark.parametrize("name", ["", "ab", "1abc", "my-hub", "x" * 50, "hüb"])
def test_a_hub_name_that_storage_cannot_carry_is_refused_with_the_setting_to_change(name: str) -> None:
    with pytest.raises(ConfigurationError, match="hubName"):
        check_hub_name(name)


@pytest.mark.parametrize(
    ("app", "lease_id"),
    [
        ("MyFunctionApp", "dda8b646-0000-0000-0000-000000000000"),
        ("peer", "b8150f49-0000-0000-0000-000000000000"),
        ("", "811c9dc5-0000-0000-0000-000000000000"),
    ],
)
def test_the_app_lease_id_comes_from_the_app_name(app: str, lease_id: str) -> None:
    assert app_lease_id(app) == lease_id
