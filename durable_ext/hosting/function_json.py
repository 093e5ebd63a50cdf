"""The v1 programming model: one folder with a function.json per function, made into what v2 indexing gives.

Source: specs/functions-hosting.md 6 (v1 apps); specs/sdk.md 3.3 (legacy `function.json` model).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from azure.functions.decorators.core import BindingDirection
from azure.functions.decorators.function_app import Function
from azure.functions.decorators.function_name import FunctionName
from azure.functions.decorators.generic import GenericInputBinding, GenericOutputBinding, GenericTrigger

from durable_ext.errors import ConfigurationError
from durable_ext.hosting.json_files import read_json_object
from durable_ext.sdk.triggers import (
    ACTIVITY_TRIGGER,
    DURABLE_CLIENT,
    ENTITY_TRIGGER,
    ORCHESTRATION_TRIGGER,
    ActivityTrigger,
    DurableClientInput,
    EntityTrigger,
    OrchestrationTrigger,
)

PACKAGE: Final = "__app__"
_OLD_CLIENT: Final = "orchestrationClient"  # the binding's name in the first version of the extension


def function_folders(script_root: Path) -> list[Path]:
    """Return the folders of the functions, by name."""
    return sorted(path.parent for path in script_root.glob("*/function.json"))


def load_function(script_root: Path, folder: Path) -> Function | None:
    """Import one function and return it with its bindings, `None` if its function.json disables it.

    Exceptions of the app's code come through.

    Raises:
        ConfigurationError: function.json cannot be used, or the script has no such function.
    """
    path = folder / "function.json"
    content = read_json_object(path)
    if content.get("disabled") is True:
        return None
    bindings = content.get("bindings")
    if not isinstance(bindings, list) or not all(isinstance(each, dict) and "type" in each for each in bindings):
        raise ConfigurationError(f"{path}: 'bindings' must be a list of objects with a 'type'. Correct it.")
    script = str(content.get("scriptFile") or "__init__.py")
    entry_point = str(content.get("entryPoint") or "main")
    if not (folder / script).is_file():
        raise ConfigurationError(f"{path}: the script '{script}' does not exist. Correct 'scriptFile'.")
    module = _imported(script_root, folder, script)
    call = getattr(module, entry_point, None)
    if call is None:
        raise ConfigurationError(f"{folder / script} has no function '{entry_point}'. Define it or set 'entryPoint'.")
    function = Function(call, f"{folder.name}/{script}")
    function.add_setting(FunctionName(folder.name))
    for binding in bindings:
        _add(function, path, binding)
    if function.get_trigger() is None:
        raise ConfigurationError(f"{path}: none of the bindings is a trigger. Add one.")
    return function


def _imported(script_root: Path, folder: Path, script: str) -> ModuleType:
    package = sys.modules.get(PACKAGE)
    if package is None or list(package.__path__) != [str(script_root)]:
        for name in [each for each in sys.modules if each == PACKAGE or each.startswith(f"{PACKAGE}.")]:
            del sys.modules[name]
        package = ModuleType(PACKAGE)
        package.__path__ = [str(script_root)]
        sys.modules[PACKAGE] = package
    name = f"{PACKAGE}.{folder.name}"
    module = Path(script).with_suffix("").name
    return importlib.import_module(name if module == "__init__" else f"{name}.{module}")


def _add(function: Function, path: Path, binding: Mapping[str, Any]) -> None:
    kind, name = str(binding["type"]), str(binding.get("name") or "$return")
    others = {key: value for key, value in binding.items() if key not in ("type", "name", "direction", "dataType")}
    if kind == ORCHESTRATION_TRIGGER:
        function.add_trigger(OrchestrationTrigger(name, binding.get("orchestration")))
    elif kind == ACTIVITY_TRIGGER:
        trigger = ActivityTrigger(name, binding.get("activity"))
        trigger.legacy = True  # this model exists in 1.x only, which hands activities what the JSON holds
        function.add_trigger(trigger)
    elif kind == ENTITY_TRIGGER:
        function.add_trigger(EntityTrigger(name, binding.get("entityName")))
    elif kind in (DURABLE_CLIENT, _OLD_CLIENT):
        function.add_binding(DurableClientInput(name, binding.get("taskHub"), binding.get("connectionName")))
    elif kind.lower().endswith("trigger"):
        function.add_trigger(GenericTrigger(name=name, type=kind, **others))
    elif str(binding.get("direction", "in")).upper() == BindingDirection.OUT.name:
        function.add_binding(GenericOutputBinding(name=name, type=kind, **others))
    else:
        function.add_binding(GenericInputBinding(name=name, type=kind, **others))
