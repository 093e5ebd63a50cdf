"""Calls to a host in this process take no socket; others go out over HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

import durable_ext as df
from durable_ext.sdk.management_calls import EndpointAnswer, announced

BASE = "http://127.0.0.1:9/durabletask/"
BINDING = json.dumps({"taskHubName": "Hub", "creationUrls": {}, "managementUrls": {"id": "INSTANCEID"}, "rpcBaseUrl": BASE})
PAGE = [{"name": "n", "instanceId": "i", "runtimeStatus": "Running"}]


class Host:
    """Answers from a list and remembers what it was asked, and on which thread."""

    def __init__(self, *answers: EndpointAnswer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, bytes | None]] = []
        self.threads: set[int] = set()

    async def endpoint(self, method: str, url: str, headers: Any, body: bytes | None) -> EndpointAnswer:
        self.asked.append((method, url.removeprefix(BASE), body))
        self.threads.add(threading.get_ident())
        return self.answers.pop(0)


async def test_a_client_made_by_hand_calls_the_host_of_this_process() -> None:
    host = Host(EndpointAnswer(status=202, body=b'{"id": "i1"}'))

    with announced(BASE, host.endpoint):
        instance_id = await df.DurableOrchestrationClient(BINDING).start_new("Hello", client_input={"a": 1})

    assert instance_id == "i1"
    assert host.asked == [("POST", "orchestrators/Hello", json.dumps('{"a": 1}').encode())]


async def test_all_pages_are_read() -> None:
    page = json.dumps(PAGE).encode()
    host = Host(EndpointAnswer(status=200, body=page, continuation="t"), EndpointAnswer(status=200, body=page))

    with announced(BASE, host.endpoint):
        found = await df.DurableOrchestrationClient(BINDING).get_status_all()

    assert [status.instance_id for status in found] == ["i", "i"]


async def test_a_call_from_another_loop_runs_on_the_loop_of_the_host() -> None:
    host = Host(EndpointAnswer(status=404, body=b""))

    def sync_function() -> bool:
        return bool(asyncio.run(df.DurableOrchestrationClient(BINDING).get_status("i1")))

    with announced(BASE, host.endpoint):
        assert await asyncio.to_thread(sync_function) is False

    assert host.threads == {threading.get_ident()}


async def test_when_the_host_is_gone_the_call_goes_out() -> None:
    host = Host()
    with announced(BASE, host.endpoint):
        pass

    with pytest.raises(OSError, match="Cannot connect"):
        await df.DurableOrchestrationClient(BINDING).get_status("i1")

    assert host.asked == []


async def test_a_host_without_an_endpoint_announces_nothing() -> None:
    host = Host()

    with announced(None, host.endpoint), pytest.raises(OSError, match="Cannot connect"):
        await df.DurableOrchestrationClient(BINDING).get_status("i1")
