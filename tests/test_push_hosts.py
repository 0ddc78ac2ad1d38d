"""Where pushes go, and where they never do: an address that users give must not lead inside."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flask import Flask
from flask.testing import FlaskClient

import push
from tests.conftest import Account
from tests.pushes import SETTINGS, endpoints, notify, subscribe

PUBLIC = "93.184.216.34"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """An app that pushes."""
    return make_app(**SETTINGS)


# Where nothing is sent


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::1",
        "2001:db8::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
    ],
)
def test_host_at_a_private_address_is_never_connected_to(
    app: Flask, client: FlaskClient, ann: Account, monkeypatch: Any, address: str
) -> None:
    tried: list[Any] = []
    monkeypatch.setattr(push.socket, "create_connection", lambda *a, **k: tried.append(a))
    subscribe(client, ann)
    for found in ([address], [PUBLIC, address], []):
        resolve_to(monkeypatch, *found)
        with pytest.raises(push.NotPublic):
            push.GuardedSession().post("https://push.test/1", b"x", {}, None)
        assert not push.is_public(address)
    notify(app, ann)
    assert tried == []
    assert endpoints(app, ann) == []


def resolve_to(monkeypatch: Any, *addresses: str) -> None:
    """Let every push service be at these addresses; our database is found as ever."""
    found = [(0, 0, 0, "", (address, 443)) for address in addresses]
    fake = type("Socket", (), {"getaddrinfo": lambda *_, **__: found})
    for name in ("create_connection", "SOCK_STREAM", "SHUT_RDWR"):
        setattr(fake, name, staticmethod(getattr(push.socket, name)) if name[0] == "c" else 1)
    monkeypatch.setattr(push, "socket", fake)


@pytest.mark.parametrize("address", [PUBLIC, "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_public_address_is_fine(address: str) -> None:
    assert push.is_public(address)


# The way out, to a server of our own


class TlsServer:
    """Answers each connection with `answer`, or byte by byte without end when it is None."""

    def __init__(self, folder: Path, name: str = "push.test") -> None:
        self.answer: bytes | None = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
        self.received: list[bytes] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.pem = folder / "tls.pem"
        make_certificate(self.pem, name)
        self.context.load_cert_chain(self.pem)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            with suppress(OSError), self.context.wrap_socket(plain, server_side=True) as peer:
                received = b""
                while not received.endswith(b"body"):
                    received += peer.recv(4096)
                self.received.append(received)
                if self.answer is not None:
                    peer.sendall(self.answer)
                else:
                    for byte in b"HTTP/1.1 201 " + b"x" * 1000:
                        peer.sendall(bytes([byte]))
                        time.sleep(0.05)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


def make_certificate(path: Path, name: str) -> None:
    """A certificate of `name`, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)


@pytest.fixture
def tls_server(tmp_path: Path, monkeypatch: Any) -> Iterator[TlsServer]:
    """A push service at `push.test`, which passes for public."""
    server = TlsServer(tmp_path)
    monkeypatch.setattr(push, "TLS", ssl.create_default_context(cafile=str(server.pem)))
    monkeypatch.setattr(push, "PORT", server.port)
    monkeypatch.setattr(push, "public_addresses", lambda host: ["127.0.0.1"])
    yield server
    server.close()


def post(host: str = "push.test") -> int:
    return push.GuardedSession().post(f"https://{host}/a?b=c", b"body", {"ttl": "1"}, None)[0]


def test_post_arrives_whole(tls_server: TlsServer) -> None:
    assert post() == 201
    assert tls_server.received[0].startswith(b"POST /a?b=c HTTP/1.1\r\nHost: push.test")
    assert b"ttl: 1\r\n" in tls_server.received[0]


def test_redirect_is_not_followed(tls_server: TlsServer) -> None:
    tls_server.answer = (
        b"HTTP/1.1 307 Elsewhere\r\nLocation: https://push.test/b\r\nContent-Length: 0\r\n\r\n"
    )
    assert post() == 307
    assert len(tls_server.received) == 1


def test_vast_answer_is_not_read(tls_server: TlsServer) -> None:
    tls_server.answer = b"HTTP/1.1 201 Created\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 9999
    assert post() == 201


def test_certificate_must_be_that_of_the_host(tls_server: TlsServer) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        post("other.test")
    assert tls_server.received == []


def test_next_address_is_tried(tls_server: TlsServer, monkeypatch: Any) -> None:
    monkeypatch.setattr(push, "public_addresses", lambda host: ["127.0.0.2", "127.0.0.1"])
    assert post() == 201


def test_service_that_dawdles_is_left(tls_server: TlsServer, monkeypatch: Any) -> None:
    tls_server.answer = None
    monkeypatch.setattr(push, "SECONDS", 0.5)
    start = time.monotonic()
    with pytest.raises((OSError, ValueError, push.http.client.HTTPException)):
        post()
    assert time.monotonic() - start < 5
