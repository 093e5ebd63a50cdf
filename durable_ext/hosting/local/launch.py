"""`durable start` without its command line: settings, app, socket and engine, in the order that fails early."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

from durable_ext.errors import ConfigurationError
from durable_ext.hosting.local import console
from durable_ext.hosting.local.listener import bind
from durable_ext.hosting.script_root import find_script_root
from durable_ext.hosting.settings import HostSettings, HubKind, environment, load_settings, resolve_setting_names

if TYPE_CHECKING:
    from durable_ext.hosting.local.reload import AppFiles

_DEFAULT_PORT, _DEFAULT_ADDRESS = 7071, "127.0.0.1"
_RELOADED = "DURABLE_EXT_RELOADED"
_THREAD_GRACE = 0.5  # seconds

log = logging.getLogger("durable_ext.hosting")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOptions:
    """What the command line said; `None` = nothing."""

    script_root: Path | None = None
    port: int | None = None
    address: str | None = None
    hub: HubKind | None = None
    cors: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    verbose: bool = False
    reload: bool = True
    drain: float = 30.0


def launch(options: LaunchOptions) -> int:
    """Serve an app until it is stopped; return the exit code.

    Raises:
        DurableError: It cannot be served; the text is one line for the terminal.
    """
    environ = environment()
    original = dict(environ)
    folder = Path.cwd()
    script_root = find_script_root(options.script_root, environ, folder)
    files: AppFiles = {}
    if options.reload:
        from durable_ext.hosting.local.reload import app_files

        files = app_files(script_root)
    changed: Path | None = None
    try:
        code, changed = _serve(script_root, options, environ, files)
    except ConfigurationError as exc:
        if not (options.reload and environ.get(_RELOADED)):
            raise
        changed = _wait_for_repair(script_root, exc, files)
        code = 1
    if changed is None:
        _leave(code)
        return code
    from durable_ext.hosting.local.reload import restart

    console.write(f"File change detected: {changed.name}. Restarting the host.")
    restart(folder, {**original, _RELOADED: "1"})


def _serve(
    script_root: Path, options: LaunchOptions, environ: MutableMapping[str, str], files: AppFiles
) -> tuple[int, Path | None]:
    settings = load_settings(script_root, environ, hub=options.hub)
    address = options.address or settings.local_host.address or _DEFAULT_ADDRESS
    wanted = options.port if options.port is not None else settings.local_host.port
    listener = bind(address, _DEFAULT_PORT if wanted is None else wanted)
    try:
        console.configure_logging(settings.log_levels, verbose=options.verbose)
        port = listener.getsockname()[1]
        authority = f"{'localhost' if address in ('127.0.0.1', '0.0.0.0', '::', '::1') else address}:{port}"
        environ.update(
            {
                "WEBSITE_HOSTNAME": authority,
                "AzureWebJobsScriptRoot": str(script_root),
                "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
            }
        )
        environ.setdefault("FUNCTIONS_WORKER_RUNTIME", "python")
        os.chdir(script_root)
        return _serve_app(settings, options, environ, files, listener, f"http://{authority}")
    finally:
        listener.close()


def _serve_app(
    settings: HostSettings,
    options: LaunchOptions,
    environ: MutableMapping[str, str],
    files: AppFiles,
    listener: socket,
    origin: str,
) -> tuple[int, Path | None]:
    from durable_ext.hosting.app_loader import DEFAULT_SCRIPT, IndexedFunction, load_app
    from durable_ext.hosting.local.app_plan import DURABLE_TRIGGERS, plan_app
    from durable_ext.sdk.discovery import collect_durable_functions
    from durable_ext.sdk.function_names import durable_name

    app = load_app(settings.script_root, environ.get("PYTHON_SCRIPT_FILE_NAME") or DEFAULT_SCRIPT)
    wanted = options.functions or settings.allowed_functions
    allowed = {name.lower() for name in wanted} if wanted is not None else None

    _check_names(options.functions, [function.name for function in app.indexed], settings.script_root)

    def is_off(function: IndexedFunction) -> bool:
        off = _switched_off(function.name, environ) is not None
        return off or (allowed is not None and function.name.lower() not in allowed)

    plan = plan_app(settings, app.indexed, resolve=lambda text: resolve_setting_names(text, environ), disabled=is_off)
    durable = {
        each.name for each in plan.functions if each.trigger_type in DURABLE_TRIGGERS and each.name not in plan.errors
    }
    functions = collect_durable_functions(
        function for function in app.functions if str(function.get_function_name()) in durable
    )
    off = [durable_name(function) for function in app.functions if str(function.get_function_name()) not in durable]
    if not (plan.routes or plan.timers or plan.warmups or durable):
        names = [each.name for each in app.indexed if not options.functions or each.name.lower() in (allowed or ())]
        rule = None if options.functions else settings.allowed_functions
        problem = next(iter(plan.errors.values()), None) or _why_all_are_off(names, rule, environ)
        raise ConfigurationError(f"No function of {settings.script_root} can be served: {problem}")

    from durable_ext.hosting.local.garbage import collect_garbage_less_often
    from durable_ext.hosting.local.run import RunPlan, run_host

    collect_garbage_less_often()
    run = RunPlan(
        plan=plan,
        functions=functions,
        not_served=tuple([each for each in off if each is not None]),
        files=files,
        options=options,
        origin=origin,
        listener=listener,
    )
    return asyncio.run(run_host(run, environ))


def _switched_off(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the app setting that switches a function off, if one does."""
    for setting in (f"AzureWebJobs.{name}.Disabled", f"AzureWebJobs_{name}_Disabled"):
        if environ.get(setting):
            return setting if environ[setting].lower() in ("true", "1") else None
    return None


def _why_all_are_off(names: Sequence[str], rule: frozenset[str] | None, environ: Mapping[str, str]) -> str:
    """Say which settings switch off the functions `names`; `rule` is what host.json allows, `None` = all."""
    off = [setting for name in names if (setting := _switched_off(name, environ)) is not None]
    if rule is not None and len(off) < len(names):
        allowed = ", ".join(f"'{name}'" for name in sorted(rule))
        return f"host.json: functions is {allowed}, and the app has: {', '.join(sorted(names))}."
    return f"all of them are disabled, by {', '.join(off)}." if off else "it has none."


def _check_names(wanted: tuple[str, ...], names: Sequence[str], script_root: Path) -> None:
    known = {name.lower() for name in names}
    for name in wanted:
        if name.lower() not in known:
            raise ConfigurationError(
                f"--functions: the app in {script_root} has no function '{name}'. It has: {', '.join(sorted(names))}."
            )


def _wait_for_repair(script_root: Path, problem: ConfigurationError, files: AppFiles) -> Path:
    from durable_ext.hosting.local.reload import wait_for_change

    console.write_problem(str(problem))
    console.write("The host waits for a change of the app's files.")
    return asyncio.run(wait_for_change(script_root, files))


def _leave(code: int) -> None:
    """End the process now if a function that did not finish in time would keep it alive."""
    deadline = time.monotonic() + _THREAD_GRACE
    stuck = []
    for thread in threading.enumerate():
        if thread is threading.main_thread() or thread.daemon:
            continue
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            stuck.append(thread.name)
    if stuck:
        log.warning("Calls that did not finish in time are abandoned; their threads: %s", ", ".join(stuck))
        logging.shutdown()
        os._exit(code)
    logging.disable()  # what destructors of the app's objects say while the interpreter ends helps nobody
