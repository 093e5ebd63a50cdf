"""EntityId (specs/sdk.md 2.7; specs/azure-storage.md 10.1)."""

from __future__ import annotations

import pytest

from durable_ext.core.entities.ids import EntityId, is_entity_instance


def test_the_instance_id_has_the_name_in_lower_case_and_the_key_as_it_is() -> None:
    assert str(EntityId("Counter", "Key")) == EntityId("Counter", "Key").instance_id == "@counter@Key"
    assert EntityId.get_scheduler_id(EntityId("Counter", "Key")) == "@counter@Key"


def test_name_and_key_keep_their_case() -> None:
    entity = EntityId("Counter", "Key")

    assert (entity.name, entity.key) == ("Counter", "Key")
    assert EntityId.get_entity_id_url_path(entity) == "entities/Counter/Key"


def test_a_key_may_contain_the_separator() -> None:
    assert EntityId.get_entity_id("@counter@a@b") == EntityId("counter", "a@b")


@pytest.mark.parametrize("text", ["", "@", "counter", "counter@a", "@counter", "@counter@", "@@key"])
def test_what_is_no_entity_instance_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Unexpected format in SchedulerId"):
        EntityId.get_entity_id(text)


@pytest.mark.parametrize(("name", "key", "what"), [("", "k", "name"), ("n", "", "key")])
def test_empty_parts_are_refused(name: str, key: str, what: str) -> None:
    with pytest.raises(ValueError, match=f"Entity {what} cannot be empty"):
        EntityId(name, key)


def test_ids_are_equal_by_exact_name_and_key_and_can_be_dictionary_keys() -> None:
    assert {EntityId("a", "k"): 1}[EntityId("a", "k")] == 1
    assert EntityId("a", "k") != EntityId("A", "k")
    assert EntityId("a", "k") != "@a@k"


def test_entities_are_told_from_orchestrations_by_their_instance_id() -> None:
    assert is_entity_instance("@counter@a")
    assert not is_entity_instance("counter@a")
