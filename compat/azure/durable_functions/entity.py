"""Entity: runs the host's batch with one entity function."""

from __future__ import annotations

import durable_ext
from durable_ext.sdk.out_of_proc_entity import InternalEntityError as InternalEntityException

from .models.DurableEntityContext import DurableEntityContext


class Entity(durable_ext.Entity):
    """See `durable_ext.Entity`; contexts are of this package's class."""

    context_class = DurableEntityContext
    legacy = True


__all__ = ["Entity", "InternalEntityException"]
