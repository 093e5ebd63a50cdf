"""Who may import whom, how long a module may be, and what `core` must not know: checked on the syntax trees."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "durable_ext"

RANKS = {
    "": 5,  # the root re-exports `sdk`
    "errors": 0,
    "failure": 0,
    "aio": 0,
    "core": 1,
    "codec": 2,
    "telemetry": 2,
    "backends": 3,
    "client": 4,
    "runtime": 4,
    "sdk": 5,
    "http": 5,
    "testing": 6,
    "hosting": 6,
    "cli": 7,
    "__main__": 8,
}

FORBIDDEN_IN_CORE = {
    "asyncio",
    "concurrent",
    "io",
    "json",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "queue",
    "random",
    "secrets",
    "selectors",
    "socket",
    "sqlite3",
    "subprocess",
    "threading",
    "time",
}

# Module prefix of ours -> third-party packages it may import besides the standard library.
THIRD_PARTY = {
    "codec": {"orjson"},
    "telemetry": {"opentelemetry"},
    "backends.azure_storage.transport": {
        "azure.storage",
        "azure.data",
        "azure.identity",
        "azure.core",
        "aiohttp",
        "httptools",
        "yarl",
        "orjson",
    },
    "client.remote": {"aiohttp", "yarl"},
    "runtime.http_activity": {"aiohttp"},
    "sdk": {"azure.functions"},
    "http.aiohttp_app": {"aiohttp"},
    "testing.contract": {"pytest"},
    "hosting": {"azure.functions", "croniter", "watchfiles"},
    "cli": {"click"},
}

# Optional packages, imported by name inside the one function that needs them.
OPTIONAL = {"runtime": {"azure.identity"}, "hosting": {"tomli"}}

ALLOWED_SIDEWAYS = {("errors", "failure")}

# Modules that keep, name and await tasks of their own because a supervisor cannot end one of several.
OWN_TASKS = {
    "aio.supervisor",
    "backends.sqlite.alarm",
    "backends.azure_storage.listening",
    "backends.azure_storage.transport.sockets",  # a race: all are over, or closed, when it returns
    "hosting.local.run",
    "runtime.time_limit",  # a call of the app that ignores its cancellation is left behind, which no supervisor does
}

CONCRETE_STORES = ("backends.sqlite", "backends.azure_storage")
MAY_NAME_A_STORE = ("backends", "testing")
MAY_NAME_STORE_SETTINGS = ("hosting",)

FORBIDDEN_MODULE_NAMES = {"utils", "helpers", "common", "misc", "base"}
FORBIDDEN_CLASS_SUFFIXES = ("Manager", "Handler", "Processor", "Data", "Info")
MAX_MODULE_LINES = 600
MAX_FUNCTION_LINES = 80


@dataclass(frozen=True)
class Import:
    module: str
    imported: str
    line: int
    at_run_time: bool

    def __str__(self) -> str:
        return f"durable_ext/{self.module.replace('.', '/')}.py:{self.line} imports {self.imported}"


def _module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8"), str(path)) for name, path in MODULES.items()}


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _import_nodes(tree: ast.Module) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    pending: list[tuple[ast.AST, bool]] = [(tree, True)]
    while pending:
        node, at_run_time = pending.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node, at_run_time
        inner = at_run_time and not _is_type_checking(node)
        pending.extend((child, inner) for child in ast.iter_child_nodes(node))


def _imports(module: str) -> Iterator[Import]:
    for node, at_run_time in _import_nodes(TREES[module]):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            assert node.level == 0, f"{module}:{node.lineno}: relative import"
            source = node.module or ""
            names = [f"{source}.{alias.name}" for alias in node.names]
        for name in names:
            yield Import(module, name, node.lineno, at_run_time)


IMPORTS = [found for module in MODULES for found in _imports(module)]
OURS = [found for found in IMPORTS if found.imported.split(".")[0] == "durable_ext"]
FOREIGN = [found for found in IMPORTS if found.imported.split(".")[0] not in {"durable_ext", "__future__"}]


def _below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def _package(module: str) -> str:
    return module.split(".")[0]


def _target(found: Import) -> str:
    """The imported name without `durable_ext.`; an empty text is the root package."""
    return found.imported.partition(".")[2]


def test_every_package_has_a_rank() -> None:
    packages = {_package(module) for module in MODULES} - {"", "version"}

    assert packages <= set(RANKS)


def test_imports_go_to_a_lower_rank_or_stay_in_their_package() -> None:
    wrong = []
    for found in OURS:
        target = _target(found)
        if found.module == "":
            continue
        importer, imported = _package(found.module), _package(target)
        if (importer, imported) in ALLOWED_SIDEWAYS:
            continue
        if imported not in RANKS or (importer != imported and RANKS[imported] >= RANKS[importer]):
            wrong.append(str(found))

    assert wrong == []


def test_core_imports_nothing_of_ours_but_errors_and_failure() -> None:
    wrong = [
        str(found)
        for found in OURS
        if _below(found.module, "core") and _package(_target(found)) not in {"core", "errors", "failure"}
    ]

    assert wrong == []


def test_core_has_no_clock_no_loop_no_thread_no_log_no_json() -> None:
    wrong = [
        str(found)
        for found in FOREIGN
        if _below(found.module, "core") and found.imported.split(".")[0] in FORBIDDEN_IN_CORE and found.at_run_time
    ]

    assert wrong == []


def test_third_party_packages_are_imported_only_where_they_belong() -> None:
    wrong = []
    for found in FOREIGN:
        if found.imported.split(".")[0] in {*sys.stdlib_module_names, "tomllib"}:  # 3.10 has no tomllib
            continue
        allowed = [
            package
            for table in (THIRD_PARTY, OPTIONAL)
            for prefix, packages in table.items()
            if _below(found.module, prefix) or found.module.startswith(prefix + "_")
            for package in packages
        ]
        if not any(_below(found.imported, package) for package in allowed):
            wrong.append(str(found))

    assert wrong == []


def test_every_dependency_is_imported_somewhere() -> None:
    project = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    wanted = re.findall(r'^  "([a-z-]+)', project.partition("\ndependencies = [")[2].partition("\n]")[0], re.MULTILINE)
    names = [name.removesuffix("-api").replace("-", ".") for name in wanted]

    assert "azure.storage.queue" in names
    assert [name for name in names if not any(_below(found.imported, name) for found in FOREIGN)] == []


def test_one_module_imports_sqlite3() -> None:
    importers = {found.module for found in FOREIGN if found.imported.split(".")[0] == "sqlite3"}

    assert importers == {"backends.sqlite.connection"}


def test_only_the_edges_name_a_concrete_store() -> None:
    wrong = [
        str(found)
        for found in OURS
        for store in CONCRETE_STORES
        if _below(_target(found), store) and _package(found.module) not in MAY_NAME_A_STORE
        if not (_below(_target(found), f"{store}.settings") and _package(found.module) in MAY_NAME_STORE_SETTINGS)
    ]

    assert wrong == []


def test_one_backend_never_imports_another() -> None:
    wrong = [
        str(found)
        for found in OURS
        for mine in CONCRETE_STORES
        for other in CONCRETE_STORES
        if mine != other and _below(found.module, mine) and _below(_target(found), other)
    ]

    assert wrong == []


def test_one_module_reads_the_environment() -> None:
    # and one that is used where no host of ours runs: under the Durable extension
    allowed = {"hosting.settings", "sdk.typing_mode"}
    wrong = [
        f"{module}:{node.lineno}"
        for module, tree in TREES.items()
        if module not in allowed
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    ]

    assert wrong == []


def test_no_module_has_a_name_without_a_concept() -> None:
    assert [module for module in MODULES if module.split(".")[-1] in FORBIDDEN_MODULE_NAMES] == []


def test_no_class_is_called_something_around_something() -> None:
    wrong = [
        f"{module}:{node.name}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith(FORBIDDEN_CLASS_SUFFIXES)
    ]

    assert wrong == []


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_holds_one_concept(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= MAX_MODULE_LINES


def test_functions_fit_on_a_screen() -> None:
    wrong = [
        f"{module}:{node.lineno} {node.name} has {(node.end_lineno or node.lineno) - node.lineno + 1} lines"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or node.lineno) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]

    assert wrong == []


def test_nothing_raises_a_bare_exception() -> None:
    wrong = [
        f"{module}:{node.lineno}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id in {"Exception", "BaseException"}
    ]

    assert wrong == []


def test_background_tasks_are_started_by_the_supervisor_only() -> None:
    wrong = [
        f"{module}:{node.lineno}"
        for module, tree in TREES.items()
        if module not in OWN_TASKS
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"create_task", "ensure_future"}
    ]

    assert wrong == []


def test_every_module_says_what_it_is() -> None:
    wrong = [module for module, tree in TREES.items() if tree.body and not ast.get_docstring(tree)]

    assert wrong == []


def test_what_tests_share_has_one_name() -> None:
    # `support.x` and `tests.support.x` would be two modules: classes of one are none of the other, and mypy refuses both.
    tests = Path(__file__).resolve().parents[1]
    folders = {"bench", "node_modules"}  # benchmarks run without `tests` on the path
    files = [file for file in tests.rglob("*.py") if not folders & set(file.relative_to(tests).parts)]
    shared = "|".join(["support", *(file.stem for file in tests.glob("*.py"))])
    second_name = re.compile(rf"^\s*(?:from|import) tests\.(?:{shared})\b", re.MULTILINE)

    assert [str(file) for file in files if second_name.search(file.read_text(encoding="utf-8"))] == []


def test_every_exception_is_needed() -> None:
    third_party = {
        f"{prefix} may import {package}"
        for table in (THIRD_PARTY, OPTIONAL)
        for prefix, packages in table.items()
        for package in packages
        if not any(
            (_below(found.module, prefix) or found.module.startswith(prefix + "_")) and _below(found.imported, package)
            for found in FOREIGN
        )
    }
    own_tasks = {
        module
        for module in OWN_TASKS
        if not any(
            isinstance(node, ast.Attribute) and node.attr in {"create_task", "ensure_future"}
            for node in ast.walk(TREES.get(module, ast.Module(body=[], type_ignores=[])))
        )
    }
    assert (third_party, own_tasks) == (set(), set())
