"""Settings of a host: the three sources, which hub, and errors that name their place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable_ext.errors import ConfigurationError
from durable_ext.hosting.settings import find_connection, load_settings, resolve_setting_names


def _durable(**values: Any) -> dict[str, Any]:
    return {"extensions": {"durableTask": values}}


def test_an_empty_host_json_means_the_documented_defaults(write_app: Callable[..., Path]) -> None:
    settings = load_settings(write_app(), {})

    assert (settings.task_hub, settings.hub_kind, settings.route_prefix) == ("TestHubName", "embedded", "api")
    assert settings.function_timeout == timedelta(minutes=30)
    assert settings.durable_task.session_idle_timeout == timedelta(seconds=30)
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"tracing": {"distributedTracingEnabled": True}}, "extensions.durableTask.tracing"),
        (
            {"notifications": {"eventGrid": {"topicEndpoint": "https://topic"}}},
            "extensions.durableTask.notifications.eventGrid",
        ),
    ],
)
def test_a_section_without_effect_is_named_once(write_app: Callable[..., Path], values: dict[str, Any], key: str) -> None:
    warnings = load_settings(write_app(host=_durable(**values)), {}).warnings

    assert [line.split(" has no effect")[0] for line in warnings] == [f"host.json: {key}"]


@pytest.mark.parametrize(
    ("option", "provider", "connection", "kind"),
    [
        ("embedded", "AzureStorage", "UseDevelopmentStorage=true", "embedded"),
        ("azure", None, "", "azure"),
        (None, "Embedded", "UseDevelopmentStorage=true", "embedded"),
        (None, "azurestorage", "", "azure"),
        (None, None, "UseDevelopmentStorage=true", "azure"),
        (None, None, "", "embedded"),
    ],
)
def test_the_hub_is_chosen_by_option_then_provider_then_connection(
    write_app: Callable[..., Path], option: Any, provider: str | None, connection: str, kind: str
) -> None:
    root = write_app(host=_durable(storageProvider={"type": provider} if provider else {}))

    assert load_settings(root, {"AzureWebJobsStorage": connection}, hub=option).hub_kind == kind


@pytest.mark.parametrize("provider", ["mssql", "Netherite", "azureManaged", "nonsense"])
def test_another_storage_provider_is_refused_and_the_known_ones_named(write_app: Callable[..., Path], provider: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{provider}.*AzureStorage, Embedded"):
        load_settings(write_app(host=_durable(storageProvider={"type": provider})), {})


def test_an_identity_based_connection_means_azure_storage(write_app: Callable[..., Path]) -> None:
    settings = load_settings(write_app(), {"AzureWebJobsStorage__accountName": "acct"})

    assert settings.hub_kind == "azure"
    assert "AzureWebJobsStorage" in settings.hub_reason


def test_values_of_local_settings_become_the_environment(write_app: Callable[..., Path]) -> None:
    environ: dict[str, str] = {}

    load_settings(write_app(local={"IsEncrypted": False, "Values": {"A": "1", "B": "", "C": None}}), environ)

    assert environ == {"A": "1", "B": ""}


def test_existing_variables_win_over_local_settings_and_a_line_says_so(write_app: Callable[..., Path]) -> None:
    environ = {"A": "mine"}

    settings = load_settings(write_app(local={"Values": {"A": "other"}}), environ)

    assert environ["A"] == "mine"
    assert settings.warnings == (
        "Skipping 'A' from local settings as it's already defined in current environment variables.",
    )


def test_local_settings_may_override_host_json(write_app: Callable[..., Path]) -> None:
    root = write_app(local={"Values": {"AzureFunctionsJobHost__extensions__durableTask__hubName": "FromValues"}})

    assert load_settings(root, {}).task_hub == "FromValues"


def test_connection_strings_of_local_settings_are_found(write_app: Callable[..., Path]) -> None:
    environ: dict[str, str] = {}

    load_settings(write_app(local={"ConnectionStrings": {"A": "one", "B": {"ConnectionString": "two"}}}), environ)

    assert (find_connection("A", environ), find_connection("B", environ)) == ("one", "two")


def test_encrypted_local_settings_are_refused_with_a_way_out(write_app: Callable[..., Path]) -> None:
    with pytest.raises(ConfigurationError, match="func settings decrypt"):
        load_settings(write_app(local={"IsEncrypted": True, "Values": {}}), {})


def test_a_setting_that_is_no_string_is_refused_by_name(write_app: Callable[..., Path]) -> None:
    with pytest.raises(ConfigurationError, match=r"Values\.Port is 5"):
        load_settings(write_app(local={"Values": {"Port": 5}}), {})


@pytest.mark.parametrize("port", [70_000, -1, True, 7100.5, "70000", "http", [7071]])
def test_a_port_that_cannot_be_is_refused_with_its_range(write_app: Callable[..., Path], port: object) -> None:
    with pytest.raises(ConfigurationError, match=r"Host\.LocalHttpPort is .* not in the range 0<=x<=65535\.") as refused:
        load_settings(write_app(local={"Host": {"LocalHttpPort": port}}), {})

    assert repr(port) in str(refused.value)


@pytest.mark.parametrize(("written", "port"), [(0, 0), (65_535, 65_535), ("7072", 7072), (None, None)])
def test_a_port_may_be_a_number_or_its_text(write_app: Callable[..., Path], written: object, port: int | None) -> None:
    assert load_settings(write_app(local={"Host": {"LocalHttpPort": written}}), {}).local_host.port == port


@pytest.mark.parametrize("value", [5, True, ["https://a"]])
@pytest.mark.parametrize("name", ["CORS", "LocalHttpAddress"])
def test_origins_and_an_address_that_are_no_text_are_refused(
    write_app: Callable[..., Path], name: str, value: object
) -> None:
    with pytest.raises(ConfigurationError, match=rf"Host\.{name} is .*; it must be a string") as refused:
        load_settings(write_app(local={"Host": {name: value}}), {})

    assert repr(value) in str(refused.value)


def test_the_host_section_of_local_settings_is_kept(write_app: Callable[..., Path]) -> None:
    host = {"LocalHttpPort": 7072, "CORS": "https://a, https://b", "CORSCredentials": True}

    local = load_settings(write_app(local={"Host": host}), {}).local_host

    assert (local.port, local.cors, local.cors_credentials) == (7072, ("https://a", "https://b"), True)


@pytest.mark.parametrize(
    ("written", "environ", "hub"),
    [
        ("MyHub", {}, "MyHub"),
        ("%HUB%", {"HUB": "FromEnv"}, "FromEnv"),
        ("hub%SUFFIX%", {"SUFFIX": "1"}, "hub1"),
        (None, {"WEBSITE_SITE_NAME": "my-site.9"}, "mysite9"),
        (None, {"WEBSITE_SITE_NAME": "9"}, "t9Hub"),
        (None, {"WEBSITE_SITE_NAME": "--"}, "DefaultTaskHub"),
    ],
)
def test_the_hub_name_is_resolved_or_made_from_the_site(
    write_app: Callable[..., Path], written: str | None, environ: dict[str, str], hub: str
) -> None:
    assert load_settings(write_app(host=_durable(hubName=written)), environ).task_hub == hub


@pytest.mark.parametrize("written", [None, "SITE1", "site1"])
def test_a_deployment_slot_does_not_share_the_hub_of_its_site(write_app: Callable[..., Path], written: str | None) -> None:
    app, site = write_app(host=_durable(hubName=written)), {"WEBSITE_SITE_NAME": "site1"}

    with pytest.raises(ConfigurationError, match=r"slot 'staging'.*'site1'.*hubName"):
        load_settings(app, {**site, "WEBSITE_SLOT_NAME": "staging"})
    assert load_settings(app, {**site, "WEBSITE_SLOT_NAME": "production"}).task_hub == "site1"


def test_a_deployment_slot_may_have_a_hub_of_its_own(write_app: Callable[..., Path]) -> None:
    environ = {"WEBSITE_SITE_NAME": "site1", "WEBSITE_SLOT_NAME": "staging"}

    assert load_settings(write_app(host=_durable(hubName="StagingHub")), environ).task_hub == "StagingHub"


@pytest.mark.parametrize("name", ["a", "1abc", "my-hub", "%MISSING%", " ", "x" * 51])
def test_a_bad_hub_name_is_refused(write_app: Callable[..., Path], name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"[hH]ub"):
        load_settings(write_app(host=_durable(hubName=name)), {})


@pytest.mark.parametrize(
    ("storage", "text"),
    [
        ({"partitionCount": 0}, "partitionCount is 0: PartitionCount must be"),
        ({"partitionCount": 17}, "partitionCount is 17: PartitionCount must be"),
        ({"controlQueueBatchSize": 0}, "controlQueueBatchSize is 0: ControlQueueBatchSize must be"),
        ({"controlQueueBufferThreshold": 1001}, "controlQueueBufferThreshold is 1001: ControlQueueBufferThreshold must be"),
        ({"controlQueueVisibilityTimeout": "00:00:30"}, "controlQueueVisibilityTimeout is 00:00:30: ControlQueueVisib"),
        ({"controlQueueVisibilityTimeout": "-00:01:00"}, "controlQueueVisibilityTimeout is -00:01:00: ControlQueueVisib"),
        (
            {"maxQueuePollingInterval": "00:00:00"},
            "maxQueuePollingInterval is 00:00:00: MaxQueuePollingInterval must be .* 0",
        ),
        ({"controlQueueBatchSize": 0}, "must be a non-negative integer other than 0"),
        (
            {"localActivitySpill": "-00:00:01"},
            "localActivitySpill is -00:00:01: LocalActivitySpill must be 00:00:00 or more",
        ),
    ],
)
def test_storage_values_out_of_range_are_refused(write_app: Callable[..., Path], storage: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        load_settings(write_app(host=_durable(storageProvider=storage)), {})


def test_a_batch_larger_than_the_buffer_is_a_warning(write_app: Callable[..., Path]) -> None:
    root = write_app(host=_durable(storageProvider={"controlQueueBatchSize": 32, "controlQueueBufferThreshold": 16}))

    assert "ControlQueueBufferThreshold" in load_settings(root, {}).warnings[0]


def test_two_kinds_of_leases_at_once_are_a_warning(write_app: Callable[..., Path]) -> None:
    both = {"useLegacyPartitionManagement": True, "useTablePartitionManagement": True}

    (warning,) = load_settings(write_app(host=_durable(storageProvider=both)), {}).warnings

    assert "useTablePartitionManagement" in warning


@pytest.mark.parametrize("text", ["00:00:00", "-00:00:05", "0", -5, 5, True])
def test_a_function_timeout_that_leaves_no_time_is_refused(write_app: Callable[..., Path], text: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"functionTimeout is {text!r}; it must be a time span above zero"):
        load_settings(write_app(host={"functionTimeout": text}), {})


@pytest.mark.parametrize(("text", "span"), [("00:05:00", timedelta(minutes=5)), ("-1", None), (-1, None)])
def test_the_function_timeout_is_a_span_or_none(write_app: Callable[..., Path], text: Any, span: timedelta | None) -> None:
    assert load_settings(write_app(host={"functionTimeout": text}), {}).function_timeout == span


def test_log_levels_are_those_of_host_json(write_app: Callable[..., Path]) -> None:
    root = write_app(host={"logging": {"logLevel": {"default": "Warning", "Function.hello": "None"}}})

    levels = load_settings(root, {}).log_levels

    assert levels["default"] == logging.WARNING
    assert levels["function.hello"] > logging.CRITICAL


@pytest.mark.parametrize("version", [None, "1.0", 2])
def test_a_host_json_of_another_version_is_refused(tmp_path: Path, version: object) -> None:
    content = "{}" if version is None else f'{{"version": {version!r}}}'.replace("'", '"')
    (tmp_path / "host.json").write_text(content)

    with pytest.raises(ConfigurationError, match=r'"version": "2\.0"'):
        load_settings(tmp_path, {})


def test_a_host_json_with_comments_and_trailing_commas_is_read(tmp_path: Path) -> None:
    text = '\ufeff{ // yes\n "version": "2.0", /* more */ "extensions": {"http": {"routePrefix": "a//b",},},\n}'
    (tmp_path / "host.json").write_text(text, encoding="utf-8")

    assert load_settings(tmp_path, {}).route_prefix == "a//b"


def test_a_host_json_that_is_not_json_is_named_with_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{\n  "version": "2.0"\n  "x": 1}')

    with pytest.raises(ConfigurationError, match=r"host\.json:3:3: not valid JSON"):
        load_settings(tmp_path, {})


def test_a_number_of_a_host_json_with_too_many_digits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0", "x": ' + "9" * 5000 + "}")

    with pytest.raises(ConfigurationError, match=r"host\.json.* digits"):
        load_settings(tmp_path, {})


def test_setting_names_are_replaced_only_if_all_of_them_exist() -> None:
    assert resolve_setting_names("a%X%b%Y%", {"X": "1", "Y": "2"}) == "a1b2"
    assert resolve_setting_names("a%X%b%Y%", {"X": "1"}) == "a%X%b%Y%"


@pytest.mark.parametrize(("text", "strict"), [("1", True), (" Yes ", True), ("TRUE", True), ("0", False), ("", False)])
def test_strict_typing_is_an_app_setting(write_app: Callable[..., Path], text: str, strict: bool) -> None:
    settings = load_settings(write_app(), {"AZURE_FUNCTIONS_DURABLE_STRICT_TYPING": text})

    assert settings.strict_typing is strict
