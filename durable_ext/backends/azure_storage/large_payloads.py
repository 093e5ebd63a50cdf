"""Texts that do not fit into a message or a column: gzip in a blob, and back.

Source: specs/azure-storage.md 4.6, 5.8, 6.5.
"""

from __future__ import annotations

import asyncio
import gzip
import secrets
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import unquote, urlsplit

from durable_ext.backends.azure_storage.message_codec import decode_envelope
from durable_ext.backends.azure_storage.names import HubNames, property_blob
from durable_ext.backends.azure_storage.transport.blob import BlobVerbs
from durable_ext.backends.azure_storage.transport.errors import StorageNotFoundError
from durable_ext.codec.wire import WireFormatError
from durable_ext.core.events import ExecutionStarted
from durable_ext.errors import DamagedPayloadError, MissingPayloadError, PayloadTooLargeError

MAX_COLUMN_UNITS: Final = 30_720  # UTF-16 code units; longer texts go to a blob
MAX_PLAIN_COLUMN_UNITS: Final = 32_768  # what the service takes in one string column
MAX_PAYLOAD_BYTES: Final = 256 * 1024 * 1024
_LARGE_BYTES: Final = 64 * 1024  # some milliseconds of compression
_GZIP_FORMAT: Final = 31  # zlib's window bits for gzip, its check sum included
T = TypeVar("T")
LARGE_COLUMNS: Final = (
    "Name",
    "Input",
    "Result",
    "Output",
    "Reason",
    "Details",
    "Correlation",
    "FailureDetails",
    "Tags",
)


def utf16_units(text: str) -> int:
    """Return the length in UTF-16 code units, which is what .NET and the table service count."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def exceeds_column(text: str) -> bool:
    """Whether a text has to be stored in a blob."""
    length = len(text)
    return length > MAX_COLUMN_UNITS or (length * 2 > MAX_COLUMN_UNITS and utf16_units(text) > MAX_COLUMN_UNITS)


def check_plain_column(what: str, text: str) -> None:
    """Raise `PayloadTooLargeError` for a column that cannot be offloaded (custom status, event data)."""
    if len(text) * 2 > MAX_PLAIN_COLUMN_UNITS and (units := utf16_units(text)) > MAX_PLAIN_COLUMN_UNITS:
        raise PayloadTooLargeError(what, units * 2, MAX_PLAIN_COLUMN_UNITS * 2)


def check_payload(what: str, text: str) -> None:
    """Raise `PayloadTooLargeError` for a text that cannot be stored at all."""
    if len(text) * 4 > MAX_PAYLOAD_BYTES and (size := len(text.encode("utf-8", "surrogatepass"))) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLargeError(what, size, MAX_PAYLOAD_BYTES)


@dataclass(frozen=True, slots=True)
class BlobReference:
    """A blob in the hub's large-message container."""

    name: str
    url: str


class LargePayloads:
    """Reads and writes the blobs of one hub. The container is created at the first write."""

    def __init__(self, blobs: BlobVerbs, names: HubNames) -> None:
        self._blobs, self._container = blobs, names.large_message_container
        self._created = False

    async def store(self, name: str, text: str) -> BlobReference:
        """Compress and upload a text.

        Raises:
            PayloadTooLargeError: More than 256 MiB.
        """
        content = text.encode("utf-8", "surrogatepass")
        if len(content) > MAX_PAYLOAD_BYTES:
            raise PayloadTooLargeError(name, len(content), MAX_PAYLOAD_BYTES)
        if not self._created:
            await self._blobs.create_container(self._container)
            self._created = True
        packed = await _beside_the_loop(_packed, content)
        try:
            await self._blobs.upload(self._container, name, packed)
        except StorageNotFoundError:  # somebody has deleted the hub, which was made again since
            await self._blobs.create_container(self._container)
            await self._blobs.upload(self._container, name, packed)
        return BlobReference(name, self._blobs.url(self._container, name))

    async def store_column(self, key: str, row_key: str, event_type: str, column: str, text: str) -> BlobReference:
        """Store a column's text under the name that the provider gives it."""
        return await self.store(property_blob(key, row_key, event_type, secrets.token_hex(4).upper(), column), text)

    async def load(self, name: str) -> str:
        """Return the text of a blob.

        Raises:
            MissingPayloadError: There is no such blob.
            DamagedPayloadError: It is not gzip of UTF-8 text, or more than 256 MiB.
        """
        content = await self._blobs.download(self._container, name)
        if content is None:
            raise MissingPayloadError(name)
        try:
            return await _beside_the_loop(_plain, content)
        except (zlib.error, ValueError) as exc:
            raise DamagedPayloadError(name, str(exc)) from exc

    def url(self, name: str) -> str:
        """Return the absolute URL of a blob."""
        return self._blobs.url(self._container, name)

    def name_of(self, value: str) -> str | None:
        """Return the blob name if a column's value is the address of one of our blobs, else `None`.

        JSON strings are quoted and so never look like an address.
        """
        root = self._blobs.url(self._container, "")
        if not value.startswith(root):
            return _foreign_name(value, self._container)
        return unquote(value[len(root) :])

    async def resolve(self, value: str) -> str:
        """Return the text behind an address in an Instances column; any other value is returned as it is."""
        name = self.name_of(value)
        if name is None:
            return value
        text = await self.load(name)
        if not name.endswith("ExecutionStarted.json.gz"):
            return text
        # The column refers to the whole start message (specs/azure-storage.md 6.5).
        try:
            message = decode_envelope(text).message
        except WireFormatError as exc:
            raise DamagedPayloadError(name, str(exc)) from exc
        event = message.event if message is not None else None
        return (event.input or "") if isinstance(event, ExecutionStarted) else ""

    async def delete(self, name: str) -> None:
        """Delete one blob; does nothing if it is gone."""
        await self._blobs.delete(self._container, name)

    async def names_below(self, prefix: str) -> list[str]:
        """Return the blobs right below a prefix that ends with `/`.

        Those further down belong to instances whose id goes on after a `/`; a purge of the provider deletes them too.
        """
        found: list[str] = []
        continuation: str | None = None
        while True:
            page = await self._blobs.list(self._container, prefix, continuation)
            found += [name for name in page.names if "/" not in name[len(prefix) :]]
            continuation = page.continuation
            if continuation is None:
                return found


async def _beside_the_loop(work: Callable[[bytes], T], content: bytes) -> T:
    """Do a large piece of work in a thread: leases are renewed and requests answered meanwhile."""
    if len(content) < _LARGE_BYTES:
        return work(content)
    return await asyncio.to_thread(work, content)


def _packed(content: bytes) -> bytes:
    return gzip.compress(content, 6, mtime=0)


def _plain(content: bytes) -> str:
    return _unpacked(content).decode("utf-8", "surrogatepass")


def _unpacked(content: bytes) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    unpacker = zlib.decompressobj(_GZIP_FORMAT)
    plain = unpacker.decompress(content, MAX_PAYLOAD_BYTES)
    if not unpacker.eof:  # a megabyte can unpack to a gigabyte
        raise ValueError(f"it is cut off, or unpacks to more than {MAX_PAYLOAD_BYTES} bytes")
    return plain


def _foreign_name(value: str, container: str) -> str | None:
    # The same blob under another host name of the account (127.0.0.1 and localhost, a private endpoint).
    if not value.startswith(("http://", "https://")) or not value.endswith(".json.gz"):
        return None
    _, found, name = urlsplit(value).path.partition(f"/{container}/")
    return unquote(name) if found else None
