"""host.json: types, overrides, and what is said about keys nobody knows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from durable_ext.errors import ConfigurationError
from durable_ext.hosting.host_json import HostJson


def _durable(**values: Any) -> dict[str, Any]:
    return {"extensions": {"durableTask": values}}


def test_keys_are_found_in_any_case_and_converted_to_their_type() -> None:
    host = HostJson(_durable(MaxConcurrentActivityFunctions="7", storageprovider={"PartitionCount": 3}))

    assert host.get("extensions.durableTask.maxConcurrentActivityFunctions") == 7
    assert host.get("extensions.durableTask.storageProvider.partitionCount") == 3


def test_a_key_that_is_not_there_is_none() -> None:
    assert HostJson({}).get("extensions.durableTask.hubName") is None


def test_an_environment_variable_wins_over_the_file() -> None:
    name = "AzureFunctionsJobHost__extensions__durableTask__storageProvider__maxQueuePollingInterval"

    host = HostJson(_durable(storageProvider={"maxQueuePollingInterval": "00:00:30"}), {name: "00:00:05"})

    assert host.get("extensions.durableTask.storageProvider.maxQueuePollingInterval") == timedelta(seconds=5)


def test_an_override_may_make_sections_that_the_file_does_not_have() -> None:
    host = HostJson({}, {"AzureFunctionsJobHost__extensions__durableTask__hubName": "Mine"})

    assert host.get("extensions.durableTask.hubName") == "Mine"


def test_an_override_may_name_an_element_of_a_list() -> None:
    host = HostJson({"functions": ["a", "b"]}, {"AzureFunctionsJobHost__functions__1": "c"})

    assert host.get("functions") == {"0": "a", "1": "c"}


def test_an_unknown_key_is_named_with_its_path_and_the_nearest_known_one() -> None:
    (warning,) = HostJson(_durable(storageProvider={"partitonCount": 4})).warnings

    assert "extensions.durableTask.storageProvider.partitonCount" in warning
    assert "Did you mean 'extensions.durableTask.storageProvider.partitionCount'?" in warning


def test_an_unknown_override_is_named_like_a_key_of_the_file() -> None:
    names = {
        "AzureFunctionsJobHost__extensions__durableTask__storageProvider__partitonCount": "3",
        "AzureFunctionsJobHost__extensions__durableTask__storageProvider__PARTITIONCOUNT": "3",
        "AzureFunctionsJobHost__functions__0": "a",
        "AzureFunctionsJobHost__logging__anything": "x",
        "AzureWebJobsAnything": "x",
    }

    (warning,) = HostJson({}, names).warnings

    assert "'extensions.durableTask.storageProvider.partitonCount'" in warning
    assert "AzureFunctionsJobHost__extensions__durableTask" in warning
    assert "Did you mean 'extensions.durableTask.storageProvider.partitionCount'?" in warning


def test_an_unknown_key_like_no_other_gets_no_hint() -> None:
    (warning,) = HostJson({"zzzzzz": 1}).warnings

    assert "zzzzzz" in warning
    assert "Did you mean" not in warning


def test_a_misspelt_extension_is_noticed() -> None:
    (warning,) = HostJson({"extensions": {"durableTsk": {}}}).warnings

    assert "extensions.durableTask" in warning


def test_sections_of_other_extensions_are_left_alone() -> None:
    host = HostJson({"extensions": {"eventHubs": {"anything": 1}}, "logging": {"x": {}}, "extensionBundle": {"id": "b"}})

    assert host.warnings == ()


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"maxConcurrentActivityFunctions": "many"}, "maxConcurrentActivityFunctions"),
        ({"maxConcurrentActivityFunctions": True}, "maxConcurrentActivityFunctions"),
        ({"extendedSessionsEnabled": "perhaps"}, "extendedSessionsEnabled"),
        ({"overridableExistingInstanceStates": "Some"}, "overridableExistingInstanceStates"),
        ({"storageProvider": {"maxQueuePollingInterval": "soon"}}, "storageProvider.maxQueuePollingInterval"),
        ({"storageProvider": "azure"}, "storageProvider"),
        ({"hubName": 5}, "hubName"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_path(values: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"extensions\.durableTask\.{path}\b"):
        HostJson(_durable(**values))


def test_a_limit_of_zero_is_refused_with_the_text_of_the_extension() -> None:
    with pytest.raises(ConfigurationError, match=r"MaxConcurrentActivityFunctions must be a positive integer value\."):
        HostJson(_durable(maxConcurrentActivityFunctions=0))


def test_a_limit_of_no_actions_is_refused_with_its_path() -> None:
    with pytest.raises(ConfigurationError, match=r"durableTask\.maxOrchestrationActions is 0: .* positive integer value\."):
        HostJson(_durable(maxOrchestrationActions=0))


@pytest.mark.parametrize("value", [-1, "-5"])
@pytest.mark.parametrize("path", ["extendedSessionIdleTimeoutInSeconds", "entityMessageReorderWindowInMinutes"])
def test_a_time_below_zero_is_refused_with_its_path(path: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"durableTask\.{path} is {value!r}; it must be an integer of 0 or more"):
        HostJson(_durable(**{path: value}))


def test_a_pause_below_zero_is_refused_with_its_path() -> None:
    name = "defaultAsyncRequestSleepTimeMilliseconds"
    with pytest.raises(ConfigurationError, match=rf"httpSettings\.{name} is -1; it must be an integer of 0 or more"):
        HostJson(_durable(httpSettings={name: -1}))


@pytest.mark.parametrize("path", ["extendedSessionIdleTimeoutInSeconds", "entityMessageReorderWindowInMinutes"])
def test_a_time_of_zero_is_one(path: str) -> None:
    assert HostJson(_durable(**{path: "0"})).get(f"extensions.durableTask.{path}") == 0


@pytest.mark.parametrize(("written", "choice"), [(True, "true"), ("Batched", "batched"), ("false", "false")])
def test_local_activities_may_be_a_boolean_or_a_word(written: object, choice: str) -> None:
    host = HostJson(_durable(storageProvider={"localActivities": written}))

    assert host.get("extensions.durableTask.storageProvider.localActivities") == choice
