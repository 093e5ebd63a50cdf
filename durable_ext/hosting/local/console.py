"""What a developer sees in the terminal: banner, function list, log lines; writes to stdout, colours only on a terminal.

Format of `func start` (specs/functions-hosting.md 6).
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Final, TextIO

from durable_ext.hosting.app_loader import IndexedFunction
from durable_ext.hosting.local.http_triggers import HttpRoute

_RED, _YELLOW, _CYAN, _RESET = "\x1b[31m", "\x1b[33m", "\x1b[36m", "\x1b[0m"
_CATEGORIES: Final = {  # category of host.json → loggers
    "host": ("durable_ext.hosting", "durable_ext.http"),
    "function": ("Function",),
    "host.triggers.durabletask": ("durable_ext.runtime", "durable_ext.client"),
    "durabletask.core": ("durable_ext.core", "durable_ext.runtime"),
    "durabletask.azurestorage": ("durable_ext.backends.azure_storage",),
    "durabletask.embedded": ("durable_ext.backends.sqlite",),
}
_LIFECYCLE: Final = "durable_ext.runtime.lifecycle"  # starts and ends of instances belong to what a developer watches
_QUIET: Final = ("azure", "aiohttp", "asyncio", "urllib3", "watchfiles", "msal")


class ConsoleFormatter(logging.Formatter):
    """`[2026-11-21T04:50:56.223Z] message`, UTC; errors red, warnings yellow."""

    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            message = f"{message}\n{record.exc_text}"
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        line = f"[{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z] {message}"
        if not self._colours or record.levelno < logging.WARNING:
            return line
        return f"{_RED if record.levelno >= logging.ERROR else _YELLOW}{line}{_RESET}"


def configure_logging(levels: Mapping[str, int], *, verbose: bool, stream: TextIO | None = None) -> None:
    """Send every log line to the terminal: the app's from INFO on, ours from WARNING on unless `verbose`.

    Characters that it cannot hold are escaped from now on, whoever prints them.

    Args:
        levels: Categories of host.json's `logging.logLevel`, lower case; `default` is the app's level.
    """
    target = sys.stdout if stream is None else stream
    if isinstance(target, io.TextIOWrapper):
        target.reconfigure(errors="backslashreplace")  # names and payloads hold what a terminal may not be able to
    handler = logging.StreamHandler(target)
    handler.setFormatter(ConsoleFormatter(colours=target.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(levels.get("default", logging.INFO))
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger("durable_ext").setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger(_LIFECYCLE).setLevel(logging.INFO)
    for category, level in levels.items():
        for name in _CATEGORIES.get(category, ()):
            logging.getLogger(name).setLevel(level)
        if category.startswith("function."):
            name = category.removeprefix("function.").removesuffix(".user")
            logging.getLogger(f"Function.{name}").setLevel(level)


def write(line: str = "") -> None:
    """Print one line at once."""
    print(line, flush=True)


def write_problem(line: str, *, error: bool = True) -> None:
    """Print one line, red for errors and yellow for warnings on a terminal."""
    if sys.stdout.isatty():
        line = f"{_RED if error else _YELLOW}{line}{_RESET}"
    print(line, flush=True)


def function_list(
    routes: Iterable[HttpRoute], others: Sequence[IndexedFunction], disabled: Sequence[str], origin: str
) -> list[str]:
    """Return the lines of the function list: HTTP functions with their URLs, then the others, then the disabled ones."""
    lines = ["", "Functions:", ""]
    for route in routes:
        methods = f"[{','.join(route.methods)}]" if route.methods else ""
        lines += [f"\t{route.plan.name}: {methods} {origin}/{route.template.text}", ""]
    for function in others:
        lines += [f"\t{function.name}: {function.trigger_type}", ""]
    lines += [f"\tFunction {name} is disabled." for name in disabled]
    return lines


def functions_in_error(errors: Mapping[str, str]) -> list[str]:
    """Return a line for each function that is not served, with the reason, by name."""
    by_name = sorted(errors.items(), key=lambda item: item[0].lower())
    texts = {name: problem.removeprefix(f"Function '{name}': ") for name, problem in by_name}
    return [f"The '{name}' function is in error: {text[:1].upper()}{text[1:]}" for name, text in texts.items()]
