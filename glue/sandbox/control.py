"""A client for the sandbox's control API, for tests and the demo."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

Obj = dict[str, Any]


class ControlError(Exception):
    """The control API refused; `status` is the HTTP status, the message names the field."""

    def __init__(self, status: int, body: Obj) -> None:
        super().__init__(str(body.get("error", body)))
        self.status = status
        self.body = body


class SandboxControl:
    """Steers the sandbox at `base_url`. Thread-safe: each call has its own connection."""

    def __init__(self, base_url: str, *, timeout: float = 150) -> None:
        parts = urlsplit(base_url)
        self.base_url = base_url.rstrip("/")
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port
        self._timeout = timeout

    def call(self, method: str, path: str, values: Mapping[str, Any] | None = None) -> Obj:
        """One control call; raises `ControlError`, or OSError when the sandbox is away."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            target, body = f"/_sandbox/{path}", None
            if method == "GET" and values:
                target += f"?{urlencode(values)}"
            elif values is not None:
                body = json.dumps(values)
            connection.request(method, target, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            result: Obj = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise ControlError(answer.status, result)
        return result

    # -- books and logs

    def reset(self) -> None:
        """As just started; the webhook endpoints stay."""
        self.call("POST", "reset")

    def books(self) -> Obj:
        """`{"payment_intents": [...], "totals": {currency: {...}}}`, amounts in minor units."""
        return self.call("GET", "books")

    def requests(
        self, *, method: str | None = None, path: str | None = None, idempotency_key: str | None = None
    ) -> list[Obj]:
        """API calls so far, oldest first. `path` is a regular expression."""
        values = {"method": method, "path": path, "idempotency_key": idempotency_key}
        rows: list[Obj] = self.call("GET", "requests", _given(values))["data"]
        return rows

    def events(self, *, type: str | None = None, object: str | None = None) -> list[Obj]:
        """Events so far, oldest first; `object` is the id of the object, its PaymentIntent or its charge."""
        rows: list[Obj] = self.call("GET", "events", _given({"type": type, "object": object}))["data"]
        return rows

    # -- clock and keys

    def now(self) -> float:
        """Sandbox time, Unix seconds."""
        return float(self.call("GET", "clock")["now"])

    def advance(self, *, seconds: float = 0, hours: float = 0, days: float = 0) -> float:
        """Move the sandbox clock ahead; holds, sessions and idempotency keys that are due lapse."""
        total = seconds + 3600 * hours + 86400 * days
        return float(self.call("POST", "clock", {"advance": total})["now"])

    def set_keys(self, *api_keys: str) -> None:
        """Accept only these keys; none: every sk_test_ key."""
        self.call("POST", "keys", {"api_keys": list(api_keys)})

    # -- faults and barriers

    def fault(
        self,
        fault: str,
        *,
        times: int = 1,
        skip: int = 0,
        probability: float = 1.0,
        method: str | None = None,
        path: str | None = None,
        path_regex: str | None = None,
        idempotency_key: str | None = None,
        body_contains: str | None = None,
        **options: Any,
    ) -> str:
        """Let the next `times` matching requests fail; see `glue.sandbox.faults` for names and options."""
        match = {
            "method": method,
            "path": path,
            "path_regex": path_regex,
            "idempotency_key": idempotency_key,
            "body_contains": body_contains,
        }
        values = {
            "fault": fault,
            "times": times,
            "skip": skip,
            "probability": probability,
            "match": _given(match),
        }
        return str(self.call("POST", "faults", {**values, **options})["id"])

    def faults(self) -> list[Obj]:
        """Faults that still wait for requests."""
        rows: list[Obj] = self.call("GET", "faults")["data"]
        return rows

    def clear_faults(self, seed: int = 0) -> None:
        """Remove all faults; `seed` starts the draw of probabilities anew."""
        self.call("DELETE", "faults", {"seed": seed})

    def barrier(self, name: str, *, when: str = "before", times: int = 1, **match_and_options: Any) -> str:
        """Hold the next `times` matching requests at a barrier, before or after they take effect."""
        return self.fault("barrier", name=name, when=when, times=times, **match_and_options)

    def wait_barrier(self, name: str, count: int = 1, timeout: float = 60) -> int:
        """Wait until `count` requests stand at the barrier; raises TimeoutError."""
        result = self.call("POST", f"barriers/{quote(name)}/wait", {"count": count, "timeout": timeout})
        if result["timed_out"]:
            raise TimeoutError(f"{result['arrived']} of {count} requests arrived at barrier {name}")
        return int(result["arrived"])

    def release_barrier(self, name: str) -> int:
        """Open the barrier; returns how many requests had arrived."""
        return int(self.call("POST", f"barriers/{quote(name)}/release")["arrived"])

    # -- webhooks

    def set_webhook(
        self, url: str | None, secret: str | Sequence[str] = (), enabled_events: Sequence[str] = ("*",)
    ) -> None:
        """The one receiver of events; None for none. Several secrets sign several times."""
        secrets = [secret] if isinstance(secret, str) else list(secret)
        endpoint = {"url": url, "secrets": secrets, "enabled_events": list(enabled_events)}
        self.set_webhooks([endpoint] if url else [])

    def set_webhooks(self, endpoints: Sequence[Mapping[str, Any]]) -> None:
        """All receivers: mappings with url, secret(s), enabled_events."""
        self.call("POST", "webhooks", {"endpoints": [dict(each) for each in endpoints]})

    def delivery(self, **settings: Any) -> Obj:
        """Change and show the settings of the delivery; see `glue.sandbox.delivery.Config`."""
        result: Obj = self.call("POST", "delivery", settings)["settings"]
        return result

    def delivery_status(self) -> Obj:
        """`{"idle", "queued", "in_flight", "held", "retrying", "settings"}`."""
        return self.call("GET", "delivery")

    def delivery_log(self) -> list[Obj]:
        """Attempts so far: event, type, url, attempt, status, error."""
        rows: list[Obj] = self.call("GET", "delivery/log")["data"]
        return rows

    def hold(self) -> None:
        """Hold all events from now on."""
        self.delivery(mode="held")

    def held(self) -> list[Obj]:
        """Events that are held, in Stripe's order."""
        rows: list[Obj] = self.call("GET", "delivery/held")["data"]
        return rows

    def release(self, order: Sequence[str] | None = None, *, shuffle_seed: int | None = None) -> int:
        """Send held events: all, all shuffled, or exactly `order` (ids, repeated as you like)."""
        values = {"order": None if order is None else list(order), "shuffle_seed": shuffle_seed}
        return int(self.call("POST", "delivery/release", values)["released"])

    def redeliver(self, event_id: str, copies: int = 1) -> None:
        """Send an event again, whatever the mode."""
        self.call("POST", f"events/{event_id}/deliver", {"copies": copies})

    def retry_now(self) -> int:
        """Make every scheduled retry due at once; returns how many there are."""
        return int(self.call("POST", "delivery/retry")["retrying"])

    def wait_idle(self, timeout: float = 60, *, retries: bool = True) -> None:
        """Wait until every event was delivered (held ones do not count); raises TimeoutError.

        With retries=False, until every event was tried: what the receiver refused may still be waiting.
        """
        status = self.call("POST", "delivery/wait", {"timeout": timeout, "retries": retries})
        if not status["idle"]:
            raise TimeoutError(f"webhooks still on the way: {status}")

    # -- what customers and banks do

    def authenticate(self, payment_intent: str, *, succeed: bool = True) -> Obj:
        """Finish 3-D Secure of a PaymentIntent in requires_action."""
        return self._outcome(f"payment_intents/{payment_intent}/authenticate", succeed)

    def settle(self, payment_intent: str, *, succeed: bool = True) -> Obj:
        """The bank's answer for a PaymentIntent in processing."""
        return self._outcome(f"payment_intents/{payment_intent}/settle", succeed)

    def lapse(self, payment_intent: str, *, cancel: bool = True) -> Obj:
        """Let a hold lapse now. With cancel=False Stripe only notices at the next capture."""
        return self.call("POST", f"payment_intents/{payment_intent}/lapse", {"cancel": cancel})

    def fail_refund(self, refund: str, reason: str = "expired_or_canceled_card") -> Obj:
        """The bank sends a refund back."""
        return self.call("POST", f"refunds/{refund}/fail", {"reason": reason})

    def succeed_refund(self, refund: str) -> Obj:
        """A refund that is pending, or waits for the customer, arrives."""
        return self.call("POST", f"refunds/{refund}/succeed")

    def require_refund_action(self, refund: str) -> Obj:
        """A pending refund waits for the customer, who has to say where the money shall go."""
        return self.call("POST", f"refunds/{refund}/require_action")

    def cancel_refund(self, refund: str) -> Obj:
        """The customer never says so: a refund that waits for him is canceled."""
        return self.call("POST", f"refunds/{refund}/cancel")

    def dispute(
        self,
        *,
        payment_intent: str | None = None,
        charge: str | None = None,
        amount: int | None = None,
        reason: str = "fraudulent",
        status: str = "needs_response",
    ) -> Obj:
        """Open a dispute (or, with status warning_needs_response, an inquiry) on a captured charge."""
        values = {"payment_intent": payment_intent, "charge": charge, "amount": amount}
        return self.call("POST", "disputes", {**_given(values), "reason": reason, "status": status})

    def close_dispute(self, dispute: str, outcome: str) -> Obj:
        """Close as won or lost."""
        return self.call("POST", f"disputes/{dispute}/close", {"outcome": outcome})

    def pay_session(
        self, session: str, payment_method: str = "pm_card_visa", email: str = "customer@example.com"
    ) -> Obj:
        """Pay on the hosted page; a declined card raises `ControlError` 402 and leaves the session open."""
        values = {"payment_method": payment_method, "email": email}
        return self.call("POST", f"checkout/sessions/{session}/pay", values)

    def _outcome(self, path: str, succeed: bool) -> Obj:
        return self.call("POST", path, {"outcome": "succeed" if succeed else "fail"})


def _given(values: Mapping[str, Any]) -> Obj:
    return {key: value for key, value in values.items() if value is not None}
