"""Links to the management API."""

from __future__ import annotations

import json

import pytest

from durable_ext.errors import InvalidArgumentError
from durable_ext.http.urls import ManagementUrls, form_encode, origin_of

URLS = ManagementUrls(base_url="http://localhost:7071/runtime/webhooks/durabletask", task_hub="My Hub")


def test_text_is_encoded_form_style() -> None:
    assert form_encode("a b@c~d'e/f-_.!*()") == "a+b%40c%7Ed%27e%2Ff-_.!*()"


def test_the_links_of_an_instance_come_in_the_documented_order() -> None:
    assert list(URLS.links("x")) == [
        "id",
        "statusQueryGetUri",
        "sendEventPostUri",
        "terminatePostUri",
        "rewindPostUri",
        "purgeHistoryDeleteUri",
        "restartPostUri",
        "suspendPostUri",
        "resumePostUri",
    ]


def test_links_name_hub_and_connection_and_keep_placeholders() -> None:
    links = URLS.links("a b")

    assert links["statusQueryGetUri"] == f"{URLS.base_url}/instances/a%20b?taskHub=My+Hub&connection=Storage"
    assert links["sendEventPostUri"].endswith("/instances/a%20b/raiseEvent/{eventName}?taskHub=My+Hub&connection=Storage")
    assert links["terminatePostUri"].endswith("/terminate?reason={text}&taskHub=My+Hub&connection=Storage")


def test_links_of_an_id_with_half_a_character_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"The instance id 'a\\ud800' must not contain lone surrogates"):
        URLS.links("a\ud800")


def test_a_start_response_has_no_rewind_link() -> None:
    assert "rewindPostUri" not in URLS.check_status_links("x")


def test_links_follow_the_origin_of_a_request() -> None:
    moved = URLS.at_origin("https://example.org:8443")

    assert moved.links("x")["restartPostUri"].startswith(
        "https://example.org:8443/runtime/webhooks/durabletask/instances/x/"
    )


def test_a_key_ends_every_link() -> None:
    keyed = ManagementUrls(base_url=URLS.base_url, task_hub="H", required_query="code=K")

    assert all(link.endswith("&code=K") for name, link in keyed.links("x").items() if name != "id")


def test_the_client_binding_holds_templates_for_any_instance() -> None:
    binding = json.loads(ManagementUrls(base_url=URLS.base_url, task_hub="H", required_query="code=K").client_binding())

    assert binding["managementUrls"]["id"] == "INSTANCEID"
    assert binding["creationUrls"]["createNewInstancePostUri"] == (
        f"{URLS.base_url}/orchestrators/{{functionName}}[/{{instanceId}}]?code=K"
    )
    assert binding["requiredQueryStringParameters"] == "code=K"


def test_the_origin_of_a_url_is_scheme_and_authority() -> None:
    assert origin_of("https://a.example:1/x/y?z") == "https://a.example:1"
