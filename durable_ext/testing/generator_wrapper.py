"""orchestrator_generator_wrapper: drives an orchestrator with mocked tasks (specs/sdk.md 2.21)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any


def orchestrator_generator_wrapper(generator: Generator[Any, Any, Any]) -> Generator[Any, Any, None]:
    """Yield what the orchestrator yields, answering each task with its `result`, and at last what it returns.

    A `result` that raises is thrown into the orchestrator.
    """
    try:
        task = next(generator)
        yield task
        while True:
            try:
                result = task.result
            except Exception as error:  # whatever the test's mock raises
                task = generator.throw(error)
            else:
                task = generator.send(result)
            yield task
    except StopIteration as ended:
        yield ended.value
