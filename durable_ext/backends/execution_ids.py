"""Execution ids: what tells one generation of an instance from another, in every store."""

from __future__ import annotations

import uuid

from durable_ext.core.messages import ExecutionId


def new_execution_id() -> ExecutionId:
    """Return 32 random hexadecimal digits."""
    return ExecutionId(uuid.uuid4().hex)
