"""Queue verbs on azure-storage-queue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

from azure.storage.queue.aio import QueueServiceClient

from durable_ext.backends.azure_storage.transport.errors import StorageConflictError, StorageNotFoundError
from durable_ext.backends.azure_storage.transport.queue import MessageReceipt, QueueMessage
from durable_ext.backends.azure_storage.transport.sdk_answers import SdkAnswers

_FOREVER: Final = -1
T = TypeVar("T")


class SdkQueues:
    """`QueueVerbs` on azure-storage-queue."""

    def __init__(self, service: QueueServiceClient, answers: SdkAnswers) -> None:
        self._service, self._answers = service, answers
        self._clients: dict[str, Any] = {}

    def _client(self, queue: str) -> Any:
        client = self._clients.get(queue)
        if client is None:
            client = self._clients[queue] = self._service.get_queue_client(queue)
        return client

    async def _call(self, verb: str, queue: str, send: Callable[[], Awaitable[T]]) -> T:
        return await self._answers.call(f"queue.{verb}", f"/{queue}", send)

    async def create(self, queue: str) -> None:
        try:
            await self._call("create", queue, self._client(queue).create_queue)
        except StorageConflictError as exc:
            if exc.code != "QueueAlreadyExists":
                raise

    async def exists(self, queue: str) -> bool:
        try:
            await self._call("exists", queue, self._client(queue).get_queue_properties)
        except StorageNotFoundError:
            return False
        return True

    async def drop(self, queue: str) -> None:
        try:
            await self._call("drop", queue, self._client(queue).delete_queue)
        except StorageNotFoundError:
            return

    async def put(self, queue: str, text: str, *, invisible_for: int = 0) -> MessageReceipt:
        tries = 0

        async def send() -> Any:
            nonlocal tries
            tries += 1
            return await self._client(queue).send_message(
                text, visibility_timeout=invisible_for or None, time_to_live=_FOREVER
            )

        sent = await self._call("put", queue, send)
        return MessageReceipt(sent.id, sent.pop_receipt, may_have_twin=tries > 1)

    async def get(self, queue: str, *, count: int, visibility: int) -> list[QueueMessage]:
        async def receive() -> list[Any]:
            # One page is one call. A second one that fails would lose what the first has brought.
            pages = self._client(queue).receive_messages(messages_per_page=count, visibility_timeout=visibility).by_page()
            async for page in pages:
                return [message async for message in page]
            return []

        return [
            QueueMessage(
                message_id=message.id,
                pop_receipt=message.pop_receipt,
                text=message.content,
                dequeue_count=message.dequeue_count,
                inserted=message.inserted_on,
                next_visible=message.next_visible_on,
            )
            for message in await self._call("get", queue, receive)
        ]

    async def hide(self, queue: str, receipt: MessageReceipt, *, visibility: int, text: str | None = None) -> MessageReceipt:
        update = partial(
            self._client(queue).update_message,
            receipt.message_id,
            receipt.pop_receipt,
            content=text,
            visibility_timeout=visibility,
        )
        updated = await self._call("update", queue, update)
        return MessageReceipt(receipt.message_id, updated.pop_receipt)

    async def delete(self, queue: str, receipt: MessageReceipt) -> None:
        delete = partial(self._client(queue).delete_message, receipt.message_id, receipt.pop_receipt)
        await self._call("delete", queue, delete)
