"""CriticalSection: what holding locks forbids (specs/execution-semantics.md 12.8)."""

from __future__ import annotations

import pytest

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.locks import CriticalSection, lock_order
from durable_ext.core.entities.messages import EntityRelease
from durable_ext.errors import LockingRulesError

A, B, C = EntityId("Counter", "a"), EntityId("Counter", "b"), EntityId("Counter", "c")


def held(*entities: EntityId) -> CriticalSection:
    section = CriticalSection()
    section.request("lock", lock_order(entities))
    section.granted("lock")
    return section


def test_locks_are_taken_in_one_order_each_once_and_by_lower_case_name() -> None:
    assert lock_order([B, A, EntityId("counter", "b")]) == (EntityId("counter", "a"), EntityId("counter", "b"))


def test_an_empty_lock_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        lock_order([])


def test_locks_are_held_once_their_own_request_is_answered() -> None:
    section = CriticalSection()
    section.request("lock", lock_order([A]))

    section.granted("another")
    section.check_sub_orchestration()

    section.granted("lock")
    with pytest.raises(LockingRulesError, match="While holding locks"):
        section.check_sub_orchestration()


def test_a_second_lock_is_refused_even_while_the_first_is_awaited() -> None:
    section = CriticalSection()
    section.request("lock", lock_order([A]))

    with pytest.raises(LockingRulesError, match="Cannot acquire more locks"):
        section.check_request()


def test_only_locked_entities_can_be_called() -> None:
    section = held(A)

    section.check_call(A)
    with pytest.raises(LockingRulesError, match="cannot call entities whose lock is not held"):
        section.check_call(B)


def test_a_locked_entity_takes_one_call_at_a_time() -> None:
    section = held(A, B)
    section.call_started(A)

    with pytest.raises(LockingRulesError, match="prior call"):
        section.check_call(A)
    section.check_call(B)

    section.call_ended(A)
    section.check_call(A)


def test_a_locked_entity_cannot_be_signalled_but_others_can() -> None:
    section = held(A)

    section.check_signal(B)
    with pytest.raises(LockingRulesError, match="cannot signal entities whose lock is held"):
        section.check_signal(A)


def test_sub_orchestrations_are_refused_while_locks_are_held() -> None:
    with pytest.raises(LockingRulesError):
        held(A).check_sub_orchestration()


def test_everything_is_allowed_outside() -> None:
    section = CriticalSection()

    section.check_request()
    section.check_call(A)
    section.check_signal(A)
    section.check_sub_orchestration()
    section.call_started(A)
    section.call_ended(A)

    assert section.release("me") == ()


def test_a_release_goes_to_every_entity_and_frees_the_orchestration() -> None:
    section = held(B, A)

    releases = section.release("me")

    assert [entity.key for entity, _ in releases] == ["a", "b"]
    assert {message for _, message in releases} == {EntityRelease(parent="me", lock_request_id="lock")}
    assert section.lock_set == ()
    section.check_request()


def test_an_answer_from_an_entity_that_is_not_locked_unlocks_nothing() -> None:
    section = held(A)

    section.call_ended(C)

    with pytest.raises(LockingRulesError):
        section.check_call(C)
