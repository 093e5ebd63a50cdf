"""Dictionaries from attributes, and .NET time spans (specs/sdk.md 2.20)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from durable_ext.sdk.out_of_proc_context import parse_timespan

from ...constants import DATETIME_STRING_FORMAT


def add_attrib(json_dict: dict[str, Any], object_: Any, attribute_name: str, alt_name: str | None = None) -> None:
    """Copy an attribute into a dictionary if the object has it."""
    if hasattr(object_, attribute_name):
        json_dict[alt_name or attribute_name] = getattr(object_, attribute_name)


def add_datetime_attrib(json_dict: dict[str, Any], object_: Any, attribute_name: str, alt_name: str | None = None) -> None:
    """Copy a time into a dictionary, as text, if the object has it."""
    if hasattr(object_, attribute_name):
        json_dict[alt_name or attribute_name] = getattr(object_, attribute_name).strftime(DATETIME_STRING_FORMAT)


def add_json_attrib(json_dict: dict[str, Any], object_: Any, attribute_name: str, alt_name: str | None = None) -> None:
    """Copy the `to_json()` of an attribute into a dictionary if it is set."""
    attribute = getattr(object_, attribute_name, None)
    if attribute:
        json_dict[alt_name or attribute_name] = attribute.to_json()


def parse_timespan_attrib(from_str: str) -> timedelta | None:
    """Return the duration of a TimeSpan in "c" form.

    Raises:
        ValueError: It is none.
    """
    return parse_timespan(from_str)


__all__ = ["add_attrib", "add_datetime_attrib", "add_json_attrib", "parse_timespan_attrib"]
