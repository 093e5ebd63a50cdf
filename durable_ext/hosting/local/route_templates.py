"""ASP.NET route templates: `{a}`, `{a?}`, `{a=x}`, `{a:int}`, `{*rest}` and text around them; know no request.

Matching is without case. Source: specs/functions-hosting.md 6 (Endpoints).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from durable_ext.errors import RegistrationError

_PARAMETER: Final = re.compile(r"\{(\*{0,2})([A-Za-z_]\w*)((?::(?:[^{}()=?]|\((?:[^()]|\([^()]*\))*\))+)*)(\?|=[^}]*)?\}")
_CONSTRAINT: Final = re.compile(r":([A-Za-z]+)(?:\(((?:[^()]|\([^()]*\))*)\))?")

Check = Callable[[str], bool]


class RouteTemplateError(RegistrationError):
    """A route cannot be parsed; the text quotes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTemplate:
    """One parsed route. `text` is the template with its prefix, without slashes around it."""

    text: str
    pattern: re.Pattern[str]
    defaults: Mapping[str, str]
    checks: tuple[tuple[str, Check], ...]

    def match(self, path: str) -> dict[str, str] | None:
        """Return the parameters of a percent-encoded path, `None` if it does not match; absent ones are left out."""
        found = self.pattern.fullmatch(path.strip("/"))
        if found is None:
            return None
        values = dict(self.defaults)
        values.update({name: unquote(value) for name, value in found.groupdict().items() if value})
        if any(name in values and not check(values[name]) for name, check in self.checks):
            return None
        return values


def parse_route(route: str) -> RouteTemplate:
    """Parse a template.

    Raises:
        RouteTemplateError: Unbalanced braces, a name used twice, or a constraint that does not exist.
    """
    text = route.strip("/")
    pieces: list[str] = []
    defaults: dict[str, str] = {}
    checks: list[tuple[str, Check]] = []
    names: set[str] = set()
    for index, segment in enumerate(_segments(text)):
        lead = "/" if index else ""
        whole = _PARAMETER.fullmatch(segment)
        for parameter in _PARAMETER.finditer(segment):
            name = parameter.group(2)
            if name.lower() in names:
                raise RouteTemplateError(f"The route '{route}' uses the parameter '{name}' twice. Rename one of them.")
            names.add(name.lower())
            checks += [(name, check) for check in _checks(route, parameter.group(3))]
            if (parameter.group(4) or "").startswith("="):
                defaults[name] = parameter.group(4)[1:]
        if whole is not None and whole.group(1):
            pieces.append(f"(?:{lead}(?P<{whole.group(2)}>.*))?")
        elif whole is not None and whole.group(4) is not None:
            pieces.append(f"(?:{lead}(?P<{whole.group(2)}>[^/]+))?")
        else:
            pieces.append(lead + _mixed(route, segment))
    return RouteTemplate(
        text=text, pattern=re.compile("".join(pieces), re.IGNORECASE), defaults=defaults, checks=tuple(checks)
    )


def _segments(text: str) -> list[str]:
    """Split at slashes outside braces: a regex constraint may contain some."""
    if not text:
        return []
    segments, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if character == "/" and depth == 0:
            segments.append(text[start:position])
            start = position + 1
    return [*segments, text[start:]]


def _mixed(route: str, segment: str) -> str:
    pattern, position = "", 0
    for parameter in _PARAMETER.finditer(segment):
        pattern += _literal(route, segment[position : parameter.start()])
        pattern += f"(?P<{parameter.group(2)}>[^/]+?)"
        position = parameter.end()
    return pattern + _literal(route, segment[position:])


def _literal(route: str, text: str) -> str:
    plain = text.replace("{{", "").replace("}}", "")
    if "{" in plain or "}" in plain:
        raise RouteTemplateError(f"The route '{route}' cannot be parsed near '{text}'. Write parameters as {{name}}.")
    return re.escape(text.replace("{{", "{").replace("}}", "}"))


def _checks(route: str, constraints: str) -> list[Check]:
    return [_check(route, name, argument) for name, argument in _CONSTRAINT.findall(constraints)]


def _check(route: str, name: str, argument: str) -> Check:
    kind = name.lower()
    try:
        if kind in _PLAIN:
            return _PLAIN[kind]
        if kind in _WITH_ARGUMENT:
            return _WITH_ARGUMENT[kind](argument)
    except (ValueError, re.error) as exc:
        raise RouteTemplateError(f"The route '{route}': the constraint '{name}({argument})' cannot be used: {exc}.") from exc
    known = ", ".join(sorted((*_PLAIN, *_WITH_ARGUMENT)))
    raise RouteTemplateError(f"The route '{route}' has the unknown constraint '{name}'. Known are: {known}.")


def _fits(pattern: str) -> Check:
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda value: compiled.fullmatch(value) is not None


def _whole(bits: int) -> Check:
    def check(value: str) -> bool:
        return re.fullmatch(r"[+-]?\d{1,20}", value) is not None and -(1 << bits - 1) <= int(value) < 1 << bits - 1

    return check


def _number(test: Callable[[int], bool]) -> Check:
    return lambda value: re.fullmatch(r"[+-]?\d{1,20}", value) is not None and test(int(value))


def _bounds(argument: str) -> tuple[int, int]:
    low, _, high = argument.partition(",")
    return int(low), int(high or low)


def _at_least(argument: str) -> Check:
    bound = int(argument)
    return _number(lambda value: value >= bound)


def _at_most(argument: str) -> Check:
    bound = int(argument)
    return _number(lambda value: value <= bound)


def _between(argument: str) -> Check:
    low, high = _bounds(argument)
    return _number(lambda value: low <= value <= high)


def _length(argument: str) -> Check:
    low, high = _bounds(argument)
    return lambda value: low <= len(value) <= high


def _shortest(argument: str) -> Check:
    bound = int(argument)
    return lambda value: len(value) >= bound


def _longest(argument: str) -> Check:
    bound = int(argument)
    return lambda value: len(value) <= bound


def _search(argument: str) -> Check:
    compiled = re.compile(argument.replace("{{", "{").replace("}}", "}"), re.IGNORECASE)
    return lambda value: compiled.search(value) is not None


_GUID = r"\{?\(?[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\)?\}?"
_DECIMAL = r"[+-]?(\d+(\.\d*)?|\.\d+)"
_PLAIN: Final[dict[str, Check]] = {
    "int": _whole(32),
    "long": _whole(64),
    "bool": _fits(r"true|false"),
    "guid": _fits(_GUID),
    "alpha": _fits(r"[a-z]*"),
    "decimal": _fits(_DECIMAL),
    "double": _fits(_DECIMAL + r"(e[+-]?\d+)?"),
    "float": _fits(_DECIMAL + r"(e[+-]?\d+)?"),
    "datetime": _fits(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?"),
    "required": lambda value: bool(value),
    "file": lambda value: "." in value.rpartition("/")[2],
    "nonfile": lambda value: "." not in value.rpartition("/")[2],
}
_WITH_ARGUMENT: Final[dict[str, Callable[[str], Check]]] = {
    "min": _at_least,
    "max": _at_most,
    "range": _between,
    "length": _length,
    "minlength": _shortest,
    "maxlength": _longest,
    "regex": _search,
}
