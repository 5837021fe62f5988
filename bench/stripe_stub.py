"""What answers in Stripe's place at once, so that a server is measured and not the sandbox (which is Python,
too, and takes as long for a request as the server). It remembers nothing: each PaymentIntent is what the
request makes it, and each is paid with the same card. A second argument is the seconds that it takes for an
answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys

from bench.load import python
from bench.rows.webhooks import NUMBER, payload

CREATED = "requires_payment_method"
CAPTURED = "succeeded"
_INTENT = json.dumps(json.loads(payload())["data"]["object"]).encode()
_CARD = json.dumps(
    {
        "id": "pm_card_visa",
        "object": "payment_method",
        "billing_details": {"address": None, "email": None, "name": None, "phone": None},
        "card": {"brand": "visa", "country": "US", "exp_month": 12, "exp_year": 2034, "last4": "4242"},
        "created": 1780000000,
        "customer": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }
).encode()


class _Connection(asyncio.Protocol):
    """Keeps it open; one request after the other."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            length = _header(head, b"content-length")
            if not end or len(rest) < int(length or 0):
                return
            self._buffer = rest[int(length or 0) :]
            content = _answer(head)
            whole = (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRequest-Id: req_stub\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(content), content)
            )
            if self._delay:
                asyncio.get_running_loop().call_later(self._delay, self._transport.write, whole)
            else:
                self._transport.write(whole)


def _answer(head: bytes) -> bytes:
    _, path, _ = head.split(b" ", 2)
    parts = path.split(b"?")[0].split(b"/")[3:]  # /v1/payment_intents/<id>/capture
    if path.startswith(b"/v1/payment_methods/"):
        return _CARD
    if not parts:
        key = hashlib.md5(_header(head, b"idempotency-key"), usedforsecurity=False).hexdigest().encode()
        return _intent(b"pi_stub_" + key, CREATED, 0)
    return _intent(parts[0], CAPTURED if parts[-1] == b"capture" else CREATED, 5000)


def _intent(name: bytes, status: str, received: int) -> bytes:
    """Of a PaymentIntent of setup.sql the payment and booking are known, too, by its number."""
    number = name.removeprefix(b"pi_bench_")
    known = _INTENT if number == name else _INTENT.replace(NUMBER.encode(), number)
    return (
        known.replace(b"pi_bench_" + NUMBER.encode(), name)
        .replace(b'"status": "requires_capture"', b'"status": "%s"' % status.encode())
        .replace(b'"amount_received": 0', b'"amount_received": %d' % received)
        .replace(b'"amount_capturable": 5000', b'"amount_capturable": 0')
    )


def _header(head: bytes, name: bytes) -> bytes:
    _, found, rest = head.lower().partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip() if found else b""


def command(port: int, delay: float = 0) -> list[str]:
    """What runs it."""
    return python("-m", "bench.stripe_stub", str(port), str(delay))


async def _serve(port: int, delay: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(delay), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
