"""Who takes which lease blob, and what stands in it: specs/azure-storage.md 7.2."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_ext.backends.azure_storage.blob_leases import BlobLease, lease_content, lease_from_content, plan_take


def lease(number: int, owner: str | None = None, *, expired: bool = False) -> BlobLease:
    name = f"hub-control-{number:02d}"
    return BlobLease(
        blob=f"intent/{name}",
        partition=name,
        owner=owner,
        token="t" if owner else None,
        is_leased=bool(owner) and not expired,
    )


def taken(leases: list[BlobLease], *, steals: bool = True) -> list[str]:
    return [one.partition[-2:] for one in plan_take(leases, me="a", steals=steals)]


def test_a_worker_alone_takes_every_free_lease() -> None:
    assert taken([lease(0), lease(1), lease(2, "dead", expired=True)]) == ["00", "01", "02"]


def test_a_newcomer_steals_one_lease_a_round() -> None:
    assert taken([lease(number, "b") for number in range(4)]) == ["00"]


def test_a_worker_with_its_share_takes_nothing() -> None:
    assert taken([lease(0, "a"), lease(1, "a"), lease(2, "b"), lease(3, "b")]) == []


def test_only_the_missing_share_of_free_leases_is_taken() -> None:
    assert taken([lease(0, "b"), lease(1, "b"), lease(2), lease(3), lease(4, "a")]) == ["02", "03"]


def test_a_kind_that_does_not_steal_takes_only_what_is_free() -> None:
    assert taken([lease(0, "b"), lease(1), lease(2, "b", expired=True)], steals=False) == ["01", "02"]


def test_nothing_is_stolen_when_all_have_their_share() -> None:
    assert taken([lease(0, "b"), lease(1, "b"), lease(2, "a")]) == []


def test_the_content_has_the_members_of_the_provider_in_its_order() -> None:
    free = lease_content(BlobLease(blob="intent/hub-control-00", partition="hub-control-00"))

    assert free == b'{"PartitionId":"hub-control-00","Owner":null,"Token":null,"Epoch":0}'


def test_a_lease_comes_back_from_its_content() -> None:
    held = BlobLease(blob="default/q", partition="q", owner="a", token="t", epoch=3, is_leased=True)

    assert lease_from_content("default/q", lease_content(held), is_leased=True) == held


def test_what_others_have_written_into_a_lease_stays_in_it() -> None:
    content = b'{"PartitionId":"q","Owner":"a","Token":"t","Epoch":3,"Novelty":{"x":1}}'

    held = lease_from_content("default/q", content, is_leased=True)

    assert lease_content(held) == content


ODD = [
    b'{"PartitionId":"q","Epoch":1e400}',
    b'{"PartitionId":"q","Owner":5}',
    b'{"PartitionId":"q","Token":{}}',
    b'{"PartitionId":' + b"[" * 100_000,
    b"\xff\xfe",
]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"[]", b"{}", b'{"PartitionId":"q","Epoch":"x"}', *ODD])
def test_a_blob_that_holds_no_lease_is_that_of_nobody(content: bytes) -> None:
    found = lease_from_content("default/hub-control-00", content, is_leased=False)

    assert found == BlobLease(blob="default/hub-control-00", partition="hub-control-00")


def provider_takes(leases: list[BlobLease], me: str) -> BlobLease | None:
    """One of the leases that the provider's balancer would take now."""
    counts = Counter({me: 0}) + Counter(lease.owner for lease in leases if lease.owner is not None)
    target = max(1, -(-len(leases) // len({me, *counts})))
    need = target - counts[me]
    free = [lease for lease in leases if lease.owner is None]
    if need <= 0 or free:
        return free[0] if need > 0 else None
    owner, most = counts.most_common(1)[0]
    is_much = owner != me and most > target - (1 if need > 1 else 0)
    return next(lease for lease in leases if lease.owner == owner) if is_much else None


@given(
    ours=st.integers(1, 3), theirs=st.integers(0, 3), own=st.sampled_from([1, 2, 4]), added=st.sampled_from([0, 2, 4, 12])
)
def test_workers_of_both_kinds_reach_a_balance_with_added_partitions_and_stay_there(
    ours: int, theirs: int, own: int, added: int
) -> None:
    leases = {number: lease(number) for number in range(own + added)}
    beyond = {leases[number].partition for number in range(own, own + added)}

    def run_round() -> list[str | None]:
        for number in range(ours):
            for taken in plan_take(list(leases.values()), me=f"ours-{number}", steals=True, added=beyond):
                leases[int(taken.partition[-2:])] = lease(int(taken.partition[-2:]), f"ours-{number}")
        for number in range(theirs):
            one = provider_takes(list(leases.values()), f"theirs-{number}")
            if one is not None:
                leases[int(one.partition[-2:])] = lease(int(one.partition[-2:]), f"theirs-{number}")
        return [one.owner for one in leases.values()]

    for _ in range(40):
        settled = run_round()

    assert run_round() == settled
    assert None not in settled
    assert max(Counter(settled).values()) <= max(1, -(-(own + added) // (ours + theirs)))
