from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from durable_ext.errors import HttpCallError
from durable_ext.runtime.http_activity import HttpActivity


async def reflect(request: web.Request) -> web.Response:
    if "wait" in request.query:
        await asyncio.Event().wait()
    response = web.Response(
        status=int(request.query.get("status", "200")),
        text="|".join(
            [request.method, await request.text(), request.headers.get("Content-Type", ""), request.headers.get("X-A", "")]
        ),
        headers={"Server": "one/1 two/2", "X-Single": "s", "Last-Modified": "never"},
    )
    response.headers.add("X-Many", "a")
    response.headers.add("X-Many", "b")
    return response


async def move(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "/"})


@pytest.fixture
async def base() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/", reflect)
    app.router.add_get("/moved", move)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


@pytest.fixture
async def http() -> AsyncIterator[HttpActivity]:
    activity = HttpActivity()
    yield activity
    await activity.close()


async def test_status_headers_and_text_come_back_without_headers_of_the_content(base: str, http: HttpActivity) -> None:
    response = await http.call({"method": "GET", "uri": base})

    headers = {name.lower(): value for name, value in response["headers"].items()}
    assert response["statusCode"] == 200
    assert response["content"].startswith("GET|")
    assert headers["x-single"] == "s"
    assert headers["x-many"] == ["a", "b"]
    assert headers["server"] == ["one/1", "two/2"]
    assert not {"content-type", "content-length", "last-modified"} & set(headers)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (None, "text/plain"),
        ("application/json", "application/json"),
        ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-8"),
    ],
)
async def test_a_body_has_a_content_type(base: str, http: HttpActivity, given: str | None, sent: str) -> None:
    headers = {"X-A": "1"} | ({} if given is None else {"Content-Type": given})

    response = await http.call({"method": "POST", "uri": base, "content": "grün", "headers": headers})

    assert response["content"] == f"POST|grün|{sent}|1"


async def test_a_missing_method_is_get_and_any_status_is_a_result(base: str, http: HttpActivity) -> None:
    response = await http.call({"uri": f"{base}?status=503"})

    assert (response["statusCode"], response["content"][:4]) == (503, "GET|")


async def test_redirects_are_followed(base: str, http: HttpActivity) -> None:
    assert (await http.call({"uri": f"{base}moved"}))["statusCode"] == 200


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"uri": "/relative"}, "no absolute http or https URL"),
        ({"uri": "http://127.0.0.1:1/"}, "GET http://127.0.0.1:1/ failed"),
        ({"uri": "http://h/", "tokenSource": {"kind": "Magic"}}, "The token source kind 'Magic' is not supported."),
        (
            {"uri": "http://h/", "content": "x", "headers": {"Content-Type": "multipart/form-data"}},
            "Multipart content is not supported with CallHttpAsync.",
        ),
        ("text", "expected as an object"),
    ],
)
async def test_a_request_that_cannot_be_made_says_why(http: HttpActivity, request_: Any, text: str) -> None:
    with pytest.raises(HttpCallError, match=text.replace(".", r"\.")):
        await http.call(request_)


@pytest.mark.parametrize(
    "part",
    [
        {"uri": "http://h/a\ud800"},
        {"method": "a\ud800"},
        {"content": "a\ud800"},
        {"headers": {"a\ud800": "x"}},
        {"headers": {"X-A": "a\ud800"}},
        {"headers": {"X-A": ["x", "a\ud800"]}},
    ],
)
async def test_a_request_with_half_a_character_is_not_made(base: str, http: HttpActivity, part: dict[str, Any]) -> None:
    with pytest.raises(HttpCallError, match=r"a\\ud800' must not contain lone surrogates"):
        await http.call({"uri": base, "method": "POST", **part})


async def test_the_users_timeout_is_named(base: str, http: HttpActivity) -> None:
    with pytest.raises(HttpCallError, match=r"Reached user specified timeout: 00:00:00\.0500000\."):
        await http.call({"uri": f"{base}?wait", "timeout": "00:00:00.0500000"})


@pytest.mark.parametrize(
    ("status", "codes", "text"),
    [(404, [], "404 (NotFound)"), (429, [429], "Status code TooManyRequests received, retry requested.")],
)
async def test_statuses_to_retry_fail_the_activity(
    base: str, http: HttpActivity, status: int, codes: list[int], text: str
) -> None:
    with pytest.raises(HttpCallError) as raised:
        await http.call({"uri": f"{base}?status={status}", "retryOptions": {"StatusCodesToRetry": codes}})

    assert text in str(raised.value)


async def test_a_status_that_is_not_listed_is_a_result(base: str, http: HttpActivity) -> None:
    response = await http.call({"uri": f"{base}?status=404", "retryOptions": {"StatusCodesToRetry": [429]}})

    assert response["statusCode"] == 404
