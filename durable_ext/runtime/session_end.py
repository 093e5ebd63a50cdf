"""However a conversation with a session ends, the session is given back in the way that fits."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from durable_ext.backends.protocol import OrchestrationSession
from durable_ext.errors import (
    BackendUnavailableError,
    CheckpointConflictError,
    EpisodeTimeoutError,
    PayloadTooLargeError,
    RequestRefusedError,
)
from durable_ext.runtime.lifecycle_log import LeftToOthers

log = logging.getLogger("durable_ext.runtime.orchestrations")


async def give_back_after(session: OrchestrationSession, conversation: Awaitable[None], left: LeftToOthers) -> None:
    """Await a conversation; on an error, drop the session and say why. Raises nothing but cancellation.

    A lost lock (rule R8) or an unreachable store: what was not written never happened, the messages come again. An error
    of our own, an episode that took too long, or a checkpoint that the store refuses: they come again after a back-off.
    `left` remembers which refusals it has told.
    """
    where = {"instance_id": session.instance.instance_id}
    try:
        try:
            await conversation
        except CheckpointConflictError as error:
            log.warning("session dropped: %s", error, extra={"event": "checkpoint_conflict", **where})
            await session.release()
        except EpisodeTimeoutError as error:
            log.error("session abandoned: %s", error, extra={"event": "episode_timeout", **where})
            await session.abandon()
        except (PayloadTooLargeError, RequestRefusedError) as error:
            left.tell_refused(session.instance.instance_id, error)
            await session.abandon()
        except BackendUnavailableError as error:
            level = logging.INFO if error.is_told else logging.WARNING
            log.log(level, "session lost: %s", error, extra={"event": "backend_unavailable", **where})
            await session.abandon()
        except Exception:
            log.exception("session abandoned after an internal error", extra={"event": "session_failed", **where})
            await session.abandon()
    except BackendUnavailableError:
        log.debug("session could not be given back; its lock expires", extra={"event": "session_left", **where})
