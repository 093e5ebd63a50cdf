"""Durable Functions under the import names of azure-functions-durable 1.x; the engine is `durable_ext`."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import sys
import warnings
from pathlib import Path

from azure.durable_functions._distribution import refuse_upstream

refuse_upstream()

from durable_ext import EntityId, ManagedIdentityTokenSource, RetryOptions

from . import constants, decorators, entity, models, orchestrator
from .decorators.durable_app import Blueprint, DFApp
from .entity import Entity
from .models import DurableEntityContext, DurableOrchestrationClient, DurableOrchestrationContext, OrchestrationRuntimeStatus
from .orchestrator import Orchestrator

_logger = logging.getLogger(__name__)

__all__ = [  # the order of 1.7.0
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

_NEXT_MAJOR = 2
_LEGACY_BUNDLE = "[1.*, 2.0.0)"
_REQUIREMENT = re.compile(r"^azure[-_.]+functions[-_.]+durable\s*(?:\[[^\]]*\])?\s*(?P<specifier>.*)$", re.IGNORECASE)
_CLAUSE = re.compile(r"^(===|==|~=|<=|>=|!=|<|>)\s*v?(?P<version>.+)$", re.IGNORECASE)


class DurableFunctionsCompatibilityWarning(UserWarning):
    """The app uses something that the next major version of azure-functions-durable has dropped."""


def validate_extension_bundles() -> None:
    """Warn if host.json of the current folder asks for extension bundles that are no longer maintained."""
    if "pytest" in sys.modules or not os.path.exists("host.json"):
        return
    with open("host.json", encoding="utf-8") as file:
        host = json.loads(file.read())
    if host.get("extensionBundle", {}).get("version") == _LEGACY_BUNDLE:
        warnings.warn(
            "Your application is currently configured to use Extension Bundles V1. Durable Functions for Python works best "
            "with Extension Bundles V2: set the version of the extensionBundle in host.json to [2.*, 3.0.0).",
            stacklevel=2,
        )


def validate_v1_programming_model() -> None:
    """Warn if the app has function.json files and does not keep version 2 of the SDK out, which cannot load them."""
    try:
        root = _find_function_app_root()
        if root is None or _requirements_exclude_v2(root) or not _uses_v1_programming_model(root):
            return
    except OSError as exc:
        _logger.debug("The function app could not be read: %s", exc)
        return
    warnings.warn(
        "This app uses the legacy Python v1 programming model (function.json), which azure-functions-durable 2.x does not "
        "support. Pin azure-functions-durable<2 in requirements.txt, or move to the v2 programming model.",
        DurableFunctionsCompatibilityWarning,
        stacklevel=2,
    )


def _find_function_app_root() -> Path | None:
    configured = os.environ.get("AzureWebJobsScriptRoot")
    candidates = [Path(configured)] if configured else []
    return next((root for root in (*candidates, Path.cwd()) if (root / "host.json").is_file()), None)


def _uses_v1_programming_model(root: Path) -> bool:
    return any((folder / "function.json").is_file() for folder in root.iterdir() if folder.is_dir())


def _requirements_exclude_v2(root: Path) -> bool:
    path = root / "requirements.txt"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return False
    except (OSError, UnicodeError) as exc:
        _logger.debug("%s could not be read: %s", path, exc)
        return False
    for line in lines:
        requirement = re.sub(r"(^|\s)#.*$", "", line).strip()
        match = None if ";" in requirement else _REQUIREMENT.match(requirement)
        if match is not None and _specifier_excludes_v2(match.group("specifier")):
            return True
    return False


def _specifier_excludes_v2(specifier: str) -> bool:
    for clause in specifier.strip("() ").split(","):
        match = _CLAUSE.match(clause.strip())
        parts = _release_parts(match.group("version")) if match is not None else ()
        if match is None or not parts:
            continue
        operator, major = match.group(1), parts[0]
        if operator in ("==", "===", "~=", "<=") and major < _NEXT_MAJOR:
            return True
        if operator == "<" and (major < _NEXT_MAJOR or (major == _NEXT_MAJOR and not any(parts[1:]))):
            return True
    return False


def _release_parts(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version.strip())
    return tuple(int(part) for part in match.group().split(".")) if match is not None else ()


if all(importlib.util.find_spec(name) is not None for name in ("agents", "openai", "pydantic")):
    __all__.append("openai_agents")


def __getattr__(name: str) -> object:
    # Imported when it is asked for: the agents' packages take seconds to load.
    if name == "openai_agents" and name in __all__:
        return importlib.import_module(f"{__name__}.openai_agents")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


validate_extension_bundles()
validate_v1_programming_model()
