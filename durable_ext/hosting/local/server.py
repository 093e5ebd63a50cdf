"""The local host: the app's HTTP routes and timers, the management API and the engine, on one event loop.

Life: `run` opens the hub, serves, and drains at the first stop signal.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from durable_ext.aio.clock import SystemClock
from durable_ext.aio.supervisor import LoopFailedError, Supervisor
from durable_ext.client.query import CONTINUATION_HEADER
from durable_ext.errors import ConfigurationError, DurableError
from durable_ext.hosting.app_loader import IndexedFunction
from durable_ext.hosting.bindings import timer_trigger_value, warmup_trigger_value
from durable_ext.hosting.local.admin import AdminRoutes
from durable_ext.hosting.local.app_plan import AppPlan
from durable_ext.hosting.local.cors import Cors
from durable_ext.hosting.local.engine import LocalEngine
from durable_ext.hosting.local.host_lock import HostLock
from durable_ext.hosting.local.http_triggers import HttpTriggers
from durable_ext.hosting.local.invocations import Invoker
from durable_ext.hosting.local.stop_signals import StopSignals
from durable_ext.hosting.local.timer_triggers import TimerTrigger
from durable_ext.http.aiohttp_app import make_server
from durable_ext.http.management import ManagementApi
from durable_ext.http.messages import HttpRequestValue, HttpResponseValue
from durable_ext.http.payloads import empty_response, error_response
from durable_ext.http.urls import WEBHOOK_PATH, ManagementUrls
from durable_ext.sdk.management_calls import EndpointAnswer, announced

log = logging.getLogger("durable_ext.hosting")

RPC_PATH: Final = "/durabletask"
_STOP_GRACE: Final = 15.0  # seconds beyond the two drains, of requests and of the engine
_TIMER_LOCK_SECONDS: Final = 5.0
_STOPPING: Final = "Stopping: what runs may finish. Press Ctrl-C again to stop at once."


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    """How a local host runs.

    Attributes:
        drain: Seconds that running functions get at the first stop signal.
        threads: How many run sync functions that are not durable.
        home_page: Whether `/` shows a page.
        away_hint: What to do if the store cannot be reached at the start.
    """

    version: str
    origin: str
    cors: Cors
    drain: float = 30.0
    threads: int = 32
    home_page: bool = True
    away_hint: str = ""


class LocalHost:
    """Serves one app until a signal, a dead loop, or `stop()`; used from one event loop."""

    def __init__(self, plan: AppPlan, engine: LocalEngine, urls: ManagementUrls, options: HostOptions) -> None:
        self._plan, self._engine, self._options = plan, engine, options
        self._invoker = Invoker(
            engine.make_client,
            plan.script_root,
            threads=options.threads,
            limit=plan.settings.function_timeout,
            client_ready=engine.wait_until_tried,
        )
        self._triggers = HttpTriggers(plan.routes, self._invoker)
        self._urls = urls
        self._management: ManagementApi | None = None
        self._admin = AdminRoutes(
            version=options.version,
            origin=options.origin,
            prefix=plan.settings.route_prefix,
            task_hub=plan.settings.task_hub,
            functions=plan.functions,
            errors=plan.errors,
            is_ready=lambda: engine.ready,
            run=self._run_by_name,
        )
        self._stop = asyncio.Event()
        self._supervisor = Supervisor("host", self._loop_failed)
        self._failure: BaseException | None = None
        self._requests, self._idle = 0, asyncio.Event()
        self._idle.set()

    def stop(self) -> None:
        """End `run()` after a drain."""
        self._stop.set()

    async def run(self, listener: socket.socket, *, on_ready: Callable[[], None]) -> int:
        """Serve until stopped; return the exit code: 0 after a drain, 1 if a part of the host died.

        Raises:
            DurableError: The hub cannot be opened, now or ever; nothing durable was served.
        """
        StopSignals(self._signalled, self._stop.is_set).watch(asyncio.get_running_loop())
        azure = self._plan.settings.hub_kind == "azure"
        if azure:
            self._supervisor.start("open-hub", self._engine.open_when_reachable(self._options.away_hint))
        else:
            await self._engine.open()
        try:
            with announced(self._urls.rpc_base_url, self._answer_client):
                await self._serve(listener, on_ready)
        finally:
            await self._supervisor.stop()
            await self._engine.close(self._options.drain)
            self._invoker.close()
        return 0 if self._failure is None else self._report(self._failure)

    def _report(self, failure: BaseException) -> int:
        """Say why a part of the host failed and return the exit code; the last line printed is the reason.

        Raises:
            DurableError: That reason, if the hub could not be opened.
        """
        reason = failure
        while isinstance(reason, LoopFailedError) and reason.__cause__ is not None:
            reason = reason.__cause__
        if isinstance(reason, DurableError) and not self._engine.ready:
            raise reason
        if isinstance(reason, ConfigurationError):  # a key that was changed meanwhile: no matter of the engine's lines
            log.error("The host stops because a part of it failed: %s", reason)
        else:
            log.error("The host stops because a part of it failed: %s", failure, exc_info=reason)
        return 1

    async def _serve(self, listener: socket.socket, on_ready: Callable[[], None]) -> None:
        server = make_server(self.answer)
        site = await asyncio.get_running_loop().create_server(server, sock=listener)
        on_ready()
        await self._start_functions()
        self._supervisor.start("engine-health", self._engine.wait_for_failure())
        await self._stop.wait()
        self._limit_stop()
        site.close()
        await self._finish_calls()
        await server.shutdown(1.0)

    async def _answer_client(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> EndpointAnswer:
        """Answer a durable client of this process, without a socket between."""
        parts = urlsplit(url)
        request = HttpRequestValue(
            method=method, url=url, path=parts.path, query=parts.query, headers={"host": parts.netloc, **headers}, body=body
        )
        response = await self._manage(request, parts.path[len(RPC_PATH) :])
        token = next((value for name, value in response.headers if name == CONTINUATION_HEADER), None)
        return EndpointAnswer(status=response.status, body=response.body, continuation=token)

    async def answer(self, request: HttpRequestValue) -> HttpResponseValue:
        """Answer any request: management API, admin, then the app's routes; 404 if nothing matches."""
        self._requests += 1
        self._idle.clear()
        try:
            preflight = self._options.cors.preflight(request)
            if preflight is not None:
                return preflight
            return self._options.cors.decorate(request, await self._route(request))
        finally:
            self._requests -= 1
            if not self._requests:
                self._idle.set()

    async def _route(self, request: HttpRequestValue) -> HttpResponseValue:
        path = request.path.lower()
        for base in (WEBHOOK_PATH, RPC_PATH):
            if path == base or path.startswith(f"{base}/"):
                return await self._manage(request, request.path[len(base) :])
        if path.startswith("/admin/"):
            return await self._admin.handle(request)
        response = await self._triggers.handle(request)
        if response is not None:
            return response
        if path == "/" and request.method in ("GET", "HEAD"):
            return self._admin.home() if self._options.home_page else empty_response(204)
        return empty_response(404)

    async def _manage(self, request: HttpRequestValue, route: str) -> HttpResponseValue:
        if not self._engine.ready and not await self._engine.wait_until_tried():
            return error_response(503, "The task hub cannot be reached yet. Try again later.")
        if self._management is None:
            forwarded = self._plan.settings.durable_task.use_forwarded_host
            self._management = self._engine.management_api(use_forwarded_host=forwarded)
        return await self._management.handle(request, route)

    async def _start_functions(self) -> None:
        for plan in self._plan.warmups:
            with suppress(Exception):  # the app's own; `Invoker.call` has logged it
                await self._invoker.call(plan, warmup_trigger_value(), reason="Warmup")
        if self._plan.timers:
            self._supervisor.start("timers", self._start_timers())

    async def _start_timers(self) -> None:
        """Start the timers as soon as no other host of this folder runs them."""
        clock, folder = SystemClock(), self._plan.script_root / ".durable" / "timers"
        lock = HostLock(folder / f"{self._plan.settings.task_hub}.lock")
        try:
            while not lock.try_take():
                await clock.sleep(_TIMER_LOCK_SECONDS)
            for timer in self._plan.timers:
                trigger = TimerTrigger(timer, self._invoker, clock, folder)
                self._supervisor.start(f"timer-{timer.plan.name}", trigger.run())
            await self._stop.wait()
        finally:
            lock.release()

    async def _run_by_name(self, function: IndexedFunction, text: str) -> None:
        """`POST /admin/functions/{name}`: run a timer or warm-up function now, in the background."""
        for timer in self._plan.timers:
            if timer.plan.name == function.name:
                self._supervisor.start(f"admin-{function.name}", self._run_quietly(timer.plan, timer_trigger_value({})))
        for plan in self._plan.warmups:
            if plan.name == function.name:
                self._supervisor.start(f"admin-{function.name}", self._run_quietly(plan, warmup_trigger_value()))

    async def _run_quietly(self, plan: object, value: object) -> None:
        with suppress(Exception):  # the app's own; `Invoker.call` has logged it
            await self._invoker.call(plan, value)  # type: ignore[arg-type]

    async def _finish_calls(self) -> None:
        """Let requests and timers that run come to their end, for so long as the drain allows."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(self._idle.wait(), self._invoker.wait_until_idle()), self._options.drain)
        if self._invoker.running:
            names = ", ".join(sorted(set(self._invoker.running)))
            log.warning("Calls that did not finish in time are abandoned: %s.", names)

    def _loop_failed(self, failure: LoopFailedError) -> None:
        self._failure = self._failure or failure
        self._stop.set()

    def _limit_stop(self) -> None:
        """Whatever hangs while stopping, the process ends: what is not stored yet is done again after the next start."""

        def give_up() -> None:
            log.error("The host did not stop in time and ends now.")
            logging.shutdown()
            os._exit(1)

        guard = threading.Timer(2 * self._options.drain + _STOP_GRACE, give_up)
        guard.daemon = True
        guard.start()

    def _signalled(self) -> None:
        log.warning(_STOPPING)
        self._stop.set()
