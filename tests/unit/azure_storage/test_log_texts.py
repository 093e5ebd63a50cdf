"""A line of the log says which instance or message it is about: most formatters do not show `extra`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import durable_ext.backends.azure_storage

PACKAGE = Path(durable_ext.backends.azure_storage.__file__).parent
NAMED = {"instance_id", "message_id", "queue", "partition"}


def log_calls(text: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "_log":
            yield node


def unnamed(text: str) -> list[str]:
    """Return what stands in `extra` of a call and not among what its text is formatted with."""
    found = []
    for call in log_calls(text):
        shown = {ast.unparse(argument) for argument in call.args}
        extra = next((keyword.value for keyword in call.keywords if keyword.arg == "extra"), None)
        if isinstance(extra, ast.Dict):
            for key, value in zip(extra.keys, extra.values, strict=True):
                name = ast.literal_eval(key) if key is not None else ""
                if name in NAMED and ast.unparse(value) not in shown:
                    found.append(f"line {call.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_line_of_the_log_names_its_instance_or_message(path: Path) -> None:
    assert unnamed(path.read_text()) == []


def test_a_name_that_stands_only_in_extra_is_found() -> None:
    assert unnamed("_log.info('it %s', one, extra={'message_id': one, 'instance_id': two})") == ["line 1: instance_id"]


def test_there_are_lines_to_look_at() -> None:
    assert sum(1 for path in PACKAGE.rglob("*.py") for _ in log_calls(path.read_text())) > 20
