"""The asynchronous part of a launch: engine and host made on the loop, banner shown, files watched."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

from durable_ext.hosting.local import console
from durable_ext.hosting.local.app_plan import AppPlan
from durable_ext.hosting.local.cors import Cors
from durable_ext.hosting.local.engine import LocalEngine
from durable_ext.hosting.local.reload import AppFiles, wait_for_change
from durable_ext.hosting.local.server import HostOptions, LocalHost
from durable_ext.hosting.local.task_hub import away_hint, backend_settings, hub_file, other_backend_settings
from durable_ext.http.urls import WEBHOOK_PATH, ManagementUrls
from durable_ext.runtime.registry import FunctionKind
from durable_ext.sdk.discovery import DurableFunctions

if TYPE_CHECKING:
    from durable_ext.hosting.local.launch import LaunchOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """Everything that was decided before the loop started.

    Attributes:
        not_served: Durable functions of the app that are off in this host: others may serve them.
        files: The app's files as they were before they were loaded.
    """

    plan: AppPlan
    functions: DurableFunctions
    not_served: tuple[tuple[FunctionKind, str], ...]
    files: AppFiles
    options: LaunchOptions
    origin: str
    listener: socket


async def run_host(run: RunPlan, environ: Mapping[str, str]) -> tuple[int, Path | None]:
    """Serve until stopped; return the exit code and, if a change of the app's files was the reason, the file."""
    plan, options, settings = run.plan, run.options, run.plan.settings
    urls = ManagementUrls(
        base_url=f"{run.origin}{WEBHOOK_PATH}",
        task_hub=settings.task_hub,
        connection=settings.connection_name,
        rpc_base_url=f"http://127.0.0.1:{run.listener.getsockname()[1]}/durabletask/",
    )
    store = backend_settings(settings, environ)
    engine = LocalEngine(
        settings,
        store,
        run.functions,
        urls,
        run.not_served,
        other_store=lambda hub, connection: other_backend_settings(settings, environ, hub, connection),
    )
    local = settings.local_host
    host = LocalHost(
        plan,
        engine,
        urls,
        HostOptions(
            version=_version(),
            origin=run.origin,
            cors=Cors(origins=options.cors or local.cors, credentials=local.cors_credentials),
            drain=options.drain,
            threads=_threads(environ),
            home_page=environ.get("AzureWebJobsDisableHomepage", "").lower() not in ("true", "1"),
            away_hint=away_hint(store),
        ),
    )
    changed: list[Path] = []

    async def watch() -> None:
        changed.append(await wait_for_change(plan.script_root, run.files))
        console.write(f"File change detected in {changed[0].name}; waiting up to {options.drain:g} s for running functions…")
        host.stop()

    def show_banner() -> None:
        for line in banner(plan, run.origin):
            console.write(line)
        for warning in settings.warnings:
            console.write_problem(warning, error=False)
        for line in console.functions_in_error(plan.errors):
            console.write_problem(line)

    watcher = asyncio.create_task(watch(), name="reload.watch") if options.reload else None
    try:
        code = await host.run(run.listener, on_ready=show_banner)
    finally:
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
    return code, changed[0] if changed and code == 0 else None


def banner(plan: AppPlan, origin: str) -> list[str]:
    """Return the lines that a start shows: what serves, which hub and why, and the functions with their URLs."""
    settings = plan.settings
    where = f"file {hub_file(settings)}" if settings.hub_kind == "embedded" else f"connection {settings.connection_name}"
    lines = [
        "",
        f"durable_ext {_version()} on Python {platform.python_version()}",
        f"App: {settings.script_root}",
        f"Task hub: {settings.task_hub} ({settings.hub_kind}, {where}), because {settings.hub_reason}",
    ]
    lines += console.function_list(plan.routes, plan.not_http, plan.disabled, origin)
    return [*lines, f"Management API: {origin}{WEBHOOK_PATH}", ""]


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("durable-ext")
    except PackageNotFoundError:
        return "0.0.0"


def _threads(environ: Mapping[str, str]) -> int:
    text = environ.get("PYTHON_THREADPOOL_THREAD_COUNT", "")
    return max(1, min(int(text), 1000)) if text.isdigit() else 32
