"""When two execution ids name the same generation."""

from __future__ import annotations

import pytest

from durable_ext.core.ids import is_same_execution


@pytest.mark.parametrize("if_unknown", [True, False])
@pytest.mark.parametrize(("other", "same"), [("0ab1", True), ("0AB1", True), ("0ab2", False)])
def test_ids_are_the_same_whatever_the_case_of_their_letters(other: str, same: bool, if_unknown: bool) -> None:
    assert is_same_execution("0aB1", other, if_unknown=if_unknown) is same


@pytest.mark.parametrize("if_unknown", [True, False])
@pytest.mark.parametrize("ids", [(None, "0ab1"), ("0ab1", None), ("", "0ab1"), ("0ab1", ""), (None, None), ("", None)])
def test_where_one_is_missing_the_caller_has_the_answer(ids: tuple[str | None, str | None], if_unknown: bool) -> None:
    assert is_same_execution(*ids, if_unknown=if_unknown) is if_unknown
