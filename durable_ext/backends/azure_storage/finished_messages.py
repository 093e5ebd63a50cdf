"""Which messages this process is done with although the queue may still have them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_MOST: Final = 10_000


class FinishedMessages:
    """Ids of messages that could not be deleted, or not in time; the oldest are forgotten. Used from one event loop only."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._ids

    def add(self, message_id: str) -> None:
        """It may come again, and must not be played then."""
        self._ids[message_id] = None
        if len(self._ids) > _MOST:
            self._ids.popitem(last=False)

    def discard(self, message_id: str) -> None:
        """It is gone."""
        self._ids.pop(message_id, None)
