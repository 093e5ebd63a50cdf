"""Management URLs and the JSON of the durable client binding (specs/http-api.md 8); know no request and no server."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import quote_plus, urlsplit, urlunsplit

from durable_ext.core.instance_ids import check_whole_characters

WEBHOOK_PATH = "/runtime/webhooks/durabletask"
DEFAULT_CONNECTION = "Storage"
INSTANCE_PLACEHOLDER = "INSTANCEID"


def form_encode(text: str) -> str:
    """Encode as .NET's form-style UrlEncode: space is `+`, only letters, digits and `-_.!*()` stay."""
    return quote_plus(text, safe="!*()").replace("~", "%7E")


def path_encode(text: str) -> str:
    """Encode a path segment: as `form_encode`, but a space is `%20`, since a `+` in a path is a plus sign."""
    return form_encode(text).replace("+", "%20")


def origin_of(url: str) -> str:
    """Return `scheme://authority` of an absolute URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagementUrls:
    """Where the management API of a task hub is reached.

    Attributes:
        base_url: Absolute URL of the API without trailing slash, e.g. `http://localhost:7071/runtime/webhooks/durabletask`.
        task_hub: Hub named in the links.
        connection: Connection name in the links.
        required_query: What every link has to carry besides, e.g. `code=...`; empty if nothing.
        rpc_base_url: Base that a client in this machine may use without a key; ends with `/`. `None` = none.
    """

    base_url: str
    task_hub: str
    connection: str = DEFAULT_CONNECTION
    required_query: str = ""
    rpc_base_url: str | None = None

    def at_origin(self, origin: str) -> ManagementUrls:
        """Return the same URLs under another `scheme://authority` (the one a request was sent to)."""
        parts = urlsplit(self.base_url)
        target = urlsplit(origin)
        base_url = urlunsplit((target.scheme, target.netloc, parts.path, "", ""))
        return ManagementUrls(
            base_url=base_url,
            task_hub=self.task_hub,
            connection=self.connection,
            required_query=self.required_query,
            rpc_base_url=self.rpc_base_url,
        )

    def links(self, instance_id: str) -> dict[str, str]:
        """Return the management links of an instance, all of them, in the order of the client binding.

        `{eventName}` and `{text}` stay as placeholders for the reader to fill.

        Raises:
            InvalidArgumentError: The id holds half a character.
        """
        check_whole_characters("instance_id", "The instance id", instance_id)
        prefix = f"{self.base_url}/instances/{path_encode(instance_id)}"
        suffix = f"taskHub={form_encode(self.task_hub)}&connection={form_encode(self.connection)}"
        if self.required_query:
            suffix += f"&{self.required_query}"
        return {
            "id": instance_id,
            "statusQueryGetUri": f"{prefix}?{suffix}",
            "sendEventPostUri": f"{prefix}/raiseEvent/{{eventName}}?{suffix}",
            "terminatePostUri": f"{prefix}/terminate?reason={{text}}&{suffix}",
            "rewindPostUri": f"{prefix}/rewind?reason={{text}}&{suffix}",
            "purgeHistoryDeleteUri": f"{prefix}?{suffix}",
            "restartPostUri": f"{prefix}/restart?{suffix}",
            "suspendPostUri": f"{prefix}/suspend?reason={{text}}&{suffix}",
            "resumePostUri": f"{prefix}/resume?reason={{text}}&{suffix}",
        }

    def check_status_links(self, instance_id: str) -> dict[str, str]:
        """Return the links of a start response: those of `links()` without rewind (specs/http-api.md 5.3.1)."""
        links = self.links(instance_id)
        del links["rewindPostUri"]
        return links

    def client_binding(self) -> str:
        """Return the JSON text that a `durableClient` binding hands to function code (specs/http-api.md 8.1)."""
        query = f"?{self.required_query}" if self.required_query else ""
        wait = f"&{self.required_query}" if self.required_query else ""
        create = f"{self.base_url}/orchestrators/{{functionName}}[/{{instanceId}}]"
        payload = {
            "taskHubName": self.task_hub,
            "connectionName": None,
            "creationUrls": {
                "createNewInstancePostUri": f"{create}{query}",
                "createAndWaitOnNewInstancePostUri": (
                    f"{create}?timeout={{timeoutInSeconds}}&pollingInterval={{intervalInSeconds}}{wait}"
                ),
            },
            "managementUrls": self.links(INSTANCE_PLACEHOLDER),
            "baseUrl": self.base_url,
            "requiredQueryStringParameters": self.required_query,
            "rpcBaseUrl": self.rpc_base_url,
        }
        return json.dumps(payload, separators=(",", ":"))
