"""What the Azure SDK packages raise, as errors of ours, and what the account's health hears of it."""

from __future__ import annotations

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError

from durable_ext.backends.azure_storage.transport.account import Service
from durable_ext.backends.azure_storage.transport.errors import StorageAccessError, StorageUnavailableError
from durable_ext.backends.azure_storage.transport.health import StorageHealth
from durable_ext.backends.azure_storage.transport.sdk_answers import SdkAnswers


def refusal(status: int) -> HttpResponseError:
    error = HttpResponseError(message="no")
    error.status_code = status
    return error


async def test_nobody_listening_is_an_outage_that_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    health = StorageHealth()
    health.watch()
    answers = SdkAnswers(Service.QUEUE, health)

    for _ in range(3):
        with pytest.raises(StorageUnavailableError) as caught:
            async with answers.translated("queue.get /q"):
                raise ServiceRequestError("nobody listens")
        assert caught.value.is_told

    assert len(caplog.records) == 1


@pytest.mark.parametrize(("watched", "expected"), [(False, StorageAccessError), (True, StorageUnavailableError)])
async def test_access_that_is_refused_ends_an_opening_and_is_waited_for_later(
    watched: bool, expected: type[Exception]
) -> None:
    health = StorageHealth()
    if watched:
        health.watch()

    with pytest.raises(expected):
        async with SdkAnswers(Service.TABLE, health).translated("table.get /T"):
            raise refusal(403)
