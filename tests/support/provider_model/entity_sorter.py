"""Puts the messages between orchestrations and entities in order (specs/azure-storage.md 10.6)."""

from __future__ import annotations

from typing import Any, Final

from support.provider_model.dotnet import MINIMUM, MINUTE, SECOND, ticks, time_text

WINDOW: Final = 30 * MINUTE
Request = dict[str, Any]


def stamp_of(request: Request, member: str) -> int:
    """Return a stamp of a request; the first moment of time = none."""
    return ticks(request.get(member, MINIMUM), utc=False)


class Sorter:
    """The ordering state of one sender and receiver, as its JSON has it."""

    def __init__(self, document: dict[str, Any] | None = None) -> None:
        document = document or {}
        self._sent = {key: ticks(text, utc=False) for key, text in document.get("LastSentToInstance", {}).items()}
        self._received: dict[str, dict[str, Any]] = {}
        for key, entry in document.get("ReceivedFromInstance", {}).items():
            held = {ticks(text, utc=False): request for text, request in entry.get("Buffered", {}).items()}
            last = ticks(entry.get("Last", MINIMUM), utc=False)
            self._received[key] = {"Last": last, "ExecutionId": entry.get("ExecutionId"), "Buffered": held}
        self._receive_horizon = ticks(document.get("ReceiveHorizon", MINIMUM), utc=False)
        self._send_horizon = ticks(document.get("SendHorizon", MINIMUM), utc=False)

    def document(self) -> dict[str, Any]:
        """Return the JSON value; what is empty is left out."""
        written: dict[str, Any] = {}
        if self._sent:
            written["LastSentToInstance"] = {key: time_text(last) for key, last in self._sent.items()}
        if self._received:
            written["ReceivedFromInstance"] = {key: _entry(entry) for key, entry in self._received.items()}
        if self._receive_horizon:
            written["ReceiveHorizon"] = time_text(self._receive_horizon)
        if self._send_horizon:
            written["SendHorizon"] = time_text(self._send_horizon)
        return written

    def label(self, request: Request, to: str, now: int) -> None:
        """Stamp what is about to be sent."""
        if self._send_horizon + WINDOW + 10 * SECOND < now:
            self._send_horizon = now - WINDOW
            self._sent = {key: last for key, last in self._sent.items() if last >= self._send_horizon}
        last = self._sent.get(to, 0)
        stamp = max(now, last + 1)
        request["Timestamp"], request["Predecessor"] = time_text(stamp), time_text(last) if last else MINIMUM
        self._sent[to] = stamp

    def receive(self, request: Request) -> list[Request]:
        """Return what may be delivered now, in order."""
        stamp = stamp_of(request, "Timestamp")
        if not request.get("parent") or request.get("due") or request.get("pos", 0) > 0 or not stamp:
            return [request]
        delivered: list[Request] = []
        if self._receive_horizon + WINDOW + 10 * SECOND < stamp:
            self._receive_horizon = stamp - WINDOW
            self._advance(delivered)
        if stamp < self._receive_horizon:
            return [*delivered, request]
        fresh: dict[str, Any] = {"Last": 0, "ExecutionId": request.get("parentExecution"), "Buffered": {}}
        entry = self._received.setdefault(request["parent"], fresh)
        if entry["ExecutionId"] != request.get("parentExecution"):
            delivered += [held for _, held in sorted(entry["Buffered"].items())]
            entry |= {"Last": 0, "ExecutionId": request.get("parentExecution"), "Buffered": {}}
        if stamp <= entry["Last"]:
            return delivered
        before = stamp_of(request, "Predecessor")
        if before > entry["Last"] and before >= self._receive_horizon:
            entry["Buffered"][stamp] = request
            return delivered
        delivered.append(request)
        entry["Last"] = stamp
        self._release(entry, delivered)
        return delivered

    def _advance(self, delivered: list[Request]) -> None:
        for key, entry in list(self._received.items()):
            if entry["Last"] < self._receive_horizon:
                entry["Last"] = 0
            self._release(entry, delivered)
            if not entry["Last"] and not entry["Buffered"]:
                del self._received[key]

    def _release(self, entry: dict[str, Any], delivered: list[Request]) -> None:
        for stamp, request in sorted(entry["Buffered"].items()):
            before = stamp_of(request, "Predecessor")
            if before <= entry["Last"] or before < self._receive_horizon:
                delivered.append(request)
                entry["Last"] = stamp
                del entry["Buffered"][stamp]


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    written = {"Last": time_text(entry["Last"]) if entry["Last"] else MINIMUM, "ExecutionId": entry["ExecutionId"]}
    held = {time_text(stamp): request for stamp, request in entry["Buffered"].items()}
    return {key: value for key, value in written.items() if value is not None} | ({"Buffered": held} if held else {})
