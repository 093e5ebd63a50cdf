"""Finds and indexes an app: `function_app.py` (v2), else folders with function.json (v1).

Errors of the app's code become one line without our frames.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from durable_ext.errors import ConfigurationError, RegistrationError
from durable_ext.hosting.function_json import function_folders, load_function
from durable_ext.sdk.discovery import app_objects, indexed_functions
from durable_ext.sdk.old_names import OLD_NAMES, foreign_package

DEFAULT_SCRIPT = "function_app.py"
_REQUIREMENTS_HINT = " Install what the app needs: python -m pip install -r requirements.txt"
_COMPAT_HINT = (
    " Under this engine the old import names come with durable-ext-compat: python -m pip install durable-ext-compat"
)


class AppImportError(ConfigurationError):
    """The app's own code failed while it was imported or indexed; `place` is `file:line` in it, or empty."""

    def __init__(self, script: str, error: BaseException, place: str) -> None:
        self.script, self.place = script, place
        what = f"{place or script}: {type(error).__name__}: {_first_line(error)}"
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            hint = _COMPAT_HINT if error.name == OLD_NAMES else _REQUIREMENTS_HINT
        super().__init__(f"The app cannot be loaded: {what}.{hint}")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedFunction:
    """One function as a host sees it.

    Attributes:
        trigger: The trigger binding; has at least `type` and `name`.
        bindings: All binding dictionaries of function.json, the trigger among them, in order.
        call: The registered callable, sync or async.
        script_file: Relative to the script root.
        disabled: By function.json or by app setting.
    """

    name: str
    trigger: Mapping[str, Any]
    bindings: tuple[Mapping[str, Any], ...]
    call: Callable[..., Any]
    script_file: str = DEFAULT_SCRIPT
    disabled: bool = False

    @property
    def trigger_type(self) -> str:
        """E.g. `httpTrigger`."""
        return str(self.trigger["type"])


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedApp:
    """An imported app; `functions` are the `azure.functions.Function` objects that indexing returned, in their order."""

    script_root: Path
    app: Any
    functions: tuple[Any, ...]

    @property
    def indexed(self) -> tuple[IndexedFunction, ...]:
        """The functions with their metadata."""
        return tuple(_indexed(function) for function in self.functions)


def load_app(script_root: Path, script: str = DEFAULT_SCRIPT) -> LoadedApp:
    """Import the app's script and index its functions.

    Raises:
        ConfigurationError: No script, no app object in it, several, or no functions.
        AppImportError: The app's code raised.
        RegistrationError: Two functions have one name (case does not count).
    """
    path = script_root / script
    _put_on_path(script_root)
    if not path.is_file():
        folders = function_folders(script_root)
        if folders:
            return _load_folders(script_root, folders)
        raise ConfigurationError(
            f"There is no {script} in {script_root}. Write one with `app = durable_ext.DFApp()`, or pass the app's folder "
            f"with --script-root."
        )
    module = _imported(script_root, script)
    _require_own_sdk()
    app = _app_object(module, path)
    _check_names(script_root, getattr(app, "_function_builders", ()))
    try:
        functions = indexed_functions(app)
    except (Exception, SystemExit) as exc:
        raise AppImportError(script, exc, _place(exc, script_root)) from exc
    if not functions:
        raise ConfigurationError(
            f"{path} registers no functions. Decorate some with its app object, or register a blueprint: "
            f"app.register_functions(bp)."
        )
    return LoadedApp(script_root=script_root, app=app, functions=functions)


def _load_folders(script_root: Path, folders: Sequence[Path]) -> LoadedApp:
    functions = []
    for folder in folders:
        try:
            functions.append(load_function(script_root, folder))
        except ConfigurationError:
            raise
        except (Exception, SystemExit) as exc:
            _require_own_sdk(exc)
            raise AppImportError(folder.name, exc, _place(exc, script_root)) from exc
    _require_own_sdk()
    served = tuple(function for function in functions if function is not None)
    if not served:
        raise ConfigurationError(f"Every function.json in {script_root} is disabled. Enable one.")
    return LoadedApp(script_root=script_root, app=None, functions=served)


def _require_own_sdk(cause: BaseException | None = None) -> None:
    """Refuse an app whose `azure.durable_functions` is not the one that stands on this engine."""
    problem = foreign_package()
    if problem is not None:
        raise ConfigurationError(problem) from cause


def _put_on_path(script_root: Path) -> None:
    root = str(script_root)
    packages = script_root / ".python_packages" / "lib" / "site-packages"
    for folder in (str(packages), root) if packages.is_dir() else (root,):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)


def _imported(script_root: Path, script: str) -> ModuleType:
    name = Path(script).with_suffix("").as_posix().replace("/", ".")
    sys.modules.pop(name, None)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as exc:
        _require_own_sdk(exc)
        raise AppImportError(script, exc, _place(exc, script_root)) from exc


def _app_object(module: ModuleType, path: Path) -> Any:
    found = app_objects(module)
    if not found:
        raise ConfigurationError(
            f"{path} has no app object and so no functions. Add `app = durable_ext.DFApp()` and decorate functions with it."
        )
    if len(found) > 1:
        names = ", ".join(found)
        raise ConfigurationError(
            f"{path} has {len(found)} app objects ({names}), but a host serves one. Make the others durable_ext.Blueprint() "
            f"and register them: app.register_functions(bp)."
        )
    return next(iter(found.values()))


def _check_names(script_root: Path, builders: Any) -> None:
    seen: dict[str, Any] = {}
    for builder in builders:
        function = builder._function
        name = str(function.get_function_name())
        first = seen.setdefault(name.lower(), function)
        if first is not function:
            raise RegistrationError(
                f"Two functions have the name '{name}': {_defined_at(first, script_root)} and "
                f"{_defined_at(function, script_root)}. Give one of them another name with @app.function_name() or def."
            )


def _defined_at(function: Any, script_root: Path) -> str:
    call = function.get_user_function()
    for attribute in ("orchestrator_function", "entity_function", "client_function"):
        call = getattr(call, attribute, call)
    code = getattr(call, "__code__", None)
    return str(call) if code is None else _shown(code.co_filename, code.co_firstlineno, script_root)


def _shown(filename: str, line: int | None, script_root: Path) -> str:
    path = Path(filename)
    shown = path.relative_to(script_root) if path.is_relative_to(script_root) else path
    return f"{shown}:{line}"


def _place(error: BaseException, script_root: Path) -> str:
    """Return `file:line` of the app's innermost frame: where the app's author has to look."""
    if isinstance(error, SyntaxError) and error.filename:
        return _shown(error.filename, error.lineno, script_root)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(script_root) and "site-packages" not in path.parts:
            return _shown(frame.filename, frame.lineno, script_root)
    return ""


def _first_line(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.text and error.offset:
        return f"{error.msg} at column {error.offset} of: {error.text.strip()}"
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return next((line.strip().rstrip(".") for line in str(text).splitlines() if line.strip()), "no message")


def _indexed(function: Any) -> IndexedFunction:
    bindings = tuple(json.loads(binding) for binding in function.get_raw_bindings())
    kind = function.get_trigger().get_dict_repr()["type"]
    return IndexedFunction(
        name=str(function.get_function_name()),
        trigger=next(binding for binding in bindings if binding["type"] == kind),
        bindings=bindings,
        call=function.get_user_function(),
        script_file=str(function.function_script_file),
    )
