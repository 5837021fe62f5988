"""What the sandbox tests share: a webhook receiver and a few shorthands."""

from __future__ import annotations

import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import stripe

SECRET = "whsec_sandbox_test"


class Receiver:
    """A webhook endpoint that verifies signatures with stripe-python and keeps what came."""

    def __init__(self, secret: str = SECRET) -> None:
        self.secret = secret
        self.events: list[stripe.Event] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.refused = 0
        self.statuses: deque[int] = deque()
        self.lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver.receive(body, dict(self.headers.items())))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def receive(self, body: bytes, headers: dict[str, str]) -> int:
        with self.lock:
            if self.statuses:
                self.refused += 1
                return self.statuses.popleft()
            event = stripe.Webhook.construct_event(body, headers["Stripe-Signature"], self.secret)
            self.events.append(event)
            self.bodies.append(body)
            self.headers.append(headers)
            return 200

    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def clear(self) -> None:
        with self.lock:
            self.secret = SECRET
            self.events, self.bodies, self.headers, self.refused = [], [], [], 0
            self.statuses.clear()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Payments:
    """Payments through stripe-python."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self.client = client

    def intent(self, amount: int = 5000, capture: Any = "manual", **more: Any) -> stripe.PaymentIntent:
        values: Any = {"amount": amount, "currency": "usd", "capture_method": capture, **more}
        return self.client.v1.payment_intents.create(values)

    def confirm(self, intent_id: str, method: str = "pm_card_visa") -> stripe.PaymentIntent:
        return self.client.v1.payment_intents.confirm(intent_id, {"payment_method": method})

    def held(self, amount: int = 5000, method: str = "pm_card_visa", **more: Any) -> stripe.PaymentIntent:
        return self.confirm(self.intent(amount, **more).id, method)

    def paid(self, amount: int = 5000, method: str = "pm_card_visa", **more: Any) -> stripe.PaymentIntent:
        return self.confirm(self.intent(amount, "automatic", **more).id, method)
