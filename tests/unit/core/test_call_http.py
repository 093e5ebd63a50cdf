"""call_http: what is recorded, and polling."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from support.orchestration_bench import START, OrchestrationBench, at, kinds

from durable_ext.core.episode import Episode
from durable_ext.core.http_call import (
    DurableHttpRequest,
    ManagedIdentityTokenSource,
    TokenSource,
    retry_after_ticks,
)
from durable_ext.core.orchestrators import ReplayOptions
from durable_ext.core.timestamps import TICKS_PER_SECOND

URL = "https://service.example/jobs"


def calling(*arguments: Any, **named: Any) -> Any:
    return lambda context: (yield context.call_http(*arguments, **named))


def request_of(episode: Episode) -> Any:
    (message,) = episode.activities
    assert message.event.name == "BuiltIn::HttpActivity"  # type: ignore[attr-defined]
    (request,) = json.loads(message.event.input)  # type: ignore[attr-defined]
    return request


def answer(status: int = 200, content: str = "", **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"statusCode": status, "headers": named, "content": content}


def test_a_request_is_an_activity_that_no_app_has_to_register() -> None:
    bench = OrchestrationBench(calling("GET", URL, enable_polling=False), activity_names=["other"])

    episode = bench.start()
    bench.complete(0, answer(content="hi"))

    assert request_of(episode) == {"method": "GET", "uri": URL, "content": None, "headers": None}
    assert bench.output == answer(content="hi")


def test_content_is_sent_as_json_even_if_it_is_a_text() -> None:
    bench = OrchestrationBench(calling("POST", URL, "abc", {"X": "1"}))

    request = request_of(bench.start())

    assert (request["content"], request["headers"]) == ('"abc"', {"X": "1"})


def test_a_raw_text_is_sent_as_it_is() -> None:
    bench = OrchestrationBench(calling("POST", URL, "abc", is_raw_str=True))

    assert request_of(bench.start())["content"] == "abc"


@pytest.mark.parametrize("content", [None, {"a": 1}])
def test_raw_content_must_be_a_text(content: Any) -> None:
    bench = OrchestrationBench(calling("POST", URL, content, is_raw_str=True))

    bench.start()

    assert "Invalid use of 'is_raw_str' parameter" in str(bench.output)


def test_a_token_source_is_recorded() -> None:
    source = ManagedIdentityTokenSource("https://graph.microsoft.com", authority_host="https://login", tenant_id="t")
    bench = OrchestrationBench(calling("GET", URL, token_source=source))

    assert request_of(bench.start())["tokenSource"] == {
        "resource": "https://graph.microsoft.com",
        "kind": "AzureManagedIdentity",
        "options": {"authorityhost": "https://login", "tenantid": "t"},
    }


def test_a_token_source_without_options_has_the_form_of_1x() -> None:
    source = ManagedIdentityTokenSource("https://graph.microsoft.com")

    assert source.to_json() == {"resource": source.resource, "kind": "AzureManagedIdentity"}


def test_a_token_source_of_no_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="Use ManagedIdentityTokenSource"):
        TokenSource().to_json()


def test_a_202_is_followed_to_its_location_until_it_is_done() -> None:
    bench = OrchestrationBench(calling("POST", URL, {"a": 1}, {"x-functions-key": "k", "Accept": "text/plain"}))
    bench.start()

    wait = bench.complete(0, answer(202, Location="/jobs/1", Retry_After="7"))
    bench.wait(timedelta(seconds=7))
    poll = bench.fire(1)
    bench.forget()
    bench.complete(2, answer(202, location=f"{URL}/1"))
    again = bench.fire(3)
    bench.complete(4, answer(200, "done"))

    assert (kinds(wait), wait.messages[0].due) == ([("TimerCreated", 1)], at(START, seconds=7))
    assert request_of(poll) == {
        "method": "GET",
        "uri": f"{URL}/1",
        "content": None,
        "headers": {"Accept": "text/plain"},
        "asynchronousPatternEnabled": True,
    }
    assert request_of(again)["uri"] == f"{URL}/1"
    assert bench.output["content"] == "done"


def test_without_a_hint_polling_waits_as_long_as_the_setting_says() -> None:
    options = ReplayOptions(http_poll_interval=timedelta(seconds=11))
    bench = OrchestrationBench(calling("GET", URL), options=options)
    bench.start()

    wait = bench.complete(0, answer(202, Location=URL))

    assert wait.messages[0].due == at(START, seconds=11)


def test_another_origin_gets_no_credentials() -> None:
    request = DurableHttpRequest(
        "GET",
        URL,
        headers={"Authorization": "Bearer x", "Cookie": "c", "Accept": "a"},
        token_source=ManagedIdentityTokenSource("r"),
        enable_polling=True,
    )

    there = request.polling("https://elsewhere.example/1")
    here = request.polling("https://service.example/1")

    assert (there.headers, there.token_source) == ({"Accept": "a"}, None)
    assert (here.headers, here.token_source) == (request.headers, request.token_source)


def test_a_202_without_a_usable_location_fails_the_task() -> None:
    bench = OrchestrationBench(calling("GET", URL))
    bench.start()

    bench.complete(0, answer(202))

    assert "has the Location header None" in str(bench.output)


def test_a_202_that_leads_elsewhere_than_http_fails_the_task() -> None:
    bench = OrchestrationBench(calling("GET", URL))
    bench.start()

    bench.complete(0, answer(202, Location="file:///etc/passwd"))

    assert "polling needs an http or https URL" in str(bench.output)


def test_a_request_that_gets_no_answer_fails_the_task() -> None:
    bench = OrchestrationBench(calling("GET", URL))
    bench.start()

    bench.fail(0, "no route", "d")

    assert str(bench.output).endswith("no route \n d")


def test_as_in_1x_a_202_is_the_result() -> None:
    bench = OrchestrationBench(calling("GET", URL), options=ReplayOptions(fixes=False))
    episode = bench.start()

    bench.complete(0, answer(202, Location=URL))

    assert "asynchronousPatternEnabled" not in request_of(episode)
    assert bench.output["statusCode"] == 202


def test_a_polling_call_can_be_yielded_twice() -> None:
    def orchestrator(context: Any) -> Any:
        call = context.call_http("GET", URL)
        yield context.task_any([call, context.wait_for_external_event("go")])
        return (yield call)["statusCode"]

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.raise_event("go")

    bench.complete(0, answer(204))

    assert bench.output == 204


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        (" 5 ", 5 * TICKS_PER_SECOND),
        ("Mon, 01 Jan 2024 00:00:09 GMT", 9 * TICKS_PER_SECOND),
        ("Sun, 31 Dec 2023 00:00:00 GMT", 0),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(header: object, expected: int | None) -> None:
    assert retry_after_ticks(header, START) == expected


def test_retry_after_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="'soon' is neither a number of seconds nor an HTTP date"):
        retry_after_ticks("soon", START)


def test_polling_waits_no_longer_than_the_hub_can() -> None:
    bench = OrchestrationBench(calling("GET", URL))
    bench.start()

    wait = bench.complete(0, answer(202, Location=URL, Retry_After=str(30 * 86_400)))

    assert wait.messages[0].due == at(START, days=6)


def test_a_wait_beyond_all_time_fails_the_task() -> None:
    bench = OrchestrationBench(calling("GET", URL))
    bench.start()

    bench.complete(0, answer(202, Location=URL, Retry_After="9" * 30))

    assert "lies after the year 9999" in str(bench.output)
