"""Renewal of bearer tokens: nobody waits for it while the old token is good, and no caller can stop it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from durable_ext.backends.azure_storage.transport.account import Identity
from durable_ext.backends.azure_storage.transport.identity import IdentityTokens, credential_of
from durable_ext.errors import ConfigurationError
from durable_ext.testing.clock import ManualClock

HOUR = 3600.0
IN_THE_LAST_MINUTES = HOUR - 200.0


@dataclass
class EntraId:
    """azure-identity's side: numbered tokens that live for an hour of the test's clock, given out while `gate` is open."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(datetime.fromtimestamp(0, timezone.utc)))
    answers: bool = True
    refusal: str = "no identity here"
    asked: int = 0
    closed: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(timedelta(seconds=seconds))

    async def get_token(self, *scopes: str) -> AccessToken:
        self.asked += 1
        number = self.asked
        await self.gate.wait()
        if not self.answers:
            raise ClientAuthenticationError(self.refusal)
        return AccessToken(f"token {number}", int(self.clock.now().timestamp() + HOUR))

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
async def entra() -> EntraId:
    service = EntraId()
    service.gate.set()
    return service


@pytest.fixture
async def tokens(entra: EntraId) -> IdentityTokens:
    return IdentityTokens(Identity(), credential=entra, clock=entra.clock)


async def turns() -> None:
    """Let tasks go on that wait for nothing."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_calls_go_on_with_the_old_token_while_a_slow_renewal_is_under_way(
    entra: EntraId, tokens: IdentityTokens
) -> None:
    assert await tokens.token() == "token 1"
    await entra.pass_time(IN_THE_LAST_MINUTES)
    entra.gate.clear()

    during = [await asyncio.wait_for(tokens.token(), 5) for _ in range(3)]
    await turns()
    entra.gate.set()
    await turns()

    assert during == ["token 1"] * 3
    assert await tokens.token() == "token 2"
    assert entra.asked == 2


async def test_a_token_that_has_expired_is_waited_for_by_all_and_asked_for_once(
    entra: EntraId, tokens: IdentityTokens
) -> None:
    await tokens.token()
    await entra.pass_time(HOUR + 1)
    entra.gate.clear()

    waiting = asyncio.gather(*(tokens.token() for _ in range(3)))
    await turns()
    assert not waiting.done()
    entra.gate.set()

    assert await waiting == ["token 2"] * 3
    assert entra.asked == 2


@pytest.mark.parametrize("seconds", [IN_THE_LAST_MINUTES, HOUR + 1])
async def test_a_caller_that_gives_up_does_not_end_the_renewal(
    entra: EntraId, tokens: IdentityTokens, seconds: float
) -> None:
    await tokens.token()
    await entra.pass_time(seconds)
    entra.gate.clear()

    for _ in range(3):
        caller = asyncio.ensure_future(tokens.token())
        await turns()
        caller.cancel()
        await asyncio.wait([caller])
    entra.gate.set()
    await turns()

    assert await tokens.token() == "token 2"
    assert entra.asked == 2


async def test_a_renewal_that_fails_is_told_once_and_tried_again_later(
    entra: EntraId, tokens: IdentityTokens, caplog: pytest.LogCaptureFixture
) -> None:
    await tokens.token()
    entra.answers = False
    await entra.pass_time(IN_THE_LAST_MINUTES)

    for _ in range(4):
        assert await tokens.token() == "token 1"
        await turns()
    assert entra.asked == 2

    for _ in range(4):
        await entra.pass_time(20)
        assert await tokens.token() == "token 1"
        await turns()
    assert entra.asked == 4
    assert len([record for record in caplog.records if getattr(record, "event", "") == "token_renewal_failed"]) == 1

    entra.answers = True
    await entra.pass_time(40)
    assert await tokens.token() == "token 1"
    await turns()
    assert await tokens.token() == "token 5"


async def test_without_a_valid_token_a_refusal_is_an_outage_for_who_has_worked_before(
    entra: EntraId, tokens: IdentityTokens
) -> None:
    await tokens.token()
    entra.answers = False
    await entra.pass_time(HOUR + 1)

    answers = await asyncio.gather(*(tokens.token() for _ in range(2)), return_exceptions=True)

    assert [type(one) for one in answers] == [ConnectionError, ConnectionError]
    assert answers[0] is not answers[1]


async def test_without_a_token_ever_a_refusal_is_an_error_of_the_settings(entra: EntraId, tokens: IdentityTokens) -> None:
    entra.answers = False

    with pytest.raises(ConfigurationError, match="no identity here"):
        await tokens.token()


async def test_a_refusal_of_many_lines_is_told_in_one_with_what_to_do(entra: EntraId, tokens: IdentityTokens) -> None:
    entra.answers, entra.refusal = False, "no token was found.\nTried:\n\tEnvironment: none\n\tPowerShell: none"

    with pytest.raises(ConfigurationError, match=r"no token was found\. .*clientSecret") as refused:
        await tokens.token()

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "identity",
    [
        Identity(tenant_id="t", client_id="c", certificate="/is/not/there.pem"),
        Identity(tenant_id="no tenant/", client_id="c", client_secret="hush"),
        Identity(credential="workloadidentity"),
        Identity(credential="bogus"),
    ],
)
def test_an_identity_that_cannot_be_used_is_an_error_of_the_settings(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(ConfigurationError, match=r"storage connection's (identity|credential)") as refused:
        credential_of(identity)

    assert "\n" not in str(refused.value)
    assert "hush" not in str(refused.value)


async def test_a_renewal_ends_when_the_connection_is_closed(entra: EntraId, tokens: IdentityTokens) -> None:
    entra.gate.clear()
    waiting = asyncio.ensure_future(tokens.token())
    await turns()

    await tokens.close()

    with pytest.raises(ConnectionError, match="closed"):
        await waiting
    assert entra.closed
