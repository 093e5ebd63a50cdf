"""Rounds of the table partition manager as tables: who claims, renews, steals, drains and releases what."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from frozen_hub import frozen_hubs
from hypothesis import given
from hypothesis import strategies as st

from durable_ext.backends.azure_storage.lease_clocks import LeaseClocks
from durable_ext.backends.azure_storage.lease_table import lease_from_row, lease_to_entity
from durable_ext.backends.azure_storage.leases import DrainState, Lease, LeaseRound, plan_round
from durable_ext.backends.azure_storage.transport.edm import EdmDateTime, EdmOther, EdmValue, Row, row_from_json

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
INTERVAL = timedelta(seconds=30)


def lease(number: int, owner: str | None = None, **fields: object) -> Lease:
    values: dict[str, object] = {"expires_at": NOW + INTERVAL if owner else None, **fields}
    return Lease(partition=f"hub-control-{number:02d}", owner=owner, **values)  # type: ignore[arg-type]


def plan(leases: list[Lease], me: str = "a", *, stopping: bool = False, **states: DrainState) -> LeaseRound:
    named = {f"hub-control-{key[1:]}": state for key, state in states.items()}
    return plan_round(leases, me=me, now=NOW, lease_interval=INTERVAL, states=named, stopping=stopping)


def owners(planned: LeaseRound) -> dict[str, tuple[str | None, str | None]]:
    return {written.partition[-2:]: (written.owner, written.next_owner) for written in planned.writes}


def test_a_worker_alone_claims_every_free_partition() -> None:
    planned = plan([lease(0), lease(1)])

    assert owners(planned) == {"00": ("a", None), "01": ("a", None)}
    assert {written.expires_at for written in planned.writes} == {NOW + INTERVAL}


def test_an_expired_lease_is_free_whoever_had_it() -> None:
    assert owners(plan([lease(0, "dead", expires_at=NOW)])) == {"00": ("a", None)}


def test_a_live_lease_of_another_worker_is_left_alone_when_there_is_balance() -> None:
    assert plan([lease(0, "b"), lease(1, "a")], s01=DrainState.LISTENING).writes[0].partition == "hub-control-01"


def test_own_leases_are_renewed_together() -> None:
    planned = plan([lease(0, "a"), lease(1, "a")], s00=DrainState.LISTENING, s01=DrainState.LISTENING)

    assert owners(planned) == {"00": ("a", None), "01": ("a", None)}
    assert {written.last_renewal for written in planned.writes} == {NOW}


def test_a_newcomer_asks_for_its_share() -> None:
    planned = plan([lease(number, "b") for number in range(4)])

    assert owners(planned) == {"00": ("b", "a"), "01": ("b", "a")}
    assert planned.soon


def test_a_third_worker_takes_one_from_the_one_that_has_more() -> None:
    planned = plan([lease(0, "b"), lease(1, "b"), lease(2, "b"), lease(3, "c")])

    assert owners(planned) == {"00": ("b", "a")}


def test_an_owner_that_is_asked_drains_and_keeps_its_lease_meanwhile() -> None:
    planned = plan([lease(0, "a", next_owner="b")], s00=DrainState.LISTENING)

    assert planned.drain == ("hub-control-00",)
    assert owners(planned) == {"00": ("a", "b")}
    assert planned.writes[0].is_draining
    assert planned.soon


def test_a_drained_partition_is_released_to_the_one_that_asked() -> None:
    planned = plan([lease(0, "a", next_owner="b", is_draining=True)], s00=DrainState.DRAINED)

    assert owners(planned) == {"00": (None, "b")}
    assert not planned.writes[0].is_draining


def test_a_released_partition_is_claimed_by_the_one_that_asked_and_by_nobody_else() -> None:
    released = lease(0, None, next_owner="b", expires_at=NOW + INTERVAL)

    assert owners(plan([released], me="b")) == {"00": ("b", None)}
    assert owners(plan([released], me="c")) == {}


def test_a_partition_that_its_owner_drains_for_shutdown_is_taken_over() -> None:
    assert owners(plan([lease(0, "b", is_draining=True)])) == {"00": ("b", "a")}


def test_a_stopping_worker_takes_nothing_and_drains_what_it_has() -> None:
    planned = plan([lease(0, "a"), lease(1)], stopping=True, s00=DrainState.LISTENING)

    assert planned.drain == ("hub-control-00",)
    assert owners(planned) == {"00": ("a", None)}


def test_a_stopping_worker_releases_what_is_drained() -> None:
    planned = plan([lease(0, "a", is_draining=True)], stopping=True, s00=DrainState.DRAINED)

    assert owners(planned) == {"00": (None, None)}


def test_a_stopping_worker_withdraws_what_it_has_asked_for() -> None:
    planned = plan([lease(0, "b", next_owner="a"), lease(1, None, next_owner="a")], stopping=True)

    assert owners(planned) == {"00": ("b", None), "01": (None, None)}


def test_an_owner_that_is_no_longer_asked_goes_on() -> None:
    planned = plan([lease(0, "a", is_draining=True)], s00=DrainState.DRAINING)

    assert owners(planned) == {"00": ("a", None)}
    assert not planned.writes[0].is_draining


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@given(partitions=st.integers(min_value=1, max_value=16))
def test_workers_reach_a_balance_and_stay_there(workers: int, partitions: int) -> None:
    names = [f"w{number}" for number in range(workers)]
    leases = {number: lease(number) for number in range(partitions)}

    for _ in range(3 * partitions + 6):
        for me in names:
            _run_round(leases, me)
    settled = {number: (one.owner, one.next_owner) for number, one in leases.items()}
    for me in names:
        _run_round(leases, me)

    assert {number: (one.owner, one.next_owner) for number, one in leases.items()} == settled
    counts = Counter(one.owner for one in leases.values())
    shares = [counts[name] for name in names]
    assert sum(shares) == partitions
    assert max(shares) - min(shares) <= max(1, partitions % workers)


def _run_round(leases: dict[int, Lease], me: str) -> None:
    """One round of a worker whose drains end at once."""
    states = {one.partition: DrainState.DRAINED for one in leases.values() if one.owner == me and one.next_owner}
    states |= {one.partition: DrainState.LISTENING for one in leases.values() if one.owner == me and not one.next_owner}
    planned = plan_round(list(leases.values()), me=me, now=NOW, lease_interval=INTERVAL, states=states)
    for written in planned.writes:
        leases[int(written.partition[-2:])] = written


def recorded_lease_rows() -> list[Any]:
    found = []
    for frozen in frozen_hubs():
        for table, rows in frozen.content["tables"].items():
            if table.endswith("Partitions"):
                found += [pytest.param(row, id=f"{frozen.name}-{row['RowKey'][-2:]}") for row in rows]
    return found


@pytest.mark.parametrize("recorded", recorded_lease_rows())
def test_a_recorded_lease_row_is_written_back_column_by_column(recorded: dict[str, Any]) -> None:
    row = row_from_json(recorded)

    written = lease_to_entity(lease_from_row(row))

    # Workers of the provider have clocks with seven digits, ours six.
    assert {name: six_digits(value) for name, value in written.items()} == {
        name: six_digits(value) for name, value in row.entity.items()
    }


def six_digits(value: object) -> object:
    return value.text[:-2] if isinstance(value, EdmDateTime) else value


def test_columns_of_others_stay_in_a_lease_row() -> None:
    entity: dict[str, EdmValue] = {
        "PartitionKey": "",
        "RowKey": "hub-control-00",
        "IsDraining": False,
        "Text": "x",
        "Flag": True,
        "Number": 5,
        "Real": 1.5,
        "Long": EdmOther("Edm.Int64", "5"),
        "Time": EdmDateTime("2024-05-06T07:08:09.1234567Z"),
    }

    assert lease_to_entity(lease_from_row(Row(entity, "e"))) == entity


@pytest.mark.parametrize(
    "columns",
    [
        {"ExpiresAt": EdmDateTime("yesterday")},
        {"ExpiresAt": EdmDateTime("9999-12-31T23:59:59.9999999Z"), "OwnedSince": EdmDateTime("?")},
        {"ExpiresAt": "2026-11-21T12:00:00Z"},
        {"LastRenewal": 7, "IsDraining": "true"},
        {},
    ],
)
def test_an_owner_that_is_not_seen_to_renew_a_lease_without_a_usable_end_is_dead(columns: dict[str, EdmValue]) -> None:
    entity: dict[str, EdmValue] = {"PartitionKey": "", "RowKey": "hub-control-00", "CurrentOwner": "b", **columns}
    found, clocks = lease_from_row(Row(entity, "e")), LeaseClocks(INTERVAL)

    def claims(seconds: int) -> bool:
        now = NOW + timedelta(seconds=seconds)
        judged = clocks.judged([found], me="a", now=now, monotonic=float(seconds))
        planned = plan_round(judged, me="a", now=now, lease_interval=INTERVAL, states={})
        return owners(planned) == {"00": ("a", None)}

    assert [claims(seconds) for seconds in (0, 10, 50, 60)] == [False, False, False, True]
