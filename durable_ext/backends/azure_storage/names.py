"""Names of the queues, tables, containers and blobs of a task hub.

Source: specs/azure-storage.md 1. Queues and containers are lower case, tables keep the hub's case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from durable_ext.errors import ConfigurationError

# The extension takes up to 50 and says 45; a container has 63 characters at most, "-largemessages" among them.
_VALID: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{2,48}")
MAX_PARTITIONS: Final = 16
_STEPS: Final = re.compile(r"(?:^|(?<=[/\\]))\.\.?(?=[/\\]|$)")
_SHOWN_INPUT: Final = re.compile(r"/history-[0-9A-F]{16}-ExecutionStarted-[0-9A-F]{8}-Input\.json\.gz$")
_SHOWN_REASON: Final = re.compile(r"/history-[0-9A-F]{16}-Execution(?:Suspended|Resumed)-[0-9A-F]{8}-Reason\.json\.gz$")


def check_hub_name(task_hub: str, remedy: str = "Change extensions.durableTask.hubName in host.json.") -> None:
    """Raise `ConfigurationError` unless a hub name is one that queues, tables and containers can carry.

    The text ends with `remedy`.
    """
    if _VALID.fullmatch(task_hub) is None:
        raise ConfigurationError(
            f"Task hub name '{task_hub}' cannot be used: Azure Storage needs 3 to 49 letters and digits that start with a "
            f"letter. {remedy}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HubNames:
    """Names of one hub; `tracking_prefix` replaces the hub in table names when a tracking account is configured."""

    task_hub: str
    tracking_prefix: str | None = None

    @property
    def lower(self) -> str:
        return self.task_hub.lower()

    def control_queue(self, index: int) -> str:
        return f"{self.lower}-control-{index:02d}"

    def control_queues(self, partition_count: int) -> tuple[str, ...]:
        return tuple(self.control_queue(index) for index in range(partition_count))

    @property
    def work_item_queue(self) -> str:
        return f"{self.lower}-workitems"

    @property
    def history_table(self) -> str:
        return f"{self.tracking_prefix or self.task_hub}History"

    @property
    def instances_table(self) -> str:
        return f"{self.tracking_prefix or self.task_hub}Instances"

    @property
    def partitions_table(self) -> str:
        return f"{self.task_hub}Partitions"

    @property
    def app_lease_container(self) -> str:
        return f"{self.lower}-applease"

    @property
    def app_lease_blob(self) -> str:
        return f"{self.lower}-appleaseinfo"

    @property
    def lease_container(self) -> str:
        return f"{self.lower}-leases"

    @property
    def large_message_container(self) -> str:
        return f"{self.lower}-largemessages"


def blob_folder(text: str) -> str:
    """Return what stands before the last `/` in blob names of an instance: its id, or its key.

    Dots alone between slashes are steps of a path, which clients and the service take: they get a `#` behind them, which no
    id of a client has. Readers find the whole name in message or row, and no rule says how it begins.
    """
    return _STEPS.sub(r"\g<0>#", text)


def message_blob(instance_id: str, activity_id: str, event_type: str) -> str:
    """Return the blob name of an offloaded message: raw instance id as folder, activity id without dashes.

    compat: a `\\` in the id stays one here; blob requests turn it into `/` (specs/azure-storage.md 4.6).
    """
    return f"{blob_folder(instance_id)}/message-{activity_id.replace('-', '')}-{event_type}.json.gz"


def property_blob(key: str, row_key: str, event_type: str, random_hex: str, column: str) -> str:
    """Return the blob name of an offloaded column: escaped instance id as folder, 8 upper-case hex digits."""
    return f"{blob_folder(key)}/history-{row_key}-{event_type}-{random_hex}-{column}.json.gz"


def holds_shown_input(blob: str) -> bool:
    """Whether a `property_blob` holds the input of a generation, which the instance row shows: an entity's state is one."""
    return _SHOWN_INPUT.search(blob) is not None


def holds_shown_reason(blob: str) -> bool:
    """Whether a `property_blob` holds the reason of a suspension or resumption, which the instance row shows as output."""
    return _SHOWN_REASON.search(blob) is not None
