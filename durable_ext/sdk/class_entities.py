"""EntityBase: entities as classes; turns one into the function of an entity context that the engine runs.

```python
@app.entity_trigger(context_name="context")
class Counter(df.EntityBase):
    value: int = 0

    def add(self, amount: int) -> int:
        self.value += amount
        return self.value
```
"""

from __future__ import annotations

import copy
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from durable_ext.core.entities.context import EntityContext
from durable_ext.errors import EntityOperationError, RegistrationError

_IMPLICIT_DELETE: Final = "delete"


class EntityBase:
    """Base of class-style entities: public methods are operations, annotated attributes are the state.

    An operation takes no argument or one; its annotation decodes the input, its return value is the result. Methods may be
    `async`. Names of operations match in any case if no method has exactly that name. The state is a JSON object of the
    annotated attributes (not those with a leading underscore, not `ClassVar`s), decoded by their types; attributes without
    a default start as `None`. When an operation raises, state and signals are as before it.

    The operation `delete` exists without being written: it removes the state.
    """

    context: ClassVar[EntityContext]
    """The context of the running operation (set on the instance): entity id, signals, starting orchestrations."""

    def destruct_on_exit(self) -> None:
        """Remove the entity's state when the operation ends."""
        self.__dict__["_deleted"] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    method: Callable[..., Any]
    takes_input: bool
    needs_input: bool
    input_type: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """What was learnt of an entity class when it was registered."""

    operations: Mapping[str, _Operation]
    folded: Mapping[str, str]
    fields: Mapping[str, Any]
    defaults: Mapping[str, Any]
    state_type: Any


def entity_function(target: Any) -> Callable[..., Any]:
    """Return an entity's function of the context: that of a class-style entity, or `target` itself.

    Raises:
        RegistrationError: A class that is no `EntityBase`, or one with an operation of more than one argument.
    """
    if not inspect.isclass(target):
        return target  # type: ignore[no-any-return]
    if not issubclass(target, EntityBase):
        raise RegistrationError(
            f"Class '{target.__name__}' cannot be an entity. Derive it from durable_ext.EntityBase, or register a function."
        )
    shape = _shape_of(target)

    def run_operation(context: Any) -> Any:
        return _run(target, shape, context)

    run_operation.__name__ = run_operation.__qualname__ = target.__name__
    run_operation.__module__, run_operation.__doc__ = target.__module__, target.__doc__
    run_operation.entity_class = target  # type: ignore[attr-defined]
    return run_operation


def _run(kind: type[EntityBase], shape: _Shape, context: Any) -> Any:
    name = context.operation_name
    operation = shape.operations.get(name) or shape.operations.get(shape.folded.get(name.lower(), ""))
    if operation is None:
        if name.lower() == _IMPLICIT_DELETE:
            context.destruct_on_exit()
            return None
        raise EntityOperationError(kind.__name__, name, tuple(shape.operations))
    entity = _restored(kind, shape, context)
    result = operation.method(entity, *_arguments(kind, name, operation, context))
    if inspect.isawaitable(result):
        return _finish_async(entity, shape, context, result)
    _store(entity, shape, context)
    return result


async def _finish_async(entity: EntityBase, shape: _Shape, context: Any, pending: Any) -> Any:
    result = await pending
    _store(entity, shape, context)
    return result


def _restored(kind: type[EntityBase], shape: _Shape, context: Any) -> EntityBase:
    state = context.get_state(expected_type=shape.state_type)
    entity = kind()
    entity.__dict__["context"] = context
    for name, default in shape.defaults.items():
        if name not in entity.__dict__:
            entity.__dict__[name] = copy.deepcopy(default)
    if isinstance(state, Mapping):
        for name in shape.fields:
            if name in state:
                setattr(entity, name, state[name])
    return entity


def _store(entity: EntityBase, shape: _Shape, context: Any) -> None:
    if entity.__dict__.get("_deleted"):
        context.destruct_on_exit()
        return
    context.set_state({name: getattr(entity, name, None) for name in shape.fields})


def _arguments(kind: type[EntityBase], name: str, operation: _Operation, context: Any) -> tuple[Any, ...]:
    if not operation.takes_input:
        return ()
    value = context.get_input(expected_type=operation.input_type)
    if value is None and not operation.needs_input:
        return ()
    return (value,)


def _shape_of(kind: type[EntityBase]) -> _Shape:
    operations = {name: _operation(kind, name, method) for name, method in _public_methods(kind)}
    hints = _state_hints(kind)
    defaults = {name: getattr(kind, name, None) for name in hints}
    return _Shape(
        operations=operations,
        folded={name.lower(): name for name in operations},
        fields=hints,
        defaults=defaults,
        state_type=typing.TypedDict(f"{kind.__name__}State", hints, total=False) if hints else None,  # type: ignore[operator]
    )


def _public_methods(kind: type[EntityBase]) -> list[tuple[str, Callable[..., Any]]]:
    return [
        (name, method)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and not hasattr(EntityBase, name)
    ]


def _operation(kind: type[EntityBase], name: str, method: Callable[..., Any]) -> _Operation:
    parameters = list(inspect.signature(method).parameters.values())[1:]
    if len(parameters) > 1:
        raise RegistrationError(
            f"Operation '{name}' of entity '{kind.__name__}' has {len(parameters)} parameters besides self. An operation "
            f"takes one value at most: put them into one, e.g. a dataclass."
        )
    hints = _hints(method)
    parameter = parameters[0] if parameters else None
    return _Operation(
        method=method,
        takes_input=parameter is not None,
        needs_input=parameter is not None and parameter.default is inspect.Parameter.empty,
        input_type=None if parameter is None else hints.get(parameter.name),
    )


def _state_hints(kind: type[EntityBase]) -> dict[str, Any]:
    return {
        name: hint
        for name, hint in _hints(kind).items()
        if not name.startswith("_") and typing.get_origin(hint) is not ClassVar and not hasattr(EntityBase, name)
    }


def _hints(target: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target)
    except (NameError, TypeError, AttributeError):  # a name that only type checkers can see
        return dict.fromkeys(getattr(target, "__annotations__", {}), Any)
