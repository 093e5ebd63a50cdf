"""Finding and indexing `function_app.py`, and what is said when its code fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from durable_ext.errors import ConfigurationError, RegistrationError
from durable_ext.hosting.app_loader import AppImportError, load_app

HELLO = """
import azure.functions as func
import durable_ext as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)

@app.route(route="hello/{name}", methods=["GET"])
def hello(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("hi")

@app.orchestration_trigger(context_name="context")
def orchestrate(context):
    yield context.call_activity("act", 1)

@app.activity_trigger(input_name="x")
def act(x: int) -> int:
    return x
"""


def test_functions_are_indexed_with_their_triggers(write_app: Callable[..., Path]) -> None:
    indexed = load_app(write_app(HELLO)).indexed

    assert [(each.name, each.trigger_type) for each in indexed] == [
        ("hello", "httpTrigger"),
        ("orchestrate", "orchestrationTrigger"),
        ("act", "activityTrigger"),
    ]
    assert indexed[0].trigger["route"] == "hello/{name}"


def test_a_plain_function_app_is_indexed_too(write_app: Callable[..., Path]) -> None:
    code = HELLO.split("@app.orchestration_trigger")[0].replace("df.DFApp", "func.FunctionApp")

    assert [each.name for each in load_app(write_app(code)).indexed] == ["hello"]


def test_modules_beside_the_script_can_be_imported(write_app: Callable[..., Path]) -> None:
    root = write_app(HELLO.replace("import durable_ext", "import neighbour_of_app\nimport durable_ext"), neighbour_of_app="")

    assert len(load_app(root).functions) == 3


def test_a_missing_script_is_named_with_the_folder(write_app: Callable[..., Path]) -> None:
    root = write_app()

    with pytest.raises(ConfigurationError, match=rf"no function_app\.py in {root}"):
        load_app(root)


@pytest.mark.parametrize(
    ("code", "place", "reason"),
    [
        ("import sys\nimport no_such_package_here\n", "function_app.py:2", "no_such_package_here"),
        ("y = 1\nx = = 2\n", "function_app.py:2", "SyntaxError: invalid syntax at column 5 of: x = = 2"),
        ("def f():\n    raise KeyError('who')\n\nf()\n", "function_app.py:2", "KeyError: 'who'"),
        ("import sys\nsys.exit('no')\n", "function_app.py:2", "SystemExit: no"),
        ("import azure.functions as func\napp = func.FunctionApp()\n@app.route(nonsense=1)\n", "function_app.py:", "Error"),
    ],
)
def test_code_that_fails_is_one_line_with_file_and_line(
    write_app: Callable[..., Path], code: str, place: str, reason: str
) -> None:
    with pytest.raises(AppImportError) as caught:
        load_app(write_app(code))

    assert place in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_package_comes_with_the_command_that_installs_it(write_app: Callable[..., Path]) -> None:
    with pytest.raises(AppImportError, match=r"pip install -r requirements\.txt"):
        load_app(write_app("import no_such_package_here"))


def test_a_failure_in_a_module_of_the_app_names_that_module(write_app: Callable[..., Path]) -> None:
    root = write_app("import broken_part_of_app\n", broken_part_of_app="\n\n1 / 0\n")

    with pytest.raises(AppImportError, match=r"broken_part_of_app\.py:3: ZeroDivisionError"):
        load_app(root)


def test_a_script_without_an_app_object_is_refused(write_app: Callable[..., Path]) -> None:
    with pytest.raises(ConfigurationError, match=r"function_app\.py has no app object"):
        load_app(write_app("x = 1\n"))


def test_two_app_objects_are_refused_by_name(write_app: Callable[..., Path]) -> None:
    with pytest.raises(ConfigurationError, match=r"2 app objects \(app, other\)"):
        load_app(write_app(f"{HELLO}\nother = df.DFApp()\n"))


def test_an_app_without_functions_is_refused(write_app: Callable[..., Path]) -> None:
    with pytest.raises(ConfigurationError, match="registers no functions"):
        load_app(write_app("import durable_ext as df\napp = df.DFApp()\n"))


@pytest.mark.parametrize("second", ["hello", "Hello"])
def test_two_functions_of_one_name_are_refused_with_both_places(write_app: Callable[..., Path], second: str) -> None:
    other = "@app.route(route='x')\ndef other(req: func.HttpRequest) -> str:\n    return ''\n"
    code = f"{HELLO}\n@app.function_name('{second}')\n{other}"

    with pytest.raises(RegistrationError) as caught:
        load_app(write_app(code))

    assert str(caught.value).count("function_app.py:") == 2
    assert f"'{second}'" in str(caught.value)


def test_an_app_on_a_package_that_lost_its_files_is_told_how_to_get_them_back(
    write_app: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "azure.durable_functions", ModuleType("azure.durable_functions"))

    with pytest.raises(ConfigurationError, match="force-reinstall"):
        load_app(write_app("import azure.durable_functions as df\n\napp = df.DFApp()\n"))


def test_an_app_on_the_sdk_of_the_extension_is_told_what_to_install(
    write_app: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = ModuleType("azure.durable_functions")
    upstream.__file__ = "azure/durable_functions/__init__.py"
    monkeypatch.setitem(sys.modules, "azure.durable_functions", upstream)

    with pytest.raises(ConfigurationError, match="pip uninstall azure-functions-durable"):
        load_app(write_app(HELLO))


def test_an_app_without_the_old_names_is_told_where_they_come_from(
    write_app: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "azure.durable_functions", None)

    with pytest.raises(AppImportError, match="pip install durable-ext-compat"):
        load_app(write_app(f"import azure.durable_functions\n{HELLO}"))


def test_an_app_without_http_functions_prints_nothing_about_auth_levels(
    write_app: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    code = "import durable_ext as df\napp = df.DFApp()\n@app.activity_trigger(input_name='x')\ndef echo(x): ...\n"

    load_app(write_app(code))

    assert caplog.messages == []
