"""How an activity's function is called with its input: by name, with an invocation context, with a durable client."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from durable_ext.errors import ConfigurationError, RegistrationError
from durable_ext.sdk.orchestration_client import DurableOrchestrationClient

ClientClass = type[DurableOrchestrationClient]
ClientMaker = Callable[["ClientClass | None"], Any]
"""Class of the client that the function wants, `None` if it wants the binding's JSON text → what it is given."""


class NamedInput:
    """Calls an activity with its input by name; can be pickled if the function can."""

    def __init__(self, function: Callable[..., Any], input_name: str, with_context: bool) -> None:
        self.function, self.input_name, self.with_context = function, input_name, with_context

    def __call__(self, value: Any) -> Any:
        return self.function(**self.arguments(value))

    def arguments(self, value: Any) -> dict[str, Any]:
        """Return the keyword arguments of one call."""
        return {self.input_name: value, **({"context": None} if self.with_context else {})}


class ActivityWithClient:
    """An activity that also has a durable client binding; a host makes it callable with `bound`."""

    def __init__(self, name: str, call: NamedInput, client_name: str, client_class: ClientClass | None) -> None:
        self._name, self._call, self._client_name, self._client_class = name, call, client_name, client_class

    def __call__(self, value: Any) -> Any:
        raise ConfigurationError(
            f"Activity '{self._name}' has a durable client binding, and this host makes no clients. Run it under "
            f"`durable start` or in the Functions host, or remove its durable_client_input."
        )

    def bound(self, make_client: ClientMaker) -> Callable[[Any], Any]:
        """Return the callable of the input alone; each call gets a client of its own."""
        call, client_name, client_class = self._call, self._client_name, self._client_class

        def call_with_client(value: Any) -> Any:
            return call.function(**call.arguments(value), **{client_name: make_client(client_class)})

        return call_with_client


def activity_call(
    user_function: Callable[..., Any],
    call: Callable[..., Any],
    input_name: str,
    name: str,
    client: tuple[str, ClientClass | None] | None = None,
) -> Callable[[Any], Any]:
    """Return a callable of the input alone: activities of the v2 model may also ask for `context: func.Context`.

    Args:
        user_function: Whose signature counts.
        call: What is called, `user_function` or something that stands for it.
        client: Parameter and class of its durable client, if it has one.

    Raises:
        RegistrationError: The function has no parameter for its input.
    """
    try:
        parameters = inspect.signature(user_function).parameters
    except (TypeError, ValueError):
        return call
    if input_name not in parameters:
        raise RegistrationError(
            f"Activity '{name}' has no parameter '{input_name}', which its activity_trigger names as input. Its parameters "
            f"are: {', '.join(parameters) or 'none'}. Make the two agree."
        )
    if client is None and len(parameters) == 1 and parameters[input_name].kind is not inspect.Parameter.KEYWORD_ONLY:
        return call
    named = NamedInput(call, input_name, "context" in parameters and input_name != "context")
    return named if client is None else ActivityWithClient(name, named, *client)
