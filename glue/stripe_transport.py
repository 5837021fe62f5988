"""How requests reach Stripe: stripe-python's extension point, on libcurl.

stripe-python's own clients have one fixed timeout and, with requests, a connection pool per thread and
several times the processor time; a payment call needs a bound on its total time, and threads share
connections. libcurl's timeout bounds all of it: name, connection, TLS, and an answer that drips.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import pycurl
import stripe

# stripe-python's telemetry leaves an id in the home folder and sends it along; a payment server does neither.
stripe.enable_telemetry = False


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came back. The names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StripeTransport(stripe.HTTPClient):
    """Sends requests; whether one is sent again is the caller's matter. Safe to share between threads.

    ``timeout`` bounds one request in seconds, ``connections`` how many are kept open for the next ones.
    ``clock`` counts seconds.
    """

    name = "pycurl"

    def __init__(
        self, api_base: str, *, timeout: float, connections: int, clock: Callable[[], float]
    ) -> None:
        super().__init__()
        self._timeout = timeout
        self._connections = connections
        self._clock = clock
        self._local = threading.local()
        address = urlsplit(api_base)
        is_direct = proxy_bypass(address.hostname or "")
        self._via = "" if is_direct else getproxies().get(address.scheme, "")
        self._idle: list[pycurl.Curl] = []
        self._is_closed = False

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Everything that this thread sends inside must be answered within so many seconds."""
        self._local.until = self._clock() + seconds
        try:
            yield
        finally:
            del self._local.until

    def remaining(self) -> float:
        """Seconds left to this thread's call."""
        until: float = self._local.until
        return until - self._clock()

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[str, int, Mapping[str, str]]:
        left = min(self._timeout, self.remaining())
        if left <= 0:
            raise lost("the time allowed for this call is used up")
        came = self.exchange(method, url, headers or {}, post_data, left)
        text = came.body.decode("utf-8", "replace")
        if came.status >= 400 and not _is_stripes_error(text):
            # A proxy's page, say. stripe-python would drop its headers, or stumble.
            text = json.dumps(
                {"error": {"type": "api_error", "message": "an answer without an error object"}}
            )
        return text, came.status, came.headers

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: str | bytes | None, seconds: float
    ) -> Exchange:
        """One request, GET or POST, and its whole answer, in at most so many seconds.

        When a connection that was kept turns out to be dead before anything came, libcurl sends the same once
        more on a new one: with the same idempotency key, like every repeat.

        Raises stripe.APIConnectionError.
        """
        lines = [*(f"{name}: {value}" for name, value in headers.items()), "Expect:"]
        if not all(line.isascii() and line.isprintable() for line in lines):
            raise lost("a header that cannot be sent")
        # The one that was idle last: its connection is the least likely to have been closed.
        try:
            curl = self._idle.pop()
        except IndexError:
            curl = self._opened()
        content, head = bytearray(), list[bytes]()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.HTTPHEADER, lines)
        if method == "get":
            curl.setopt(pycurl.HTTPGET, 1)
        else:
            assert method == "post"
            curl.setopt(pycurl.POSTFIELDS, body or "")
        curl.setopt(pycurl.TIMEOUT_MS, max(1, int(seconds * 1000)))  # 0 would be no bound
        curl.setopt(pycurl.WRITEFUNCTION, content.extend)
        curl.setopt(pycurl.HEADERFUNCTION, head.append)
        try:
            curl.perform()
            return Exchange(curl.getinfo(pycurl.RESPONSE_CODE), _headers(head), bytes(content))
        except pycurl.error as error:
            raise lost(_told(error)) from error
        finally:
            # The handle holds on to them until its next request: a client_secret would stay in memory.
            content.clear()
            head.clear()
            self._keep(curl)

    def close(self) -> None:
        """Close the idle connections; those in use are closed after it."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()

    def _opened(self) -> pycurl.Curl:
        """A handle, which holds on to its connection."""
        curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)  # threads
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)  # one request at a time
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.CAINFO, stripe.ca_bundle_path)
        curl.setopt(pycurl.PROXY_CAINFO, stripe.ca_bundle_path)
        # Whether there is a proxy is decided: what libcurl itself finds in the environment does not count.
        curl.setopt(pycurl.PROXY, self._via)
        curl.setopt(pycurl.NOPROXY, "")
        return curl

    def _keep(self, curl: pycurl.Curl) -> None:
        if self._is_closed or len(self._idle) >= self._connections:
            curl.close()
        else:
            self._idle.append(curl)


def lost(message: str) -> stripe.APIConnectionError:
    """There is no answer that could be used."""
    return stripe.APIConnectionError(message)  # type: ignore[no-untyped-call]


def _told(error: pycurl.error) -> str:
    """Hosts, ports and numbers. An address as it was configured (a proxy's) may hold a password."""
    text = str(error.args[-1])
    return f"curl {error.args[0]}: {'an address that cannot be used' if '://' in text else text}"


def _headers(lines: Iterable[bytes]) -> dict[str, str]:
    """Of the last answer: an interim one (1xx), or a proxy's, may have come before it."""
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            found.clear()
            continue
        name, is_header, value = line.decode("latin-1").partition(":")
        if is_header:
            found[name.lower()] = value.strip()
    return found


def _is_stripes_error(text: str) -> bool:
    try:
        return isinstance(json.loads(text)["error"], dict)
    except (ValueError, TypeError, KeyError):
        return False
