"""Route templates as ASP.NET reads them."""

from __future__ import annotations

import pytest

from durable_ext.hosting.local.route_templates import RouteTemplateError, parse_route


@pytest.mark.parametrize(
    ("route", "path", "values"),
    [
        ("api/hello", "/api/hello", {}),
        ("api/Hello", "/API/hello/", {}),
        ("api/{name}", "/api/Ada", {"name": "Ada"}),
        ("api/{name}", "/api/a%20b%2Fc", {"name": "a b/c"}),
        ("api/{name}", "/api", None),
        ("api/{name}", "/api/a/b", None),
        ("api/{name?}", "/api", {}),
        ("api/{name?}", "/api/x", {"name": "x"}),
        ("api/{name=Ada}", "/api", {"name": "Ada"}),
        ("api/{name=Ada}", "/api/Bob", {"name": "Bob"}),
        ("api/{*rest}", "/api/a/b/c", {"rest": "a/b/c"}),
        ("api/{*rest}", "/api", {}),
        ("{*rest}", "/", {}),
        ("{*rest}", "/x/y", {"rest": "x/y"}),
        ("files/{name}.{ext}", "/files/a.txt", {"name": "a", "ext": "txt"}),
        ("v{version:int}/x", "/v2/x", {"version": "2"}),
        ("v{version:int}/x", "/vtwo/x", None),
        ("a/{id:guid}", "/a/6f1c3e0a-0000-4000-8000-000000000000", {"id": "6f1c3e0a-0000-4000-8000-000000000000"}),
        ("a/{id:guid}", "/a/1", None),
        ("a/{id:int:min(2)}", "/a/1", None),
        ("a/{id:int:min(2)}", "/a/2", {"id": "2"}),
        ("a/{id:range(1,3)}", "/a/4", None),
        ("a/{id:alpha:length(2,3)}", "/a/abcd", None),
        ("a/{id:alpha:length(2,3)?}", "/a", {}),
        ("a/{id:bool}", "/a/True", {"id": "True"}),
        ("a/{id:int}", "/a/99999999999", None),
        ("a/{id:long}", "/a/99999999999", {"id": "99999999999"}),
        (r"a/{id:regex(^\d{{3}}$)}", "/a/123", {"id": "123"}),
        (r"a/{id:regex(^\d{{3}}$)}", "/a/1234", None),
    ],
)
def test_a_path_matches_or_does_not(route: str, path: str, values: dict[str, str] | None) -> None:
    assert parse_route(route).match(path) == values


@pytest.mark.parametrize("route", ["a/{b", "a/b}", "a/{b}/{B}", "a/{b:nonsense}", "a/{b:min(x)}", "a/{b:regex([)}"])
def test_a_route_that_cannot_be_parsed_is_refused_and_quoted(route: str) -> None:
    with pytest.raises(RouteTemplateError) as caught:
        parse_route(route)

    assert route in str(caught.value)
