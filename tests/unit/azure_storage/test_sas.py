"""Shared access signatures: what is refused before anything is sent, and what the refusal tells."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from durable_ext.backends.azure_storage.transport.account import Sas
from durable_ext.backends.azure_storage.transport.sas import check_sas_is_enough, check_sas_is_valid
from durable_ext.errors import ConfigurationError

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
GOOD = "sv=2021-12-02&ss=bqt&srt=sco&sp=rwdlacup&st=2026-11-20T00:00:00Z&se=2026-11-22T00:00:00Z&sig=S3CR3T%3D"


def test_a_sas_for_the_whole_account_is_fine() -> None:
    check_sas_is_valid(Sas(GOOD), NOW)
    check_sas_is_enough(Sas(GOOD))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("se=2026-11-22T00:00:00Z", "se=2026-11-21T11:59:00Z"), r"expired: .* until 2026-11-21T11:59:00Z, now .*12:00:00Z"),
        (("se=2026-11-22T00:00:00Z", "se=2026-11-21"), "expired"),
        (("st=2026-11-20T00:00:00Z", "st=2026-11-21T13:00:00Z"), "not valid yet"),
        (("ss=bqt&srt=sco", "sr=c"), "single resource"),
        (("&sig=S3CR3T%3D", ""), "no signature"),
    ],
)
def test_a_sas_that_no_service_takes_is_refused(change: tuple[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        check_sas_is_valid(Sas(GOOD.replace(*change)), NOW)

    assert "S3CR3T" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("ss=bqt", "ss=bt"), r"lacks the services queue \(ss\)\."),
        (("srt=sco", "srt=s"), r"the resource types container, object \(srt\)"),
        (("sp=rwdlacup", "sp=racup"), r"the permissions write, delete, list \(sp\)"),
        (("sp=rwdlacup", "x=y"), r"the permissions read, write, delete, list, add, create, update, process \(sp\)"),
    ],
)
def test_a_sas_that_lacks_what_a_worker_needs_is_refused_with_what_it_lacks(change: tuple[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        check_sas_is_enough(Sas(GOOD.replace(*change)))

    assert "S3CR3T" not in str(caught.value)


def test_a_time_that_cannot_be_read_is_left_to_the_service() -> None:
    check_sas_is_valid(Sas(GOOD.replace("2026-11-22T00:00:00Z", "tomorrow")), NOW)
