"""EntityId: the address of an entity, and its form as an instance id."""

from __future__ import annotations

from dataclasses import dataclass

from durable_ext.core.messages import InstanceId


@dataclass(frozen=True, slots=True)
class EntityId:
    """Name and key of an entity; both keep their case, the instance id has the name in lower case.

    Equal only if both are equal, case included; hashable.

    Raises:
        ValueError: Name or key is empty.

    Source: specs/sdk.md 2.7; specs/azure-storage.md 10.1.
    """

    name: str
    key: str

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("Entity name cannot be empty")
        if not self.key:
            raise ValueError("Entity key cannot be empty")

    @property
    def instance_id(self) -> InstanceId:
        """The instance id `@{name in lower case}@{key}`."""
        return InstanceId(f"@{self.name.lower()}@{self.key}")

    @staticmethod
    def get_scheduler_id(entity_id: EntityId) -> str:
        """Return the instance id of an entity."""
        return entity_id.instance_id

    @staticmethod
    def get_entity_id(scheduler_id: str) -> EntityId:
        """Return the entity of an instance id; the key is everything after the second `@`.

        Raises:
            ValueError: The text does not have the form `@name@key`.
        """
        lead, _, rest = scheduler_id.partition("@")
        name, at, key = rest.partition("@")
        if lead or not at or not name or not key:
            raise ValueError("Unexpected format in SchedulerId")
        return EntityId(name, key)

    @staticmethod
    def get_entity_id_url_path(entity_id: EntityId) -> str:
        """Return `entities/{name}/{key}` as management URLs have it, not escaped."""
        return f"entities/{entity_id.name}/{entity_id.key}"

    def __str__(self) -> str:
        return self.instance_id


def is_entity_instance(instance_id: str) -> bool:
    """Whether an instance id is that of an entity."""
    return instance_id.startswith("@")
