"""Cross-origin answers of the local host: any header, any method, for the origins of local.settings.json or `--cors`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from durable_ext.http.messages import HttpRequestValue, HttpResponseValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Allowed origins; `*` allows all. No origins = no headers."""

    origins: tuple[str, ...] = ()
    credentials: bool = False

    def preflight(self, request: HttpRequestValue) -> HttpResponseValue | None:
        """Answer a preflight request of an allowed origin, `None` if the request is none."""
        if request.method != "OPTIONS" or "access-control-request-method" not in request.headers:
            return None
        if not self._allowed(request):
            return None
        headers = [
            ("Access-Control-Allow-Methods", request.headers["access-control-request-method"]),
            *self._headers(request),
        ]
        wanted = request.headers.get("access-control-request-headers")
        if wanted:
            headers.append(("Access-Control-Allow-Headers", wanted))
        return HttpResponseValue(status=204, headers=tuple(headers))

    def decorate(self, request: HttpRequestValue, response: HttpResponseValue) -> HttpResponseValue:
        """Return the response with the headers that let a page of an allowed origin read it."""
        if not self._allowed(request):
            return response
        return replace(response, headers=(*response.headers, *self._headers(request)))

    def _allowed(self, request: HttpRequestValue) -> bool:
        origin = request.headers.get("origin")
        return origin is not None and ("*" in self.origins or origin in self.origins)

    def _headers(self, request: HttpRequestValue) -> list[tuple[str, str]]:
        if self.credentials:
            origin = [("Access-Control-Allow-Origin", request.headers["origin"]), ("Vary", "Origin")]
            return [*origin, ("Access-Control-Allow-Credentials", "true")]
        if "*" in self.origins:
            return [("Access-Control-Allow-Origin", "*")]
        return [("Access-Control-Allow-Origin", request.headers["origin"]), ("Vary", "Origin")]
