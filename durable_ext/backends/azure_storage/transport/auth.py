"""Signs requests: SharedKey for queues, blobs and tables, SAS, bearer tokens."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Mapping
from typing import Final, Protocol

from durable_ext.backends.azure_storage.transport.account import Sas, Service, SharedKey, TokenSource

_VERSIONS: Final = {Service.BLOB: "2021-12-02", Service.QUEUE: "2021-12-02", Service.TABLE: "2019-02-02"}


class Signer(Protocol):
    """Adds what authenticates a request."""

    async def sign(
        self, service: Service, method: str, path: str, params: Mapping[str, str], headers: dict[str, str], length: int
    ) -> str:
        """Complete `headers` in place; return what to append to the query string (a SAS), or the empty string.

        `path` is the encoded path of the URL from its root; header names are lower case.
        """
        ...


class HttpDate:
    """The current time as an HTTP date, formatted at most once a second."""

    def __init__(self) -> None:
        self._second, self._text = 0, ""

    def now(self) -> str:
        """Return e.g. `Sat, 21 Nov 2026 12:00:00 GMT`."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(second))
        return self._text


class SharedKeySigner:
    """Signs with an account key (Authorize with Shared Key, versions 2009-09-19 and later)."""

    def __init__(self, key: SharedKey) -> None:
        self._account = key.account
        # Copied for each request: cheaper than `hmac.digest`, which also gives the interpreter lock away each time.
        self._keyed = hmac.new(key.key, digestmod="sha256")
        self._date = HttpDate()

    async def sign(
        self, service: Service, method: str, path: str, params: Mapping[str, str], headers: dict[str, str], length: int
    ) -> str:
        headers["x-ms-date"] = self._date.now()
        headers["x-ms-version"] = _VERSIONS[service]
        resource = f"/{self._account}{path}"
        if service is Service.TABLE:
            comp = f"?comp={params['comp']}" if "comp" in params else ""
            content_type = headers.get("content-type", "")
            text = f"{method}\n\n{content_type}\n{headers['x-ms-date']}\n{resource}{comp}"
        else:
            text = self._blob_text(method, resource, params, headers, length)
        keyed = self._keyed.copy()
        keyed.update(text.encode())
        headers["authorization"] = f"SharedKey {self._account}:{base64.b64encode(keyed.digest()).decode()}"
        return ""

    @staticmethod
    def _blob_text(method: str, resource: str, params: Mapping[str, str], headers: Mapping[str, str], length: int) -> str:
        for name in sorted(params):
            resource += f"\n{name}:{params[name]}"
        ours = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-ms-"))
        get = headers.get
        return (
            f"{method}\n\n\n{length or ''}\n\n{get('content-type', '')}\n\n\n{get('if-match', '')}\n"
            f"{get('if-none-match', '')}\n\n{get('range', '')}\n{ours}{resource}"
        )


class SasSigner:
    """Appends a shared access signature."""

    def __init__(self, sas: Sas) -> None:
        self._token = sas.token

    async def sign(
        self, service: Service, method: str, path: str, params: Mapping[str, str], headers: dict[str, str], length: int
    ) -> str:
        headers["x-ms-version"] = _VERSIONS[service]
        return self._token


class BearerSigner:
    """Sends an Entra ID token."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._date = HttpDate()

    async def sign(
        self, service: Service, method: str, path: str, params: Mapping[str, str], headers: dict[str, str], length: int
    ) -> str:
        headers["x-ms-date"] = self._date.now()
        headers["x-ms-version"] = "2020-12-06" if service is Service.TABLE else _VERSIONS[service]
        headers["authorization"] = f"Bearer {await self._source.token()}"
        return ""
