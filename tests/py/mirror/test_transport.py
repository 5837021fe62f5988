"""How a request gets to Stripe and back: encryption, proxies, and what is never sent or told."""

from __future__ import annotations

import gc
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from types import BuiltinMethodType
from typing import Any

import pytest
import stripe
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from glue.stripe_transport import StripeTransport, _headers
from tests.py.mirror.scripted import Reply, Scripted, scripted_server

PATH = "/v1/payment_intents/pi_1"


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as script:
        yield script


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has."""
    monkeypatch.setenv("no_proxy", "*")


def get(base: str, **headers: str) -> tuple[str, int]:
    transport = StripeTransport(base, timeout=10, connections=1, clock=time.monotonic)
    try:
        with transport.within(10):
            text, status, _ = transport.request("get", base + PATH, headers)
        return text, status
    finally:
        transport.close()


@contextmanager
def encrypted(folder: Path, name: str) -> Iterator[str]:
    """A server with a certificate of its own, for that address; it is in folder/certificate.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody's")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    own = folder / "certificate.pem"
    own.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    both = folder / "both.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both.write_bytes(own.read_bytes() + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):  # closed at the end; or the client does not trust us
                while True:
                    plain, _ = listening.accept()
                    with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
                        connection.recv(65536)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_who_is_not_known_to_our_bundle_is_not_talked_to(tmp_path: Path) -> None:
    with (
        encrypted(tmp_path, "127.0.0.1") as base,
        pytest.raises(stripe.APIConnectionError, match=r"curl 60: .*certificate"),
    ):
        get(base)


def test_who_is_known_to_our_bundle_is_talked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with encrypted(tmp_path, "127.0.0.1") as base:
        monkeypatch.setattr(stripe, "ca_bundle_path", str(tmp_path / "certificate.pem"))
        assert get(base) == ("{}", 200)


def test_a_certificate_for_another_address_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with encrypted(tmp_path, "192.0.2.1") as base:
        monkeypatch.setattr(stripe, "ca_bundle_path", str(tmp_path / "certificate.pem"))
        with pytest.raises(stripe.APIConnectionError, match="curl 60: "):
            get(base)


@pytest.mark.parametrize("scheme", ["http", "strange"])
def test_a_proxys_password_is_not_told(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("http_proxy", f"{scheme}://user:secret pw@127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(stripe.APIConnectionError) as lost:
        get("http://stripe.invalid")
    assert "curl " in str(lost.value)
    assert "secret" not in str(lost.value)


@pytest.mark.parametrize("exempt", ["stripe.invalid", "*"])
def test_an_address_without_a_proxy_is_asked_itself(
    server: Scripted, monkeypatch: pytest.MonkeyPatch, exempt: str
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", exempt)
    server.say(Reply())
    with pytest.raises(stripe.APIConnectionError, match=r"stripe\.invalid"):
        get("http://stripe.invalid")
    assert server.seen == []


def test_whether_there_is_a_proxy_is_decided_once(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """libcurl would exempt a network; Python does not, and it is Python that decides."""
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "192.0.2.0/24")
    server.say(Reply())
    assert get("http://192.0.2.1") == ("{}", 200)
    assert server.seen[0].path == "http://192.0.2.1" + PATH


@pytest.mark.parametrize("value", ["key\n", "key\r\nX-Other: 1", "k\0ey", "k\u00e9y"])
def test_a_header_that_is_more_than_one_is_not_sent(server: Scripted, value: str) -> None:
    server.say(Reply())
    with pytest.raises(stripe.APIConnectionError, match="header") as lost:
        get(server.url, Authorization=value)
    assert "key" not in str(lost.value)
    assert server.seen == []


def test_no_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "v1" / "payment_intents").mkdir(parents=True)
    (tmp_path / "v1" / "payment_intents" / "pi_1").write_text("{}")
    with pytest.raises(stripe.APIConnectionError, match="curl 1: "):
        get(f"file://{tmp_path}")


def test_headers_are_those_of_the_last_answer() -> None:
    came = [b"HTTP/1.1 103 Early: Hints\r\n", b"Retry-After: 7\r\n", b"\r\n", b"HTTP/1.1 200 O: K\r\n"]
    assert _headers([*came, b"Request-Id:  req_1 \r\n", b"\r\n"]) == {"request-id": "req_1"}


def test_an_idle_connection_keeps_nothing_of_the_answer(server: Scripted) -> None:
    server.say(Reply(body={"client_secret": "pi_1_secret_x"}))
    transport = StripeTransport(server.url, timeout=10, connections=1, clock=time.monotonic)
    try:
        with transport.within(10):
            text, _, headers = transport.request("get", server.url + PATH, {})
        assert "pi_1_secret_x" in text
        assert headers
        (idle,) = transport._idle
        callbacks = [each for each in gc.get_referents(idle) if isinstance(each, BuiltinMethodType)]
        kept: list[Any] = [each.__self__ for each in callbacks]
        assert sorted(kept, key=repr) == [[], bytearray()]  # lines of the header, the body
    finally:
        transport.close()
