"""Other people's systems at the byte level: App Service's token endpoint, and a certificate that its owner signed."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SECRET = "header-secret"


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 and its key as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    return paths


def storage_token(*, lives: timedelta) -> str:
    """Return a token with the claims that storage looks at; nobody has signed it."""
    now = int(time.time())
    claims = {
        "aud": "https://storage.azure.com",
        "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/",
        "iat": now - 3600,
        "nbf": now - 3600,
        "exp": now + int(lives.total_seconds()),
    }
    parts = (json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, b"signature"))


@dataclass(kw_only=True)
class TokenEndpoint:
    """Hands out tokens as App Service does.

    Attributes:
        lives: How long a token is valid.
        answers: Whether tokens are to be had.
        requests: Queries so far.
    """

    uri: str = ""
    lives: timedelta = timedelta(hours=1)
    answers: bool = True
    requests: list[dict[str, list[str]]] = field(default_factory=list)


@contextlib.contextmanager
def token_endpoint() -> Iterator[TokenEndpoint]:
    """Serve tokens on a free port; `IDENTITY_ENDPOINT` is its `uri`, `IDENTITY_HEADER` is `SECRET`."""
    endpoint = TokenEndpoint()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            endpoint.requests.append(query)
            body: dict[str, Any] = {"error": "invalid_request"}
            right = (
                endpoint.answers
                and self.headers["X-IDENTITY-HEADER"] == SECRET
                and query["resource"] == ["https://storage.azure.com"]
            )
            if right:
                expires = str(int(time.time() + endpoint.lives.total_seconds()))
                token = storage_token(lives=endpoint.lives)
                body = {
                    "access_token": token,
                    "expires_on": expires,
                    "resource": query["resource"][0],
                    "token_type": "Bearer",
                }
            content = json.dumps(body).encode()
            self.send_response(200 if right else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = Thread(target=server.serve_forever)
    thread.start()
    endpoint.uri = f"http://127.0.0.1:{server.server_address[1]}/msi/token"
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
