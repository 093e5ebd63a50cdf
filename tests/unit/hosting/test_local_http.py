"""Cross-origin answers, log lines and the HTTP server, each on its own."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import azure.functions as func
import pytest
from support.scripted_service import KEY, scripted_service

from durable_ext.backends.azure_storage.transport.account import Service
from durable_ext.backends.azure_storage.transport.auth import SharedKeySigner
from durable_ext.backends.azure_storage.transport.http import StorageHttp
from durable_ext.backends.azure_storage.transport.retry import RetryPolicy
from durable_ext.core.instance_ids import checked_instance_id
from durable_ext.errors import ConfigurationError, InstanceNotFoundError, InvalidArgumentError
from durable_ext.hosting.bindings import CallPlan
from durable_ext.hosting.local.console import ConsoleFormatter
from durable_ext.hosting.local.cors import Cors
from durable_ext.hosting.local.http_triggers import HttpRoute, HttpTriggers
from durable_ext.hosting.local.invocations import Invoker
from durable_ext.hosting.local.listener import bind
from durable_ext.hosting.local.route_templates import parse_route
from durable_ext.http.aiohttp_app import make_server
from durable_ext.http.messages import HttpRequestValue, HttpResponseValue

Answer = Callable[[HttpRequestValue], Awaitable[HttpResponseValue]]
Serve = Callable[[Answer], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve a function on a free port; gives its origin."""
    servers: list[tuple[Any, Any]] = []

    async def start(answer: Answer) -> str:
        listener = bind("127.0.0.1", 0)
        server = make_server(answer)
        servers.append((server, await asyncio.get_running_loop().create_server(server, sock=listener)))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, site in servers:
        site.close()
        await server.shutdown(1)


async def _echo(request: HttpRequestValue) -> HttpResponseValue:
    seen = f"{request.method} {request.path} ? {request.query} # {request.headers.get('x-a')}".encode()
    body = b"" if request.body is None else b" = " + request.body
    return HttpResponseValue(status=200, headers=(("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")), body=seen + body)


async def test_a_request_arrives_as_it_was_sent(serve: Serve) -> None:
    origin = await serve(_echo)

    async with aiohttp.ClientSession() as session:
        answer = await session.post(f"{origin}/a%2Fb/c?x=1&x=%20", data=b"body", headers={"X-A": "1"})
        text = await answer.text()

    assert text == "POST /a%2Fb/c ? x=1&x=%20 # 1 = body"
    assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]


async def test_a_request_without_a_body_has_none(serve: Serve) -> None:
    origin = await serve(_echo)

    async with aiohttp.ClientSession() as session:
        text = await (await session.get(f"{origin}/x")).text()

    assert text == "GET /x ?  # None"


async def test_an_empty_response_has_no_content_type(serve: Serve) -> None:
    async def answer(request: HttpRequestValue) -> HttpResponseValue:
        return HttpResponseValue(status=404)

    origin = await serve(answer)

    async with aiohttp.ClientSession() as session:
        response = await session.get(origin)

    assert (response.status, response.headers.get("Content-Length")) == (404, "0")
    assert "Content-Type" not in response.headers


async def test_a_body_of_several_megabytes_is_taken(serve: Serve) -> None:
    async def answer(request: HttpRequestValue) -> HttpResponseValue:
        return HttpResponseValue(status=200, body=str(len(request.body or b"")).encode())

    origin = await serve(answer)

    async with aiohttp.ClientSession() as session:
        text = await (await session.post(origin, data=io.BytesIO(b"x" * 5_000_000))).text()

    assert text == "5000000"


def test_a_port_in_use_is_refused_with_the_words_of_func() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(ConfigurationError, match=rf"Port {port} is unavailable\. .*--port"):
            bind("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"203\.0\.113\.1"):
        bind("203.0.113.1", 0)


def _route(call: Any, route: str = "x", **plan: Any) -> HttpRoute:
    asynchronous = asyncio.iscoroutinefunction(call)
    values = CallPlan(name="f", call=call, is_async=asynchronous, trigger_name="req", **plan)
    return HttpRoute(plan=values, template=parse_route(route), methods=("GET",))


def _get(path: str, query: str = "") -> HttpRequestValue:
    return HttpRequestValue(method="GET", url=f"http://h{path}", path=path, query=query)


@pytest.fixture
async def make_invoker(tmp_path: Path) -> AsyncIterator[Callable[..., Invoker]]:
    """Make an invoker of one thread; `limit` is functionTimeout."""
    made: list[Invoker] = []

    def make(limit: timedelta | None = None) -> Invoker:
        made.append(Invoker(lambda binding, invocation_id: "the client", tmp_path, threads=1, limit=limit))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
async def invoker(make_invoker: Callable[..., Invoker]) -> Invoker:
    return make_invoker()


async def test_sync_and_async_functions_answer(invoker: Invoker) -> None:
    def plain(req: func.HttpRequest) -> str:
        return f"plain {req.params['a']}"

    async def coroutine(req: func.HttpRequest) -> str:
        return f"async {req.route_params['name']}"

    triggers = HttpTriggers((_route(plain), _route(coroutine, "y/{name}")), invoker)

    first = await triggers.handle(_get("/x", "a=1&a=2&b="))
    second = await triggers.handle(_get("/y/Ada"))

    assert first is not None
    assert second is not None
    assert (first.body, second.body) == (b"plain 1,2", b"async Ada")


async def test_a_request_that_no_route_matches_is_left_to_others(invoker: Invoker) -> None:
    triggers = HttpTriggers((_route(lambda req: "x"),), invoker)

    assert await triggers.handle(_get("/z")) is None
    assert await triggers.handle(HttpRequestValue(method="POST", url="http://h/x", path="/x")) is None


async def test_a_function_that_raises_is_500_and_its_own_traceback_in_the_log(
    invoker: Invoker, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(req: func.HttpRequest) -> str:
        raise KeyError("who")

    response = await HttpTriggers((_route(broken),), invoker).handle(_get("/x"))

    assert response is not None
    assert (response.status, response.body) == (500, b"")
    assert "KeyError: 'who'" in caplog.text
    assert "test_local_http.py" in caplog.text
    assert "invocations.py" not in caplog.messages[-1]


async def test_what_the_client_refuses_is_shown_with_the_line_of_the_app_and_no_other(
    invoker: Invoker, caplog: pytest.LogCaptureFixture
) -> None:
    async def asks(req: func.HttpRequest) -> str:
        try:
            checked_instance_id("@nobody")
        except InvalidArgumentError as error:
            raise InstanceNotFoundError("nobody") from error
        return "never"

    await HttpTriggers((_route(asks),), invoker).handle(_get("/x"))

    text = caplog.messages[-1]
    assert "InstanceNotFoundError: " in text
    assert 'raise InstanceNotFoundError("nobody") from error' in text
    assert "InvalidArgumentError" in text
    assert "durable_ext/client/" not in text


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(1)])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_function_that_tries_to_leave_is_500_and_the_host_goes_on(
    invoker: Invoker, error: BaseException, is_async: bool
) -> None:
    def leave(req: func.HttpRequest) -> str:
        raise error

    async def leave_async(req: func.HttpRequest) -> str:
        raise error

    triggers = HttpTriggers((_route(leave_async if is_async else leave), _route(lambda req: "here", "y")), invoker)

    left = await triggers.handle(_get("/x"))
    after = await triggers.handle(_get("/y"))

    assert left is not None
    assert after is not None
    assert (left.status, after.body) == (500, b"here")


@pytest.mark.parametrize("error", [asyncio.CancelledError(), asyncio.CancelledError("by itself")])
async def test_an_async_function_that_raises_cancelled_error_is_500_and_named(
    invoker: Invoker, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    async def cancels(req: func.HttpRequest) -> str:
        raise error

    async def cancels_inside(req: func.HttpRequest) -> str:
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task
        return "never"

    triggers = HttpTriggers((_route(cancels), _route(cancels_inside, "y")), invoker)

    first, second = await triggers.handle(_get("/x")), await triggers.handle(_get("/y"))

    assert first is not None
    assert second is not None
    assert (first.status, second.status) == (500, 500)
    assert caplog.text.count("Function 'f' raised CancelledError") == 2
    assert all("invocations.py" not in message for message in caplog.messages)


async def test_a_caller_that_leaves_cancels_an_async_function(invoker: Invoker, caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []
    began = asyncio.Event()

    async def works(req: func.HttpRequest) -> str:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cleaned up")
        return "never"

    call = asyncio.ensure_future(HttpTriggers((_route(works),), invoker).handle(_get("/x")))
    await began.wait()
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended == ["cleaned up"]
    assert "(Cancelled, " in caplog.text


async def test_an_async_function_ends_at_the_function_timeout(
    make_invoker: Callable[..., Invoker], caplog: pytest.LogCaptureFixture
) -> None:
    async def hangs(req: func.HttpRequest) -> str:
        await asyncio.Event().wait()
        return "never"

    triggers = HttpTriggers((_route(hangs),), make_invoker(limit=timedelta(milliseconds=50)))

    response = await triggers.handle(_get("/x"))

    assert response is not None
    assert response.status == 500
    assert "Timeout value of 00:00:00.0500000 exceeded by function: Functions.f" in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_sync_function_ends_at_the_function_timeout_and_its_thread_is_replaced(
    make_invoker: Callable[..., Invoker], caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()
    invoker = make_invoker(limit=timedelta(milliseconds=200))
    triggers = HttpTriggers((_route(lambda req: str(released.wait(30))), _route(lambda req: "here", "y")), invoker)

    hung = await triggers.handle(_get("/x"))
    after = await triggers.handle(_get("/y"))
    released.set()

    assert hung is not None
    assert after is not None
    assert (hung.status, after.body) == (500, b"here")
    assert "Timeout value of 00:00:00.2000000 exceeded by function: Functions.f" in caplog.text


async def test_a_call_is_logged_before_and_after(invoker: Invoker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    await HttpTriggers((_route(lambda req: "x"),), invoker).handle(_get("/x"))

    executing, executed = [record.getMessage() for record in caplog.records if record.name == "Function.f"]
    assert executing.startswith("Executing 'Functions.f' (Reason='This function was programmatically called")
    assert "Executed 'Functions.f' (Succeeded, Id=" in executed


async def test_the_durable_client_is_passed_by_name(invoker: Invoker) -> None:
    def start(req: func.HttpRequest, client: Any) -> str:
        return str(client)

    response = await HttpTriggers((_route(start, client={"name": "client"}),), invoker).handle(_get("/x"))

    assert response is not None
    assert response.body == b"the client"


@pytest.fixture
async def store_that_is_away() -> AsyncIterator[StorageHttp]:
    """A connection to a storage service that closes each of them without an answer."""
    async with scripted_service() as service:
        service.answers = [b""]
        http = StorageHttp(service.account, SharedKeySigner(KEY), retry=RetryPolicy(attempts=1))
        yield http
        await http.close()


async def test_storage_that_is_away_is_503_with_a_text_and_in_the_log_the_users_line_and_the_reason(
    invoker: Invoker, store_that_is_away: StorageHttp, caplog: pytest.LogCaptureFixture
) -> None:
    async def start(req: func.HttpRequest) -> None:
        await store_that_is_away.send("queue.get", Service.QUEUE, "GET", "/q/messages")

    response = await HttpTriggers((_route(start),), invoker).handle(_get("/x"))

    assert response is not None
    assert response.status == 503
    assert "The task hub cannot be reached. Try again later." in response.body.decode()
    (logged,) = [record.getMessage() for record in caplog.records if "(Failed" in record.getMessage()]
    assert re.findall(r'File "[^"]*/(\w+\.py)"', logged) == ["test_local_http.py"]
    assert "Azure Storage did not do queue.get" in logged.splitlines()[-1]


async def test_an_out_parameter_becomes_the_response(invoker: Invoker) -> None:
    def answer(req: func.HttpRequest, res: func.Out[func.HttpResponse]) -> None:
        res.set(func.HttpResponse("from out", status_code=201))

    response = await HttpTriggers((_route(answer, out_names=("res",)),), invoker).handle(_get("/x"))

    assert response is not None
    assert (response.status, response.body) == (201, b"from out")


def _preflight(origin: str) -> HttpRequestValue:
    headers = {"origin": origin, "access-control-request-method": "PUT", "access-control-request-headers": "x-a"}
    return HttpRequestValue(method="OPTIONS", url="http://h/x", path="/x", headers=headers)


def test_a_preflight_of_an_allowed_origin_is_answered() -> None:
    response = Cors(origins=("https://a",)).preflight(_preflight("https://a"))

    assert response is not None
    assert dict(response.headers)["Access-Control-Allow-Origin"] == "https://a"
    assert dict(response.headers)["Access-Control-Allow-Methods"] == "PUT"


def test_other_origins_get_no_headers() -> None:
    cors = Cors(origins=("https://a",))
    request = _preflight("https://b")

    assert cors.preflight(request) is None
    assert cors.decorate(request, HttpResponseValue(status=200)).headers == ()


def test_a_star_allows_everybody() -> None:
    response = Cors(origins=("*",)).decorate(_preflight("https://b"), HttpResponseValue(status=200))

    assert response.headers == (("Access-Control-Allow-Origin", "*"),)


def test_credentials_are_allowed_for_the_named_origin_only() -> None:
    response = Cors(origins=("*",), credentials=True).decorate(_preflight("https://b"), HttpResponseValue(status=200))

    assert dict(response.headers)["Access-Control-Allow-Origin"] == "https://b"


def test_a_log_line_has_utc_time_and_colour_by_level() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(ConsoleFormatter(colours=True))
    record = logging.LogRecord("x", logging.ERROR, "f.py", 1, "bad %s", ("thing",), None)
    record.created = 1_700_000_000.123

    handler.emit(record)

    assert stream.getvalue() == "\x1b[31m[2023-11-14T22:13:20.123Z] bad thing\x1b[0m\n"
