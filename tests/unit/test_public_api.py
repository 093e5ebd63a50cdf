"""The public surface is deliberate: what `__all__` says exists, is documented in place, and costs little to import."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from importlib.resources import files

import pytest

PUBLIC = ["durable_ext", "durable_ext.client", "durable_ext.backends", "durable_ext.errors", "durable_ext.testing"]

# Nobody who only defines functions should pay for a web server, a store or a storage SDK.
NOT_ON_IMPORT = [
    "aiohttp",
    "sqlite3",
    "azure.storage.queue",
    "azure.data.tables",
    "azure.identity",
    "click",
    "pytest",
]


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_exists(module: str) -> None:
    namespace = importlib.import_module(module)

    missing = [name for name in namespace.__all__ if not hasattr(namespace, name)]

    assert missing == []


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_listed_once(module: str) -> None:
    names = list(importlib.import_module(module).__all__)

    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith("_") and name != "__version__"] == []


@pytest.mark.parametrize("module", PUBLIC)
def test_public_classes_and_functions_say_what_they_are(module: str) -> None:
    namespace = importlib.import_module(module)

    silent = [
        name
        for name in namespace.__all__
        if (inspect.isclass(found := getattr(namespace, name)) or inspect.isfunction(found))
        and found.__module__.startswith("durable_ext")
        and not (found.__doc__ or "").strip()
    ]

    assert silent == []


def test_star_import_gives_the_names_that_apps_use() -> None:
    names = set(importlib.import_module("durable_ext").__all__)

    assert names >= {
        "Blueprint",
        "DFApp",
        "DurableEntityContext",
        "DurableOrchestrationClient",
        "DurableOrchestrationContext",
        "Entity",
        "EntityId",
        "ManagedIdentityTokenSource",
        "OrchestrationRuntimeStatus",
        "Orchestrator",
        "RetryOptions",
        "TaskFailedError",
    }


def test_the_package_is_typed() -> None:
    assert files("durable_ext").joinpath("py.typed").is_file()


def test_importing_the_package_loads_no_store_and_no_web_server() -> None:
    code = f"import sys, durable_ext; print([name for name in {NOT_ON_IMPORT!r} if name in sys.modules])"

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"


def test_importing_the_package_starts_nothing() -> None:
    code = "import threading, durable_ext; print(threading.active_count())"

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "1"
