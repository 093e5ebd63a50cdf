"""The `/admin` endpoints and the home page of a local host (specs/functions-hosting.md 6); run nothing themselves."""

from __future__ import annotations

import json
import os
import platform
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from durable_ext.hosting.app_loader import IndexedFunction
from durable_ext.http.messages import HttpRequestValue, HttpResponseValue
from durable_ext.http.payloads import empty_response, json_response

RunByName = Callable[[IndexedFunction, str], Awaitable[None]]

_HOME = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>durable_ext host</title></head>
<body><h1>Your functions app is up and running</h1><p>Task hub: {hub}</p><ul>{functions}</ul></body></html>
"""


class AdminRoutes:
    """Answers `/admin/...` and `/`.

    Args:
        errors: Functions that could not be served, with why.
        is_ready: Whether the task hub has been reached.
        run: Runs a function in the background with the text of `{"input": ...}`.
    """

    def __init__(
        self,
        *,
        version: str,
        origin: str,
        prefix: str,
        task_hub: str,
        functions: Sequence[IndexedFunction],
        errors: Mapping[str, str],
        is_ready: Callable[[], bool],
        run: RunByName,
    ) -> None:
        self._version, self._origin, self._prefix, self._task_hub = version, origin, prefix, task_hub
        self._functions = {function.name.lower(): function for function in functions}
        self._errors, self._is_ready, self._run = errors, is_ready, run
        self._instance_id, self._started = uuid.uuid4().hex, time.monotonic()

    async def handle(self, request: HttpRequestValue) -> HttpResponseValue:
        """Answer a request below `/admin`; unknown paths and methods are 404."""
        parts = [part.lower() for part in request.path.strip("/").split("/")][1:]
        if parts == ["host", "status"] and request.method == "GET":
            return json_response(200, json.dumps(self._status()))
        if parts == ["host", "ping"] and request.method in ("GET", "POST", "HEAD"):
            return empty_response(200)
        if parts == ["warmup"] and request.method in ("GET", "POST"):
            return empty_response(200)
        if parts[:1] == ["functions"]:
            return await self._function_routes(request, parts[1:])
        return empty_response(404)

    def home(self) -> HttpResponseValue:
        """Return the page at `/`."""
        items = "".join(f"<li>{name}</li>" for name in sorted(each.name for each in self._functions.values()))
        body = _HOME.format(hub=self._task_hub, functions=items).encode()
        return HttpResponseValue(status=200, headers=(("Content-Type", "text/html; charset=utf-8"),), body=body)

    def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = {
            "id": f"durable-ext-{self._task_hub.lower()}",
            "state": "Running" if self._is_ready() else "Starting",
            "version": self._version,
            "versionDetails": f"durable_ext {self._version}, Python {platform.python_version()}",
            "platformVersion": "",
            "instanceId": self._instance_id,
            "computerName": platform.node(),
            "processUptime": int((time.monotonic() - self._started) * 1000),
            "processId": os.getpid(),
            "functionAppContentEditingState": "NotAllowed",
        }
        if self._errors:
            status["errors"] = list(self._errors.values())
        return status

    async def _function_routes(self, request: HttpRequestValue, parts: list[str]) -> HttpResponseValue:
        if not parts and request.method == "GET":
            return json_response(200, json.dumps([self._describe(each) for each in self._functions.values()]))
        function = self._functions.get(parts[0]) if parts else None
        if function is None:
            return empty_response(404)
        if parts[1:] == ["status"] and request.method == "GET":
            problem = self._errors.get(function.name)
            return json_response(200, json.dumps({"errors": [problem]} if problem else {}))
        if len(parts) > 1:
            return empty_response(404)
        if request.method == "GET":
            return json_response(200, json.dumps(self._describe(function)))
        return await self._start(request, function) if request.method == "POST" else empty_response(404)

    async def _start(self, request: HttpRequestValue, function: IndexedFunction) -> HttpResponseValue:
        try:
            content = json.loads(request.body or b"")
            text = content.get("input") if isinstance(content, dict) else None
        except (ValueError, RecursionError):
            return empty_response(400)
        if not isinstance(content, dict):
            return empty_response(400)
        await self._run(function, "" if text is None else str(text))
        return empty_response(202)

    def _describe(self, function: IndexedFunction) -> dict[str, Any]:
        href = f"{self._origin}/admin/functions/{function.name}"
        template = None
        if function.trigger_type == "httpTrigger":
            route = str(function.trigger.get("route") or function.name).strip("/")
            template = "/".join(part for part in (self._origin, self._prefix, route) if part)
        return {
            "name": function.name,
            "script_root_path_href": None,
            "script_href": f"{self._origin}/admin/vfs/{function.script_file}",
            "config_href": None,
            "test_data_href": None,
            "href": href,
            "invoke_url_template": template,
            "language": "python",
            "config": {"name": function.name, "scriptFile": function.script_file, "bindings": list(function.bindings)},
            "test_data": None,
            "isDisabled": function.disabled,
            "isDirect": True,
            "isProxy": False,
        }
