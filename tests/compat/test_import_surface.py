"""Import paths and constants of azure-functions-durable 1.7.0 (specs/sdk.md 1)."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import azure.durable_functions as df
import azure.functions as func
import pytest

import durable_ext
from durable_ext.sdk.discovery import collect_durable_functions

ROOT = "azure.durable_functions"
COMPAT = Path(__file__).resolve().parents[2] / "compat"

# Module -> names that tests and samples of 1.7.0 import from it.
IMPORTED = {
    "constants": [
        "ACTIVITY_TRIGGER",
        "DATETIME_STRING_FORMAT",
        "DEFAULT_LOCAL_HOST",
        "DEFAULT_LOCAL_ORIGIN",
        "DURABLE_CLIENT",
        "ENTITY_TRIGGER",
        "HTTP_ACTION_NAME",
        "ORCHESTRATION_TRIGGER",
    ],
    "decorators.metadata": ["ActivityTrigger", "DurableClient", "EntityTrigger", "OrchestrationTrigger"],
    "decorators.durable_app": ["Blueprint", "DFApp"],
    "entity": ["Entity", "InternalEntityException"],
    "orchestrator": ["Orchestrator"],
    "models.Task": [
        "AtomicTask",
        "CompoundTask",
        "LongTimerTask",
        "RetryAbleTask",
        "TaskBase",
        "TaskState",
        "TimerTask",
        "WhenAllTask",
        "WhenAnyTask",
    ],
    "models.TokenSource": ["ManagedIdentityTokenSource", "TokenSource"],
    "models.entities.EntityState": ["EntityState", "OperationResult"],
    "models.utils.df_serialization": ["df_dumps", "df_loads", "_get_serialize_default", "logger"],
    "models.utils.entity_utils": ["EntityId"],
    "models.utils.json_utils": ["add_attrib", "add_datetime_attrib", "add_json_attrib", "parse_timespan_attrib"],
    "models.utils.type_discovery": ["activity_output_type", "sub_orchestrator_output_type"],
    "models.utils.http_utils": ["post_async_request", "get_async_request", "delete_async_request", "_close_session"],
    "models.DurableEntityContext": ["from_json_util"],
    "testing": ["orchestrator_generator_wrapper"],
    "testing.OrchestratorGeneratorWrapper": ["orchestrator_generator_wrapper"],
}
NAMED_LIKE_THEIR_CLASS = [
    *(
        f"models.{name}"
        for name in (
            "DurableEntityContext",
            "DurableHttpRequest",
            "DurableOrchestrationBindings",
            "DurableOrchestrationClient",
            "DurableOrchestrationContext",
            "DurableOrchestrationStatus",
            "EntityStateResponse",
            "FunctionContext",
            "OrchestrationRuntimeStatus",
            "OrchestratorState",
            "PurgeHistoryResult",
            "ReplaySchema",
            "RetryOptions",
            "RpcManagementOptions",
            "TaskOrchestrationExecutor",
            "TokenSource",
        )
    ),
    *(
        f"models.actions.{name}"
        for name in (
            "Action",
            "ActionType",
            "CallActivityAction",
            "CallActivityWithRetryAction",
            "CallEntityAction",
            "CallHttpAction",
            "CallSubOrchestratorAction",
            "CallSubOrchestratorWithRetryAction",
            "CompoundAction",
            "ContinueAsNewAction",
            "CreateTimerAction",
            "NoOpAction",
            "SignalEntityAction",
            "WaitForExternalEventAction",
            "WhenAllAction",
            "WhenAnyAction",
        )
    ),
    *(
        f"models.entities.{name}"
        for name in ("EntityState", "OperationResult", "RequestMessage", "ResponseMessage", "Signal")
    ),
    "models.history.HistoryEvent",
    "models.history.HistoryEventType",
]
SHADOWED = {
    "models": [
        "DurableOrchestrationBindings",
        "DurableOrchestrationClient",
        "DurableEntityContext",
        "DurableOrchestrationContext",
        "DurableHttpRequest",
        "ManagedIdentityTokenSource",
        "OrchestratorState",
        "OrchestrationRuntimeStatus",
        "PurgeHistoryResult",
        "RetryOptions",
        "TaskBase",
    ],
    "models.actions": [
        "Action",
        "ActionType",
        "CallActivityAction",
        "CallActivityWithRetryAction",
        "CallSubOrchestratorAction",
        "CallHttpAction",
        "WaitForExternalEventAction",
        "CreateTimerAction",
        "WhenAnyAction",
        "WhenAllAction",
    ],
    "models.entities": ["RequestMessage", "OperationResult", "Signal", "EntityState"],
    "models.history": ["HistoryEvent", "HistoryEventType"],
    "testing": ["orchestrator_generator_wrapper"],
}
STILL_MODULES = {
    "models": [
        "Task",
        "TaskOrchestrationExecutor",
        "ReplaySchema",
        "RpcManagementOptions",
        "DurableOrchestrationStatus",
        "EntityStateResponse",
        "FunctionContext",
        "TokenSource",
    ],
    "models.actions": [
        "CallEntityAction",
        "CallSubOrchestratorWithRetryAction",
        "CompoundAction",
        "ContinueAsNewAction",
        "NoOpAction",
        "SignalEntityAction",
    ],
    "models.entities": ["ResponseMessage"],
}


def _module(name: str) -> Any:
    return importlib.import_module(f"{ROOT}.{name}")


def test_the_root_has_the_names_of_1x_in_their_order() -> None:
    assert df.__all__[:12] == [
        "Orchestrator",
        "Entity",
        "EntityId",
        "DurableOrchestrationClient",
        "DurableEntityContext",
        "DurableOrchestrationContext",
        "DurableFunctionsCompatibilityWarning",
        "ManagedIdentityTokenSource",
        "OrchestrationRuntimeStatus",
        "RetryOptions",
        "DFApp",
        "Blueprint",
    ]
    assert [name for name in df.__all__ if not hasattr(df, name)] == []


@pytest.mark.parametrize("name", ["constants", "decorators", "entity", "models", "orchestrator"])
def test_the_root_has_its_modules(name: str) -> None:
    assert inspect.ismodule(getattr(df, name))


@pytest.mark.parametrize("module", sorted(IMPORTED))
def test_names_can_be_imported_from_their_modules(module: str) -> None:
    found = _module(module)

    assert [name for name in IMPORTED[module] if not hasattr(found, name)] == []


@pytest.mark.parametrize("module", NAMED_LIKE_THEIR_CLASS)
def test_a_module_has_the_class_of_its_name(module: str) -> None:
    name = module.rsplit(".", 1)[-1]

    assert inspect.isclass(getattr(_module(module), name))


@pytest.mark.parametrize("package", sorted(SHADOWED))
def test_a_class_shadows_the_module_of_its_name(package: str) -> None:
    found = _module(package)

    assert sorted(found.__all__) == sorted(SHADOWED[package])
    assert [name for name in found.__all__ if inspect.ismodule(getattr(found, name))] == []


@pytest.mark.parametrize("package", sorted(STILL_MODULES))
def test_other_modules_stay_modules(package: str) -> None:
    for name in STILL_MODULES[package]:
        _module(f"{package}.{name}")

    assert [name for name in STILL_MODULES[package] if not inspect.ismodule(getattr(_module(package), name))] == []


def test_the_constants_have_their_values() -> None:
    constants = _module("constants")

    assert constants.DEFAULT_LOCAL_HOST == "localhost:7071"
    assert constants.DEFAULT_LOCAL_ORIGIN == "http://localhost:7071"
    assert constants.DATETIME_STRING_FORMAT == "%Y-%m-%dT%H:%M:%S.%fZ"
    assert constants.HTTP_ACTION_NAME == "BuiltIn::HttpActivity"
    assert constants.ORCHESTRATION_TRIGGER == "orchestrationTrigger"
    assert constants.ACTIVITY_TRIGGER == "activityTrigger"
    assert constants.ENTITY_TRIGGER == "entityTrigger"
    assert constants.DURABLE_CLIENT == "durableClient"


def test_the_serializer_is_that_of_azure_functions() -> None:
    sdk = importlib.import_module("azure.functions._durable_functions")
    ours = importlib.reload(_module("models.utils.df_serialization"))

    assert ours.df_dumps is sdk.df_dumps
    assert ours.df_loads is sdk.df_loads


def test_the_namespace_is_shared() -> None:
    assert not (COMPAT / "azure" / "__init__.py").exists()
    assert func.__name__ == "azure.functions"


def test_the_client_is_a_client_under_both_names() -> None:
    assert issubclass(df.DurableOrchestrationClient, durable_ext.DurableOrchestrationClient)
    assert issubclass(df.DurableOrchestrationClient.engine_class(), df.DurableOrchestrationClient)


def _run(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path[:0] = [{str(path)!r}, {str(COMPAT)!r}]; {code}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=path)


def test_beside_the_original_the_import_says_what_to_uninstall(tmp_path: Path) -> None:
    dist_info = tmp_path / "azure_functions_durable-1.7.0.dist-info"
    dist_info.mkdir()
    (dist_info / "METADATA").write_text("Metadata-Version: 2.1\nName: azure-functions-durable\nVersion: 1.7.0\n")

    ran = _run("import azure.durable_functions", tmp_path)

    assert ran.returncode != 0
    assert "pip uninstall azure-functions-durable" in ran.stderr


def test_the_import_loads_no_web_server(tmp_path: Path) -> None:
    ran = _run("import azure.durable_functions; print('aiohttp' in sys.modules)", tmp_path)

    assert ran.stdout.strip() == "False", ran.stderr


# azure.functions delegates the durable decorators of a plain FunctionApp to the blueprint of this package (3.4).


def test_a_plain_function_app_has_the_durable_decorators() -> None:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

    @app.orchestration_trigger(context_name="context", orchestration="Named")
    def orchestrator(context: Any) -> Any:
        return (yield context.call_activity("activity"))

    @app.activity_trigger(input_name="x")
    def activity(x: str) -> str:
        return x

    @app.entity_trigger(context_name="context")
    def entity(context: Any) -> None: ...

    @app.route(route="start")
    @app.durable_client_input(client_name="client")
    async def start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> str:
        return "ok"

    functions = app.get_functions()
    durable = collect_durable_functions(functions)

    assert [each.name for each in durable.orchestrators] == ["Named"]
    assert [each.name for each in durable.activities] == ["activity"]
    assert [each.name for each in durable.entities] == ["entity"]
    assert [binding.type for binding in functions[3].get_bindings()] == ["durableClient", "httpTrigger", "http"]


def test_functions_of_the_old_names_keep_the_semantics_of_1x() -> None:
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    def orchestrator(context: Any) -> Any: ...

    @app.activity_trigger(input_name="x")
    def activity(x: tuple) -> str:  # type: ignore[type-arg]
        return ""

    @app.entity_trigger(context_name="context")
    def entity(context: Any) -> None: ...

    durable = collect_durable_functions(app.get_functions())

    assert durable.orchestrators[0].fixes is False
    assert durable.activities[0].input_type is None
    assert durable.entities[0].rollback is False
    assert durable.entities[0].returns_result is False


def test_functions_of_the_new_names_have_the_fixes() -> None:
    app = durable_ext.DFApp()

    @app.orchestration_trigger(context_name="context")
    def orchestrator(context: Any) -> Any: ...

    @app.entity_trigger(context_name="context")
    def entity(context: Any) -> None: ...

    durable = collect_durable_functions(app.get_functions())

    assert durable.orchestrators[0].fixes is None
    assert durable.entities[0].returns_result is True
