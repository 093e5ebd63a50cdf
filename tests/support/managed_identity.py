"""Other people's systems at the byte level: App Service's token endpoint, and a certificate that its owner signed."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
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
        resource: What tokens are handed out for.
        lives: How long a token is valid.
        answers: Whether tokens are to be had.
        requests: Queries so far.
        handed_out: The last token.
    """

    uri: str = ""
    resource: str = "https://storage.azure.com"
    lives: timedelta = timedelta(hours=1)
    answers: bool = True
    requests: list[dict[str, list[str]]] = field(default_factory=list)
    handed_out: str = ""


@dataclass(kw_only=True)
class LoginService:
    """Hands out tokens to applications as Entra ID does; `requests` are paths and forms so far."""

    uri: str = ""
    requests: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    handed_out: str = ""


@contextlib.contextmanager
def token_endpoint() -> Iterator[TokenEndpoint]:
    """Serve tokens on a free port; `IDENTITY_ENDPOINT` is its `uri`, `IDENTITY_HEADER` is `SECRET`."""
    endpoint = TokenEndpoint()

    class Answer(_Answer):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            endpoint.requests.append(query)
            known = self.headers["X-IDENTITY-HEADER"] == SECRET and query["resource"] == [endpoint.resource]
            if not (endpoint.answers and known):
                self.send_json(400, {"error": "invalid_request"})
                return
            endpoint.handed_out = storage_token(lives=endpoint.lives)
            expires = str(int(time.time() + endpoint.lives.total_seconds()))
            body = {"access_token": endpoint.handed_out, "expires_on": expires, "token_type": "Bearer"}
            self.send_json(200, {**body, "resource": endpoint.resource})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    endpoint.uri = f"http://127.0.0.1:{server.server_address[1]}/msi/token"
    with _serving(server):
        yield endpoint


@contextlib.contextmanager
def login_service(certificate: Path, key: Path) -> Iterator[LoginService]:
    """Serve logins of applications on a free port; `AZURE_AUTHORITY_HOST` is its `uri`."""
    service = LoginService()

    class Answer(_Answer):
        def do_POST(self) -> None:
            service.requests.append((self.path, parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())))
            service.handed_out = storage_token(lives=timedelta(hours=1))
            self.send_json(200, {"access_token": service.handed_out, "expires_in": 3600, "token_type": "Bearer"})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    service.uri = f"https://127.0.0.1:{server.server_address[1]}"
    with _serving(server):
        yield service


class _Answer(BaseHTTPRequestHandler):
    def send_json(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        return


@contextlib.contextmanager
def _serving(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
