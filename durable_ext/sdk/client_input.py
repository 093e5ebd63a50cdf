"""The durable client parameter: wraps a user function so that it receives a `DurableOrchestrationClient`.

The Functions host passes the JSON text of the binding, our own hosts a ready client. Source: specs/sdk.md 3.2, BUG-27.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

from durable_ext.sdk.orchestration_client import DurableOrchestrationClient


def with_client(
    user_function: Callable[..., Any],
    client_name: str,
    client_class: type[DurableOrchestrationClient] = DurableOrchestrationClient,
) -> Callable[..., Any]:
    """Return a coroutine function whose keyword `client_name` takes the binding's JSON text, or a client.

    A sync user function runs on a thread and drives the client's coroutines with `asyncio.run`. Attribute
    `client_function` is the user's function, `client_class` the class of the client. For function indexing the parameter
    is annotated `str`, whatever the user wrote.
    """
    is_async = inspect.iscoroutinefunction(user_function)

    @functools.wraps(user_function)
    async def with_durable_client(*args: Any, **kwargs: Any) -> Any:
        kwargs[client_name] = rich_client(kwargs[client_name], kwargs.get("context"), client_class)
        if is_async:
            return await user_function(*args, **kwargs)
        result = await asyncio.to_thread(user_function, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    with_durable_client.client_function = user_function  # type: ignore[attr-defined]
    with_durable_client.client_parameter = client_name  # type: ignore[attr-defined]
    with_durable_client.client_class = client_class  # type: ignore[attr-defined]
    _annotate_as_text(user_function, with_durable_client, client_name)
    return with_durable_client


def rich_client(
    binding: Any,
    invocation: Any = None,
    client_class: type[DurableOrchestrationClient] = DurableOrchestrationClient,
) -> DurableOrchestrationClient:
    """Return a client for a binding value: JSON text, or a client, which is returned as it is."""
    if isinstance(binding, DurableOrchestrationClient):
        return binding
    return client_class(binding, getattr(invocation, "invocation_id", None))


def _annotate_as_text(user_function: Callable[..., Any], wrapper: Callable[..., Any], client_name: str) -> None:
    # Workers read `__annotations__`, newer ones through `annotationlib` (Python 3.14): both must see `str`.
    user_function.__annotations__[client_name] = str
    wrapper.__annotations__ = dict(user_function.__annotations__)
    if hasattr(wrapper, "__annotate__"):
        wrapper.__annotate__ = None  # pyright: ignore[reportFunctionMemberAccess]
