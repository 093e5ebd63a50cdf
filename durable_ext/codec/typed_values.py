"""Values of declared types ↔ plain JSON values; knows no payload text.

`plain_value` is a default hook of `json`; `coerce` shapes a parsed value into a type hint; `is_structured` tells which
hints need shaping.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections import abc, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Final, NoReturn, Union
from uuid import UUID

from durable_ext.codec.scalar_text import SCALAR_READERS
from durable_ext.core.timestamps import timespan_to_text
from durable_ext.failure import refusal

_SEQUENCES: Final[dict[Any, Callable[[list[Any]], Any]]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    deque: deque,
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Collection: list,
    abc.Iterable: list,
    abc.Set: frozenset,
    abc.MutableSet: set,
}
_MAPPINGS: Final = frozenset({dict, abc.Mapping, abc.MutableMapping})
_QUALIFIERS: Final = frozenset({"Required", "NotRequired", "ReadOnly", "Final", "ClassVar"})
_UNIONS: Final = frozenset({Union, types.UnionType})


class _MisfitError(Exception):
    """A value that does not fit; `path` grows from the inside out while it travels up."""

    def __init__(self, expected: Any, found: object, why: str = "") -> None:
        self.expected, self.found, self.why, self.path = expected, found, why, list[object]()
        super().__init__()

    def text(self) -> str:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in reversed(self.path))
        why = f" ({self.why})" if self.why else ""
        return (
            f"The value at ${place} is {_described(self.found)} and does not fit {_type_name(self.expected)}{why}. "
            f"Correct the sender, or the declared type."
        )


def plain_value(value: object) -> Any:
    """Return what JSON can hold of a value of a known type, one level deep.

    Raises:
        TypeError: No such type; the text is that of 1.x and names the class.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return timespan_to_text(value)
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    if _is_pydantic_model(type(value)):
        return value.model_dump(mode="json")  # type: ignore[attr-defined]
    raise refusal(TypeError(f"class {type(value)} does not expose a `to_json` function"))


def coerce(value: Any, expected: Any, *, strict: bool = False) -> Any:
    """Shape a parsed JSON value into a type hint.

    Structured types (dataclass, TypedDict, NamedTuple, Enum, Literal, datetime, date, time, timedelta, UUID, Decimal,
    pydantic models, classes with `from_json`, sets and tuples, mappings with keys that are no texts, and containers and
    unions of those) are built or refused. Any other type is a hint only: a value that does not fit is returned as it
    came, as 1.x does; with `strict` it is refused. Members that a dataclass does not have are ignored.

    Raises:
        TypeError: The value does not fit; the text names the place in the value, what is there and what was expected.
    """
    try:
        return _shape(value, expected, strict)
    except _MisfitError as misfit:
        raise TypeError(misfit.text()) from misfit.__cause__


def is_structured(hint: Any) -> bool:
    """Whether a hint asks for more than what the JSON parser returns."""
    try:
        return _is_structured_cached(hint)
    except TypeError:  # unhashable: Annotated or Literal with a list in it
        return _find_structured(hint)
    except RecursionError:  # an alias that contains itself, such as that of any JSON value: taken as a hint only
        return False


def _shape(value: Any, hint: Any, strict: bool) -> Any:
    hint = _plain_hint(hint)
    if not strict and not is_structured(hint):
        return value
    origin = typing.get_origin(hint)
    if origin is None:
        return _shape_class(value, hint, strict)
    args = typing.get_args(hint)
    if origin in _UNIONS:
        return _shape_union(value, hint, args, strict)
    if origin is typing.Literal:
        return value if any(value == arg and type(value) is type(arg) for arg in args) else _misfit(hint, value)
    if origin is tuple:
        return _shape_tuple(value, hint, args, strict)
    if origin in _SEQUENCES:
        if not isinstance(value, list):
            _misfit(hint, value)
        return _SEQUENCES[origin]([_at(i, _shape, item, args[0], strict) for i, item in enumerate(value)])
    if origin in _MAPPINGS:
        if not isinstance(value, dict):
            _misfit(hint, value)
        return {
            _at(key, _shape_key, key, args[0], strict): _at(key, _shape, item, args[1], strict)
            for key, item in value.items()
        }
    return _shape_class(value, origin, strict, dict(zip(getattr(origin, "__parameters__", ()), args, strict=False)))


def _shape_class(value: Any, hint: Any, strict: bool, variables: dict[Any, Any] | None = None) -> Any:
    if hint is Any or hint is object or isinstance(hint, typing.TypeVar):
        return value
    if hint is None or hint is type(None):
        return value if value is None else _misfit(None, value)
    if typing.is_typeddict(hint):
        return _shape_typed_dict(value, hint, strict)
    if not isinstance(hint, type):
        return value
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    reader = SCALAR_READERS.get(hint)
    try:
        if reader is not None:
            return reader(value)
        from_json = getattr(hint, "from_json", None)
        if from_json is not None:
            return from_json(value)
        if issubclass(hint, Enum):
            return _shape_enum(value, hint)
        if _is_pydantic_model(hint):
            return hint.model_validate(value)  # type: ignore[attr-defined]
    except (ValueError, TypeError, LookupError) as error:
        raise _MisfitError(hint, value, str(error)) from error
    if dataclasses.is_dataclass(hint):
        return _shape_dataclass(value, hint, strict, variables)
    if issubclass(hint, tuple) and hasattr(hint, "_fields"):
        return _shape_named_tuple(value, hint, strict)
    if hint in (tuple, set, frozenset, deque) and isinstance(value, list):
        return hint(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return value
    return _misfit(hint, value)


def _shape_union(value: Any, hint: Any, args: tuple[Any, ...], strict: bool) -> Any:
    """The first member that fits exactly; else, when not strict, the first that can be built at all."""
    if value is None and type(None) in args:
        return None
    for exact in (True, False) if not strict else (True,):
        for member in args:
            if member is type(None) or (not exact and not is_structured(member)):
                continue
            try:
                return _shape(value, member, exact)
            except _MisfitError:
                continue
    return _misfit(hint, value)


def _shape_tuple(value: Any, hint: Any, args: tuple[Any, ...], strict: bool) -> tuple[Any, ...]:
    if not isinstance(value, list):
        _misfit(hint, value)
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    if len(args) != len(value):
        _misfit(hint, value, f"{len(value)} elements")
    return tuple(_at(i, _shape, item, arg, strict) for i, (item, arg) in enumerate(zip(value, args, strict=True)))


def _shape_key(key: str, hint: Any, strict: bool) -> Any:
    """JSON keys are texts: numbers, truth values and scalars are read back from theirs."""
    hint = _plain_hint(hint)
    if hint is int or hint is float:
        try:
            return hint(key)
        except ValueError as error:
            raise _MisfitError(hint, key) from error
    if hint is bool:
        return key == "true" if key in ("true", "false") else _misfit(hint, key)
    if isinstance(hint, type) and issubclass(hint, int) and issubclass(hint, Enum):
        return _shape(int(key), hint, strict)
    return _shape(key, hint, strict)


def _shape_enum(value: Any, hint: type[Enum]) -> Enum:
    try:
        return hint(value)
    except ValueError:
        return hint(tuple(value)) if isinstance(value, list) else hint[value]


def _shape_dataclass(value: Any, hint: Any, strict: bool, variables: dict[Any, Any] | None) -> Any:
    if not isinstance(value, dict):
        _misfit(hint, value)
    hints = _member_hints(hint)
    arguments: dict[str, Any] = {}
    late: dict[str, Any] = {}
    for field in dataclasses.fields(hint):
        if field.name in value:
            member = _bound(hints.get(field.name, Any), variables)
            (arguments if field.init else late)[field.name] = _at(field.name, _shape, value[field.name], member, strict)
        elif field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            _misfit(hint, value, f"member '{field.name}' is missing")
    if strict and len(arguments) + len(late) != len(value):
        _misfit(hint, value, "it has more members")
    try:
        built = hint(**arguments)
    except (ValueError, TypeError) as error:
        raise _MisfitError(hint, value, str(error)) from error
    for name, item in late.items():
        object.__setattr__(built, name, item)
    return built


def _shape_typed_dict(value: Any, hint: Any, strict: bool) -> dict[str, Any]:
    if not isinstance(value, dict):
        _misfit(hint, value)
    for name in hint.__required_keys__:
        if name not in value:
            _misfit(hint, value, f"member '{name}' is missing")
    hints = _member_hints(hint)
    return {key: _at(key, _shape, item, hints[key], strict) if key in hints else item for key, item in value.items()}


def _shape_named_tuple(value: Any, hint: Any, strict: bool) -> Any:
    hints = _member_hints(hint)
    if isinstance(value, dict):
        value = [value[name] for name in hint._fields if name in value]
    if not isinstance(value, list) or len(value) > len(hint._fields):
        _misfit(hint, value)
    members = [_at(n, _shape, item, hints.get(n, Any), strict) for n, item in zip(hint._fields, value, strict=False)]
    try:
        return hint(*members)
    except TypeError as error:
        raise _MisfitError(hint, value, str(error)) from error


def _at(place: object, shape: Callable[..., Any], *args: Any) -> Any:
    try:
        return shape(*args)
    except _MisfitError as misfit:
        misfit.path.append(place)
        raise


def _misfit(expected: Any, found: object, why: str = "") -> NoReturn:
    raise _MisfitError(expected, found, why)


def _plain_hint(hint: Any) -> Any:
    """Peel what says nothing about the value: Annotated, NewType, Required, type aliases."""
    while True:
        origin = typing.get_origin(hint)
        if origin is typing.Annotated:
            hint = hint.__origin__
        elif getattr(origin, "_name", None) in _QUALIFIERS:
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return hint


def _bound(hint: Any, variables: dict[Any, Any] | None) -> Any:
    """Put the arguments of a generic class in the place of its type variables."""
    if not variables:
        return hint
    if isinstance(hint, typing.TypeVar):
        return variables.get(hint, Any)
    parameters = getattr(hint, "__parameters__", ())
    return hint[tuple(variables.get(parameter, Any) for parameter in parameters)] if parameters else hint


@lru_cache(maxsize=1024)
def _member_hints(hint: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(hint, include_extras=True)
    except (NameError, TypeError, AttributeError):  # a name of a function's own scope: that member is not shaped
        scope = {**vars(sys.modules.get(hint.__module__, types)), hint.__name__: hint}
        return {name: _evaluated(text, scope) for name, text in getattr(hint, "__annotations__", {}).items()}


def _evaluated(annotation: Any, scope: dict[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return typing.get_type_hints(types.SimpleNamespace(__annotations__={"member": annotation}), scope)["member"]
    except (NameError, TypeError, AttributeError, SyntaxError):
        return Any


@lru_cache(maxsize=4096)
def _is_structured_cached(hint: Any) -> bool:
    return _find_structured(hint)


def _find_structured(hint: Any) -> bool:
    hint = _plain_hint(hint)
    origin = typing.get_origin(hint)
    if origin is None:
        return _is_structured_class(hint)
    args = typing.get_args(hint)
    if origin is typing.Literal or origin is tuple:
        return True
    if origin in _UNIONS:
        return any(_find_structured(arg) for arg in args)
    if origin in _MAPPINGS:
        return _plain_hint(args[0]) not in (str, Any) or _find_structured(args[1])
    if origin in _SEQUENCES:
        return _SEQUENCES[origin] is not list or _find_structured(args[0])
    return _is_structured_class(origin)


def _is_structured_class(hint: Any) -> bool:
    if typing.is_typeddict(hint):
        return True
    if not isinstance(hint, type):
        return False
    return (
        hint in SCALAR_READERS
        or hint in (tuple, set, frozenset, deque)
        or hasattr(hint, "from_json")
        or dataclasses.is_dataclass(hint)
        or issubclass(hint, Enum)
        or (issubclass(hint, tuple) and hasattr(hint, "_fields"))
        or _is_pydantic_model(hint)
    )


def _is_pydantic_model(kind: type) -> bool:
    # pydantic is optional and slow to import: a model can only exist once its module is loaded
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and hasattr(pydantic, "TypeAdapter") and issubclass(kind, pydantic.BaseModel)


def _type_name(hint: Any) -> str:
    return hint.__qualname__ if typing.get_origin(hint) is None and isinstance(hint, type) else str(hint)


def _described(value: object) -> str:
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + "...")
    return f"a {type(value).__name__}"
