"""DataConverter: user values ↔ payload text (specs/sdk.md 6; specs/execution-semantics.md 3.1, 6, 7)."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Any, Final, Literal

from durable_ext.codec.json_text import host_document, host_string, is_json, loads, loads_strings, sdk_string
from durable_ext.codec.typed_values import coerce, is_structured, plain_value
from durable_ext.failure import refusal

_log = logging.getLogger("durable_ext.codec")
_log_as_1x = logging.getLogger("azure.functions.DurableFunctions")  # compat: where 1.x warns (specs/sdk.md 6.2)

_ENVELOPE_KEYS: Final = ("__class__", "__module__", "__data__")
_ENVELOPE_MARK: Final = '"__class__"'


def to_envelope(value: object) -> dict[str, Any]:
    """Return the 1.x envelope of an object with `to_json`.

    Raises:
        TypeError: It has none; the text is that of 1.x and names the class.
    """
    to_json = getattr(type(value), "to_json", None)
    if to_json is None:
        raise refusal(TypeError(f"class {type(value)} does not expose a `to_json` function"))
    kind = type(value)
    return {"__class__": kind.__name__, "__module__": kind.__module__, "__data__": to_json(value)}


def is_envelope(value: object) -> bool:
    """Whether a parsed value is a 1.x envelope."""
    return isinstance(value, dict) and all(key in value for key in _ENVELOPE_KEYS)


def open_envelope(value: dict[str, Any]) -> Any:
    """Return the object of an envelope, any other dictionary as it is (a `json` object hook).

    Modules are never imported for it.

    Raises:
        ValueError: The module is not loaded.
        AttributeError: It has no such class.
        TypeError: The class has no `from_json`.
    """
    if not is_envelope(value):
        return value
    class_name, module_name = value["__class__"], value["__module__"]
    module = sys.modules.get(module_name)
    if module is None:
        raise ValueError(f"cannot deserialize custom object: module {module_name!r} is not loaded in sys.modules")
    kind = getattr(module, class_name, None)
    if kind is None:
        raise AttributeError(f"cannot deserialize custom object: class {class_name!r} not found in module {module_name!r}")
    if not hasattr(kind, "from_json"):
        # compat: 1.x prints the dictionary's class (specs/sdk.md 6.1)
        raise TypeError(f"class {dict} does not expose a `from_json` function")
    return kind.from_json(value["__data__"])


class DataConverter:
    """User values ↔ recorded text; implements `core.payloads.PayloadConverter`. Stateless, safe in any thread.

    Encoding: what `json` knows is plain JSON, with Python's separators and ASCII escapes. An object whose class has
    `to_json` becomes the 1.x envelope, or with `envelope="plain"` just its `to_json()`. With `native` the following are
    plain JSON too and come back as themselves where a type is declared: dataclass, NamedTuple, pydantic model (object);
    Enum (its value); datetime, date, time (ISO 8601); timedelta (`d.hh:mm:ss.fffffff`); UUID, Decimal (text).
    NaN and infinities are written as Python writes them. Keys that are int, float, bool or None become texts.
    Sets, bytes, other keys, cycles, nesting beyond the recursion limit and integers over the interpreter's digit limit
    raise `TypeError`. Lone surrogates are kept as escapes.

    Decoding: an envelope is always opened, whatever the settings. With `native` and an expected type the parsed value is
    shaped into it (`typed_values.coerce`). `strict` is the strict typing mode of 1.x (specs/sdk.md 6.2).
    """

    __slots__ = ("_encode", "_encode_output", "_envelope", "_native", "_open", "_strict")

    def __init__(self, *, strict: bool = False, envelope: Literal["1.x", "plain"] = "1.x", native: bool = True) -> None:
        self._strict, self._envelope, self._native = strict, envelope, native
        hook = None if strict and not native else self._default
        self._encode: Callable[[Any], str] = json.JSONEncoder(default=hook).encode
        self._encode_output: Callable[[Any], str] = json.JSONEncoder(
            default=hook, ensure_ascii=False, separators=(",", ":")
        ).encode
        self._open: Callable[[str], Any] = json.JSONDecoder(object_hook=open_envelope).decode

    def to_text(self, value: Any) -> str:
        """Return the SDK text of a value."""
        kind = type(value)
        if kind is str:
            return sdk_string(value)
        if value is None:
            return "null"
        if kind is bool:
            return "true" if value else "false"
        return self._dump(self._encode, value)

    def output_text(self, value: Any) -> str:
        """Return compact JSON with non-ASCII characters as they are, as the host records results and outputs."""
        kind = type(value)
        if kind is str:
            return host_string(value)
        if value is None:
            return "null"
        return host_document(self._dump(self._encode_output, value))

    def from_text(self, text: str, expected_type: Any = None) -> Any:
        """Decode SDK text.

        Raises:
            json.JSONDecodeError: Not JSON.
            ValueError, AttributeError, TypeError: An envelope cannot be opened, or (strict, or a structured type) the
                value does not fit the expected type; the text names the place and both types.
        """
        if expected_type is None or expected_type is Any or expected_type is object:
            if _ENVELOPE_MARK not in text:
                return loads(text)
            if self._strict:
                return self._strict_untyped(text)
            return self._open(text)
        return self._typed(text, expected_type)

    def wrap_argument(self, text: str) -> str:
        """Return a JSON array with the text as its one string."""
        return f"[{host_string(text)}]"

    def unwrap_argument(self, payload: str | None) -> str | None:
        """Return the one element of an activity message: the string itself, anything else as its JSON text."""
        if payload is None:
            return None
        try:
            elements = loads_strings(payload)
        except ValueError:
            elements = None
        if not isinstance(elements, list) or len(elements) != 1:
            raise ValueError("The serialized input is expected to be an object array with one element.")
        element = elements[0]
        return element if isinstance(element, str) else payload.strip()[1:-1].strip()

    def wrap_text(self, text: str) -> str:
        """Return the text as a JSON string."""
        return host_string(text)

    def unwrap_input(self, recorded: str | None) -> str | None:
        """Return the SDK text of a recorded input: one JSON string level off, unless that leaves no JSON."""
        if recorded is None or recorded[:1] != '"':
            return recorded
        try:
            text = loads(recorded)
        except ValueError:
            return recorded
        return text if isinstance(text, str) and is_json(text) else recorded

    def _default(self, value: object) -> Any:
        has_to_json = hasattr(type(value), "to_json")
        if has_to_json and not self._strict:
            return to_envelope(value) if self._envelope == "1.x" else to_envelope(value)["__data__"]
        if self._native and not has_to_json:
            return plain_value(value)
        raise refusal(TypeError(f"class {type(value)} does not expose a `to_json` function"))

    def _dump(self, encode: Callable[[Any], str], value: Any) -> str:
        if self._strict and hasattr(type(value), "to_json"):
            value = to_envelope(value)
        try:
            return encode(value)
        except RecursionError as error:
            text = (
                f"A {type(value).__name__} cannot be serialized: it is nested deeper than {sys.getrecursionlimit()} levels. "
                f"Flatten it, or store it elsewhere and pass a reference."
            )
            raise refusal(TypeError(text)) from refusal(error)
        except ValueError as error:
            raise refusal(TypeError(f"A {type(value).__name__} cannot be serialized: {error}.")) from refusal(error)

    def _strict_untyped(self, text: str) -> Any:
        raw = loads(text)
        if is_envelope(raw):
            raise TypeError(
                "df_loads: strict mode requires expected_type to deserialize custom-object payloads, but none was provided. "
                f"Payload declares {raw['__module__']}.{raw['__class__']}."
            )
        return raw

    def _typed(self, text: str, expected_type: Any) -> Any:
        raw = loads(text)
        if is_envelope(raw):
            return self._enveloped(text, raw, expected_type)
        if self._native and is_structured(expected_type):
            opened = self._open(text) if _ENVELOPE_MARK in text and not self._strict else raw
            return coerce(opened, expected_type, strict=self._strict)
        if not _is_compatible(raw, expected_type):
            found = type(raw).__name__
            self._mismatch(f"df_loads: deserialized value ({found}) is not compatible with expected type {expected_type}")
        return raw if self._strict or _ENVELOPE_MARK not in text else self._open(text)

    def _enveloped(self, text: str, raw: dict[str, Any], expected_type: Any) -> Any:
        declared = f"{raw['__module__']}.{raw['__class__']}"
        expected = f"{getattr(expected_type, '__module__', '')}.{getattr(expected_type, '__name__', expected_type)}"
        if declared != expected and not (self._native and _names_no_class(expected_type)):
            self._mismatch(f"df_loads: payload declares class {declared} but expected {expected}")
        if not self._strict:
            return self._open(text)
        if not (hasattr(expected_type, "to_json") and hasattr(expected_type, "from_json")):
            raise TypeError(f"df_loads: expected_type {expected} does not expose from_json")
        return expected_type.from_json(raw["__data__"])

    def _mismatch(self, message: str) -> None:
        if self._strict:
            raise TypeError(message)
        (_log if self._native else _log_as_1x).warning(message)


def _names_no_class(expected_type: Any) -> bool:
    """Whether the expected type is a hint such as `Optional[Order]`, whose name says nothing about the payload."""
    return not isinstance(expected_type, type)


def _is_compatible(value: object, expected_type: Any) -> bool:
    try:
        return isinstance(value, expected_type)
    except TypeError:  # typing constructs refuse isinstance
        return True
