"""The curl sessions in a README as test steps: each command with what the page says it prints."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.host_process import Answer, eventually, request

PRINTED_ORIGIN = "http://localhost:7071"
SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of a page and the lines below it."""

    command: str
    expected: str

    def __str__(self) -> str:
        return self.command


@dataclass(frozen=True, slots=True, kw_only=True)
class CurlCall:
    """The part of curl's command line that the pages use."""

    method: str
    url: str
    headers: dict[str, str]
    body: str | None
    write_out: str | None
    prints_body: bool


def read_steps(page: Path) -> Iterator[Step]:
    """Yield the `$` commands of all console blocks of a page, in order."""
    for block in re.findall(r"^```console\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            yield Step(command=command, expected=expected.strip("\n"))


def parse_curl(command: str) -> CurlCall:
    """Read a curl command line.

    Raises:
        ValueError: It uses an option that no page has used so far.
    """
    program, *words = shlex.split(command)
    if program != "curl":
        raise ValueError(f"Not a curl command: {command}")
    method, url, body, write_out, prints_body = "GET", "", None, None, True
    headers: dict[str, str] = {}
    pending = iter(words)
    for word in pending:
        if word == "-s":
            continue
        elif word == "-X":
            method = next(pending)
        elif word == "-d":
            body = next(pending)
        elif word == "-H":
            name, _, value = next(pending).partition(":")
            headers[name.strip()] = value.strip()
        elif word == "-o":
            prints_body = next(pending) != "/dev/null"
        elif word == "-w":
            write_out = next(pending)
        elif word.startswith("-"):
            raise ValueError(f"Option {word} of '{command}' is not understood here.")
        else:
            url = word
    return CurlCall(method=method, url=url, headers=headers, body=body, write_out=write_out, prints_body=prints_body)


def perform(step: Step, origin: str) -> None:
    """Do what the command does and compare; a GET is repeated until it prints what the page says."""
    call = parse_curl(step.command)
    pattern = re.compile(_pattern(step.expected))
    printed: list[str] = []

    def attempt() -> bool:
        printed.append(_printed(call, _send(call, origin)).replace(origin, PRINTED_ORIGIN).strip("\n"))
        return pattern.fullmatch(printed[-1]) is not None

    if call.method == "GET":
        give_up = time.monotonic() + SECONDS
        eventually(lambda: attempt() or time.monotonic() > give_up, seconds=2 * SECONDS)
    else:
        attempt()
    assert pattern.fullmatch(printed[-1]), f"{step.command}\nprinted  {printed[-1]}\nexpected {step.expected}"


def _send(call: CurlCall, origin: str) -> Answer:
    headers = (
        {"Content-Type": "application/x-www-form-urlencoded", **call.headers} if call.body is not None else call.headers
    )
    return request(call.method, call.url.replace(PRINTED_ORIGIN, origin), body=call.body, headers=headers)


def _printed(call: CurlCall, answer: Answer) -> str:
    text = answer.text if call.prints_body else ""
    if call.write_out is not None:
        text += call.write_out.replace("%{http_code}", str(answer.status)).replace("\\n", "\n")
    return text


def _pattern(expected: str) -> str:
    return ".*?".join(re.escape(part) for part in expected.split("…"))
