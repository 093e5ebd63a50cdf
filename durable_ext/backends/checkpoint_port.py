"""What a store may offer beside `OrchestrationSession.checkpoint`: checkpoints from the orchestrator thread.

Optional, and tested beside the store that has one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Union

from durable_ext.backends.protocol import Checkpoint, OrchestrationSession, Receipt

CheckpointAnswer = Union[Receipt, BaseException]


class CheckpointPort(Protocol):
    """Takes checkpoints from any thread; its methods are no coroutines.

    For a store whose write is a local call, going back to the event loop between an episode and its checkpoint costs more
    than either. What was put is one transaction or several, in the order of `put`.
    """

    def put(
        self, session: OrchestrationSession, checkpoint: Checkpoint, answered: Callable[[CheckpointAnswer], None]
    ) -> None:
        """Take a checkpoint that the next `flush` makes durable; from any thread, while nobody else uses the session.

        `answered` is called on the event loop with what `session.checkpoint` would have returned or raised.

        Raises:
            CheckpointConflictError, PayloadTooLargeError: As `session.checkpoint`; it was not taken.
        """
        ...

    def flush(self, *, here: bool) -> None:
        """Make durable what was put; returns without waiting for other threads or processes.

        `here`: the calling thread may write by itself, which takes as long as the disk takes. Never on the event loop.
        """
        ...
