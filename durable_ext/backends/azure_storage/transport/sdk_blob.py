"""Blob verbs on azure-storage-blob."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from azure.storage.blob.aio import BlobLeaseClient, BlobServiceClient

from durable_ext.backends.azure_storage.transport.account import StorageAccount
from durable_ext.backends.azure_storage.transport.blob import BlobPage, LeaseTarget, uri_name
from durable_ext.backends.azure_storage.transport.errors import (
    StorageConflictError,
    StorageNotFoundError,
    StoragePreconditionError,
)
from durable_ext.backends.azure_storage.transport.sdk_answers import SdkAnswers

T = TypeVar("T")


class SdkBlobs:
    """`BlobVerbs` on azure-storage-blob."""

    def __init__(self, service: BlobServiceClient, account: StorageAccount, answers: SdkAnswers) -> None:
        self._service, self._root, self._answers = service, account.blob_endpoint, answers

    def _blob(self, container: str, blob: str) -> Any:
        return self._service.get_blob_client(container, uri_name(blob))

    async def _call(self, verb: str, container: str, send: Callable[[], Awaitable[T]]) -> T:
        return await self._answers.call(f"blob.{verb}", f"/{container}", send)

    async def create_container(self, container: str) -> None:
        try:
            await self._call("create_container", container, partial(self._service.create_container, container))
        except StorageConflictError as exc:
            if exc.code != "ContainerAlreadyExists":
                raise

    async def container_exists(self, container: str) -> bool:
        return bool(await self._call("container_exists", container, self._service.get_container_client(container).exists))

    async def drop_container(self, container: str, *, lease_id: str | None = None) -> None:
        drop = partial(self._service.delete_container, container, lease=lease_id)
        try:
            await self._call("drop_container", container, drop)
        except StorageNotFoundError:
            return

    async def upload(self, container: str, blob: str, content: bytes, *, lease_id: str | None = None) -> None:
        upload = partial(self._blob(container, blob).upload_blob, content, overwrite=True, lease=lease_id)
        await self._call("put", container, upload)

    async def upload_new(self, container: str, blob: str, content: bytes) -> bool:
        upload = partial(self._blob(container, blob).upload_blob, content, overwrite=False)
        try:
            await self._call("put_new", container, upload)
        except (StorageConflictError, StoragePreconditionError):
            return False
        return True

    async def download(self, container: str, blob: str) -> bytes | None:
        async def load() -> bytes:
            return bytes(await (await self._blob(container, blob).download_blob()).readall())

        try:
            return await self._call("get", container, load)
        except StorageNotFoundError:
            return None

    async def delete(self, container: str, blob: str) -> None:
        try:
            await self._call("delete", container, self._blob(container, blob).delete_blob)
        except StorageNotFoundError:
            return

    async def list(self, container: str, prefix: str, continuation: str | None = None) -> BlobPage:
        async def find() -> BlobPage:
            names: list[str] = []
            client = self._service.get_container_client(container)
            pages: Any = client.list_blobs(name_starts_with=prefix or None, include=["metadata"]).by_page(continuation)
            async for page in pages:
                async for blob in page:
                    metadata: Mapping[str, str] = blob.metadata or {}
                    if metadata.get("hdi_isfolder", "").lower() != "true":
                        names.append(blob.name)
                break
            return BlobPage(names, pages.continuation_token or None)

        try:
            return await self._call("list", container, find)
        except StorageNotFoundError:
            return BlobPage([])

    def _target(self, target: LeaseTarget) -> Any:
        if target.blob is None:
            return self._service.get_container_client(target.container)
        return self._blob(target.container, target.blob)

    def _lease(self, target: LeaseTarget, lease_id: str) -> Any:
        return BlobLeaseClient(self._target(target), lease_id=lease_id)

    async def acquire_lease(self, target: LeaseTarget, lease_id: str, seconds: int) -> None:
        acquire = partial(self._lease(target, lease_id).acquire, lease_duration=seconds)
        await self._call("lease_acquire", target.container, acquire)

    async def change_lease(self, target: LeaseTarget, lease_id: str, new_lease_id: str) -> None:
        async def change() -> None:  # the client remembers the new id: a second try needs a client with the old one
            await self._lease(target, lease_id).change(new_lease_id)

        await self._call("lease_change", target.container, change)

    async def renew_lease(self, target: LeaseTarget, lease_id: str) -> None:
        await self._call("lease_renew", target.container, self._lease(target, lease_id).renew)

    async def release_lease(self, target: LeaseTarget, lease_id: str) -> None:
        await self._call("lease_release", target.container, self._lease(target, lease_id).release)

    async def is_leased(self, target: LeaseTarget) -> bool:
        client = self._target(target)
        find = client.get_container_properties if target.blob is None else client.get_blob_properties
        properties = await self._call("properties", target.container, find)
        return str(properties.lease.state).lower() == "leased"

    def url(self, container: str, blob: str) -> str:
        return f"{self._root}/{container}/{quote(uri_name(blob), safe='/', errors='surrogatepass')}"
