"""Lines about instances that a worker leaves to others: each reason once, however many reasons there are."""

from __future__ import annotations

import logging

import pytest

from durable_ext.runtime.lifecycle_log import LeftToOthers


def test_a_reason_is_told_once_and_then_for_those_who_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="durable_ext.runtime.lifecycle")
    left = LeftToOthers()
    for number in range(3):
        left.tell(f"i{number}", "its version is 2.0")

    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "DEBUG"]


def test_reasons_that_are_met_again_are_remembered_and_old_ones_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="durable_ext.runtime.lifecycle")
    left = LeftToOthers()
    left.tell("i", "old")
    for number in range(1_000):  # clients choose versions, so there is no end of them
        left.tell("i", "usual")
        left.tell("i", f"its version is {number}")
    caplog.clear()

    left.tell("i", "usual")
    left.tell("i", "its version is 999")
    left.tell("i", "old")

    assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG", "WARNING"]
