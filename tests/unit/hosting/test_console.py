"""Lines in the terminal: all of them arrive, whatever is in them."""

from __future__ import annotations

import logging
from io import BytesIO, TextIOWrapper

import pytest

from durable_ext.hosting.local.console import configure_logging


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "é a\\ud800"), ("ascii", "\\xe9 a\\ud800")])
def test_a_line_that_the_terminal_cannot_hold_is_escaped(encoding: str, shown: str) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    terminal = TextIOWrapper(BytesIO(), encoding=encoding)
    try:
        configure_logging({}, verbose=False, stream=terminal)
        logging.getLogger("app").warning("%s", "é a\ud800")
        terminal.flush()
    finally:
        root.handlers[:], level = before
        root.setLevel(level)

    assert terminal.buffer.getvalue().decode(encoding).endswith(f"Z] {shown}\n")
