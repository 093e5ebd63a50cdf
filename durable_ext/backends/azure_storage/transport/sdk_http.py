"""Our HTTP client below the Azure SDK's queue and table clients, in place of aiohttp. Knows azure-core, no verb of storage.

With aiohttp, which looks for a proxy and in a thread for a netrc file before each request, and with the `email` package
that azure-core reads the answers of batches with, a call costs twice the CPU time (docs/performance.md). Not for blobs:
their answers are streamed and may be compressed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, MutableMapping
from http.client import responses
from types import TracebackType
from typing import Any, Final

from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.core.rest import AsyncHttpResponse
from azure.core.utils import case_insensitive_dict
from yarl import URL

from durable_ext.backends.azure_storage.transport.wire import HttpAnswer, Wire, WireError

_OF_THE_WIRE: Final = frozenset({"host", "content-length", "connection"})


class KeepAliveSdkTransport(AsyncHttpTransport[Any, Any]):
    """Sends what the SDK has signed over a wire, which is closed with this. Nothing is tried again here."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def open(self) -> None:
        """Do nothing: the wire connects when it is needed."""

    async def send(self, request: Any, **kwargs: Any) -> WholeAnswer:
        """Send one request and return its whole answer, whatever its status.

        Raises:
            ServiceRequestError: Nobody could be reached.
            ServiceResponseError: No complete answer, in time or at all; the request may have been carried out.
        """
        url = URL(request.url)  # quotes as aiohttp does, which the signature of the table client counts on
        headers = {name.lower(): str(value) for name, value in request.headers.items()}
        headers = {name: value for name, value in headers.items() if name not in _OF_THE_WIRE}
        # The name of the body differs between the two kinds of requests that azure-core has.
        body = request.content if hasattr(request, "content") else request.data
        content = body.encode() if isinstance(body, str) else body or b""
        try:
            answer = await self._wire.send(request.method, str(url.origin()), url.raw_path_qs, headers, content)
        except (WireError, TimeoutError) as exc:
            raise ServiceResponseError(str(exc), error=exc) from exc
        except OSError as exc:
            raise ServiceRequestError(str(exc), error=exc) from exc
        return WholeAnswer(request, answer)

    async def close(self) -> None:
        await self._wire.close()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()


class WholeAnswer(AsyncHttpResponse):
    """An answer that is in memory, or a part of a batch's; with the methods that the SDK's older code calls."""

    def __init__(self, request: Any, answer: HttpAnswer) -> None:
        self._request, self._answer = request, answer
        self._headers: MutableMapping[str, str] = case_insensitive_dict(answer.headers)
        self._encoding: str | None = None

    @property
    def request(self) -> Any:
        return self._request

    @property
    def status_code(self) -> int:
        return self._answer.status

    @property
    def headers(self) -> MutableMapping[str, str]:
        return self._headers

    @property
    def reason(self) -> str:
        return responses.get(self._answer.status, "")

    @property
    def content_type(self) -> str | None:
        return self._headers.get("content-type")

    @property
    def is_closed(self) -> bool:
        return True

    @property
    def is_stream_consumed(self) -> bool:
        return True

    @property
    def encoding(self) -> str | None:
        return self._encoding

    @encoding.setter
    def encoding(self, value: str | None) -> None:
        self._encoding = value

    @property
    def url(self) -> str:
        return str(self._request.url)

    @property
    def content(self) -> bytes:
        return self._answer.body

    def body(self) -> bytes:
        return self._answer.body

    def text(self, encoding: str | None = None) -> str:
        return self._answer.body.decode(encoding or self._encoding or "utf-8-sig", "replace")

    def json(self) -> Any:
        return json.loads(self.text())

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise HttpResponseError(response=self)

    async def read(self) -> bytes:
        return self._answer.body

    async def load_body(self) -> None:
        """Do nothing: it is there."""

    async def iter_raw(self, **kwargs: Any) -> AsyncIterator[bytes]:
        yield self._answer.body

    async def iter_bytes(self, **kwargs: Any) -> AsyncIterator[bytes]:
        yield self._answer.body

    async def parts(self) -> AsyncIterator[WholeAnswer]:
        """Iterate over the answers of a batch's operations, in order."""
        for part in _answers_of(self.content_type or "", self._answer.body):
            yield WholeAnswer(self._request, part)

    async def close(self) -> None:
        """Do nothing: the connection is free already."""

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        return None


def _answers_of(content_type: str, body: bytes) -> list[HttpAnswer]:
    _, _, boundary = content_type.partition("boundary=")
    mark = b"--" + boundary.partition(";")[0].strip('" ').encode()
    found: list[HttpAnswer] = []
    for section in body.split(mark)[1:]:
        if section.startswith(b"--"):
            break
        headers, content = _head_and_rest(section.lstrip(b"\r\n"))
        kind = headers.get("content-type", "")
        if kind.startswith("multipart/mixed"):
            found += _answers_of(kind, content)
            continue
        line, _, message = content.partition(b"\r\n")
        inner, rest = _head_and_rest(message)
        found.append(HttpAnswer(int(line.split(b" ")[1]), inner, rest.strip()))
    return found


def _head_and_rest(message: bytes) -> tuple[Mapping[str, str], bytes]:
    head, _, rest = message.partition(b"\r\n\r\n")
    lines = (line.partition(":") for line in head.decode("utf-8", "replace").split("\r\n"))
    return {name.strip().lower(): value.strip() for name, _, value in lines}, rest
