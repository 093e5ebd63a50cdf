"""Blob verbs and leases: the Protocol, its values, and the lean client."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote, unquote

from durable_ext.backends.azure_storage.transport.account import Service
from durable_ext.backends.azure_storage.transport.errors import (
    StorageConflictError,
    StorageNotFoundError,
    StoragePreconditionError,
)
from durable_ext.backends.azure_storage.transport.http import StorageHttp
from durable_ext.backends.azure_storage.transport.retry import ONCE

_CONTAINER: Final = {"restype": "container"}
_LEASE: Final = {"comp": "lease"}
_BLOB: Final = re.compile(r"<Blob>(.*?)</Blob>", re.DOTALL)
_NAME: Final = re.compile(r"<Name([^>]*)>(.*?)</Name>", re.DOTALL)
_FOLDER: Final = re.compile(r"<hdi_isfolder>true</hdi_isfolder>", re.IGNORECASE)
_NEXT: Final = re.compile(r"<NextMarker>(.*?)</NextMarker>", re.DOTALL)
_REFERENCE: Final = re.compile(r"&(?:#x([0-9a-fA-F]{1,5})|#(\d{1,6})|(amp|lt|gt|quot|apos));")
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


@dataclass(frozen=True, slots=True)
class BlobPage:
    """Names of blobs; `continuation` is opaque, `None` on the last page."""

    names: list[str]
    continuation: str | None = None


@dataclass(frozen=True, slots=True)
class LeaseTarget:
    """What is leased: a container, or one blob of it."""

    container: str
    blob: str | None = None


class BlobVerbs(Protocol):
    """What we do with blobs. Errors: transport/errors.py."""

    async def create_container(self, container: str) -> None:
        """Create a container; does nothing if it exists."""
        ...

    async def container_exists(self, container: str) -> bool: ...

    async def drop_container(self, container: str, *, lease_id: str | None = None) -> None:
        """Delete a container with its blobs; does nothing if it is missing."""
        ...

    async def upload(self, container: str, blob: str, content: bytes, *, lease_id: str | None = None) -> None:
        """Write a block blob over whatever is there."""
        ...

    async def upload_new(self, container: str, blob: str, content: bytes) -> bool:
        """Write a blob unless it exists; return whether it was written."""
        ...

    async def download(self, container: str, blob: str) -> bytes | None:
        """Return the content, `None` if there is no such blob."""
        ...

    async def delete(self, container: str, blob: str) -> None:
        """Delete a blob; does nothing if it is missing."""
        ...

    async def list(self, container: str, prefix: str, continuation: str | None = None) -> BlobPage:
        """Return one page of names; empty if there is no container. Virtual folders are left out."""
        ...

    async def acquire_lease(self, target: LeaseTarget, lease_id: str, seconds: int) -> None:
        """Take a lease (15 to 60 s) with a proposed id; `StorageConflictError` if somebody else has one."""
        ...

    async def change_lease(self, target: LeaseTarget, lease_id: str, new_lease_id: str) -> None: ...

    async def renew_lease(self, target: LeaseTarget, lease_id: str) -> None: ...

    async def release_lease(self, target: LeaseTarget, lease_id: str) -> None: ...

    async def is_leased(self, target: LeaseTarget) -> bool: ...

    def url(self, container: str, blob: str) -> str:
        """Return the absolute URL of a blob, each path segment percent-encoded."""
        ...


def uri_name(blob: str) -> str:
    """Return what .NET's URI rules make of a blob name: `\\` is `/`, and steps (`.`, `..`) are taken.

    compat: specs/azure-storage.md 4.6. Never beyond the container, where the provider finds nothing either.
    """
    name = blob.replace("\\", "/")
    if "./" not in name:
        return name
    taken: list[str] = []
    for segment in name.split("/"):
        if segment == "..":
            del taken[-1:]
        elif segment != ".":
            taken.append(segment)
    return "/".join(taken)


def _blob_path(container: str, blob: str) -> str:
    return f"/{container}/{quote(uri_name(blob), safe='/', errors='surrogatepass')}"


def _target_path(target: LeaseTarget) -> str:
    return f"/{target.container}" if target.blob is None else _blob_path(target.container, target.blob)


def _target_params(target: LeaseTarget, extra: Mapping[str, str]) -> dict[str, str]:
    return dict(extra) if target.blob is not None else {**_CONTAINER, **extra}


class LeanBlobs:
    """`BlobVerbs` straight on HTTP."""

    def __init__(self, http: StorageHttp) -> None:
        self._http = http

    async def create_container(self, container: str) -> None:
        try:
            await self._http.send("blob.create_container", Service.BLOB, "PUT", f"/{container}", params=_CONTAINER)
        except StorageConflictError as exc:
            if exc.code != "ContainerAlreadyExists":
                raise

    async def container_exists(self, container: str) -> bool:
        try:
            await self._http.send("blob.container_exists", Service.BLOB, "HEAD", f"/{container}", params=_CONTAINER)
        except StorageNotFoundError:
            return False
        return True

    async def drop_container(self, container: str, *, lease_id: str | None = None) -> None:
        headers = {"x-ms-lease-id": lease_id} if lease_id else {}
        try:
            await self._http.send(
                "blob.drop_container", Service.BLOB, "DELETE", f"/{container}", params=_CONTAINER, headers=headers
            )
        except StorageNotFoundError:
            return

    async def upload(self, container: str, blob: str, content: bytes, *, lease_id: str | None = None) -> None:
        headers = {"x-ms-blob-type": "BlockBlob", "content-type": "application/octet-stream"}
        if lease_id:
            headers["x-ms-lease-id"] = lease_id
        await self._http.send("blob.put", Service.BLOB, "PUT", _blob_path(container, blob), headers=headers, body=content)

    async def upload_new(self, container: str, blob: str, content: bytes) -> bool:
        headers = {"x-ms-blob-type": "BlockBlob", "content-type": "application/octet-stream", "if-none-match": "*"}
        try:
            await self._http.send(
                "blob.put_new", Service.BLOB, "PUT", _blob_path(container, blob), headers=headers, body=content
            )
        except (StorageConflictError, StoragePreconditionError):
            return False
        return True

    async def download(self, container: str, blob: str) -> bytes | None:
        try:
            answer = await self._http.send("blob.get", Service.BLOB, "GET", _blob_path(container, blob))
        except StorageNotFoundError:
            return None
        return answer.body

    async def delete(self, container: str, blob: str) -> None:
        try:
            await self._http.send("blob.delete", Service.BLOB, "DELETE", _blob_path(container, blob))
        except StorageNotFoundError:
            return

    async def list(self, container: str, prefix: str, continuation: str | None = None) -> BlobPage:
        params = {**_CONTAINER, "comp": "list", "include": "metadata"}
        if prefix:
            params["prefix"] = prefix
        if continuation:
            params["marker"] = continuation
        try:
            answer = await self._http.send("blob.list", Service.BLOB, "GET", f"/{container}", params=params)
        except StorageNotFoundError:
            return BlobPage([])
        return _page(answer.body.decode("utf-8-sig", "replace"))

    async def acquire_lease(self, target: LeaseTarget, lease_id: str, seconds: int) -> None:
        headers = {"x-ms-lease-duration": str(seconds), "x-ms-proposed-lease-id": lease_id}
        await self._lease("acquire", target, headers)

    async def change_lease(self, target: LeaseTarget, lease_id: str, new_lease_id: str) -> None:
        await self._lease("change", target, {"x-ms-lease-id": lease_id, "x-ms-proposed-lease-id": new_lease_id})

    async def renew_lease(self, target: LeaseTarget, lease_id: str) -> None:
        await self._lease("renew", target, {"x-ms-lease-id": lease_id})

    async def release_lease(self, target: LeaseTarget, lease_id: str) -> None:
        await self._lease("release", target, {"x-ms-lease-id": lease_id})

    async def _lease(self, action: str, target: LeaseTarget, headers: Mapping[str, str]) -> None:
        await self._http.send(
            f"blob.lease_{action}",
            Service.BLOB,
            "PUT",
            _target_path(target),
            params=_target_params(target, _LEASE),
            headers={"x-ms-lease-action": action, **headers},
            retry=ONCE,
        )

    async def is_leased(self, target: LeaseTarget) -> bool:
        answer = await self._http.send(
            "blob.properties", Service.BLOB, "HEAD", _target_path(target), params=_target_params(target, {})
        )
        return answer.headers.get("x-ms-lease-state", "").lower() == "leased"

    def url(self, container: str, blob: str) -> str:
        return self._http.url(Service.BLOB, _blob_path(container, blob))


def _page(text: str) -> BlobPage:
    try:
        root = ET.fromstring(text)
    except ET.ParseError:
        return _page_beyond_xml(text)
    names = []
    for blob in root.iter("Blob"):
        if blob.findtext("Metadata/hdi_isfolder", "").lower() == "true":
            continue
        name = blob.find("Name")
        if name is not None and name.text:
            # The service percent-encodes names with characters that XML cannot carry.
            names.append(unquote(name.text) if name.get("Encoded") == "true" else name.text)
    return BlobPage(names, root.findtext("NextMarker") or None)


def _page_beyond_xml(text: str) -> BlobPage:
    """Read a page of which a name is no XML: it must not hide the others from purges and leases."""
    names = []
    for blob in _BLOB.findall(text):
        found = _NAME.search(blob)
        if found is not None and _FOLDER.search(blob) is None:
            names.append(unquote(found[2]) if 'Encoded="true"' in found[1] else _plain(found[2]))
    marker = _NEXT.search(text)
    return BlobPage(names, _plain(marker[1]) if marker is not None and marker[1] else None)


def _plain(escaped: str) -> str:
    return _REFERENCE.sub(_referred, escaped)


def _referred(found: re.Match[str]) -> str:
    hexadecimal, decimal, name = found.groups()
    return _NAMED[name] if name else chr(int(hexadecimal, 16) if hexadecimal else int(decimal))
