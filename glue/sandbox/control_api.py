"""The endpoints under /_sandbox/ that steer the sandbox. JSON in, JSON out, no key needed.

Refused input answers 400 `{"error": "field: what is wrong"}`; unknown ids 404.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from glue.sandbox import checkout, disputes, payment_intents, refunds
from glue.sandbox.api import Api, Request, Response, barrier_name
from glue.sandbox.books import books
from glue.sandbox.delivery import Endpoint
from glue.sandbox.errors import Obj, StripeError
from glue.sandbox.faults import BadFault, parse

PREFIX = "/_sandbox/"
DISPUTE_STATUSES = ("needs_response", "warning_needs_response")


class BadInput(ValueError):
    """Refused input; the message names the field."""


class Control:
    """The control API of one `Api`."""

    def __init__(self, api: Api) -> None:
        self._api = api
        routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("GET", "health", self._health),
            ("POST", "reset", self._reset),
            ("GET", "books", self._books),
            ("GET", "requests", self._requests),
            ("GET", "clock", self._clock),
            ("POST", "clock", self._advance),
            ("GET", "keys", self._keys),
            ("POST", "keys", self._set_keys),
            ("GET", "faults", self._faults),
            ("POST", "faults", self._add_fault),
            ("DELETE", "faults", self._clear_faults),
            ("POST", "barriers/{}", self._set_barrier),
            ("POST", "barriers/{}/wait", self._wait_barrier),
            ("POST", "barriers/{}/release", self._release_barrier),
            ("GET", "webhooks", self._webhooks),
            ("POST", "webhooks", self._set_webhooks),
            ("GET", "delivery", self._delivery),
            ("POST", "delivery", self._configure_delivery),
            ("POST", "delivery/release", self._release),
            ("POST", "delivery/retry", self._retry),
            ("POST", "delivery/wait", self._wait),
            ("GET", "delivery/log", self._delivery_log),
            ("GET", "delivery/held", self._held),
            ("POST", "events/{}/deliver", self._redeliver),
            ("GET", "events", self._events),
            ("POST", "payment_intents/{}/authenticate", self._authenticate),
            ("POST", "payment_intents/{}/settle", self._settle),
            ("POST", "payment_intents/{}/lapse", self._lapse),
            ("POST", "refunds/{}/fail", self._fail_refund),
            ("POST", "refunds/{}/succeed", self._succeed_refund),
            ("POST", "refunds/{}/require_action", self._require_refund_action),
            ("POST", "refunds/{}/cancel", self._cancel_refund),
            ("POST", "disputes", self._open_dispute),
            ("POST", "disputes/{}/close", self._close_dispute),
            ("POST", "checkout/sessions/{}/pay", self._pay_session),
        ]
        self._routes = [
            (method, re.compile(PREFIX + path.replace("{}", "([^/]+)") + "$"), handler)
            for method, path, handler in routes
        ]

    def handle(self, request: Request) -> Response:
        """Answer one control call."""
        try:
            for method, pattern, handler in self._routes:
                match = pattern.match(request.path)
                if match is not None and method == request.method:
                    return _json(200, handler(_values(request), *match.groups()))
            return _json(404, {"error": f"path: no {request.method} {request.path}"})
        except (BadInput, BadFault) as error:
            return _json(400, {"error": str(error)})
        except StripeError as error:
            return _json(error.status, {"error": str(error), "stripe": error.error})

    def _health(self, _: Obj) -> Obj:
        return {"ok": True}

    def _reset(self, _: Obj) -> Obj:
        self._api.reset()
        return {"ok": True}

    def _books(self, _: Obj) -> Obj:
        with self._api.state.lock:
            return books(self._api.state)

    def _requests(self, values: Obj) -> Obj:
        wanted = {name: str(values[name]) for name in ("method", "path", "idempotency_key") if name in values}
        rows = list(self._api.log)
        if "path" in wanted:
            pattern = re.compile(wanted.pop("path"))
            rows = [row for row in rows if pattern.search(row["path"])]
        return {
            "data": [dict(row) for row in rows if all(row[name] == value for name, value in wanted.items())]
        }

    def _clock(self, _: Obj) -> Obj:
        clock = self._api.state.clock
        return {"now": clock.now(), "offset": clock.offset}

    def _advance(self, values: Obj) -> Obj:
        seconds = _number(values, "advance")
        if seconds < 0:
            raise BadInput("advance: the clock only moves ahead (seconds)")
        self._api.advance(seconds)
        return self._clock({})

    def _keys(self, _: Obj) -> Obj:
        return {"api_keys": list(self._api.api_keys)}

    def _set_keys(self, values: Obj) -> Obj:
        self._api.api_keys = tuple(_texts(values, "api_keys"))
        return self._keys({})

    def _faults(self, _: Obj) -> Obj:
        return {"data": self._api.faults.shown()}

    def _add_fault(self, values: Obj) -> Obj:
        fault = parse(values)
        if fault.fault in ("barrier", "timeout", "apply_then_timeout"):
            self._api.barriers.set_up(barrier_name(fault))
        return {"id": self._api.faults.add(fault)}

    def _clear_faults(self, values: Obj) -> Obj:
        self._api.faults.clear(int(_number(values, "seed", 0)))
        return {"ok": True}

    def _set_barrier(self, _: Obj, name: str) -> Obj:
        self._api.barriers.set_up(name)
        return {"ok": True}

    def _wait_barrier(self, values: Obj, name: str) -> Obj:
        count = int(_number(values, "count", 1))
        arrived = self._api.barriers.wait(name, count, _number(values, "timeout", 10))
        return {"arrived": arrived, "timed_out": arrived < count}

    def _release_barrier(self, _: Obj, name: str) -> Obj:
        return {"arrived": self._api.barriers.release(name)}

    def _webhooks(self, _: Obj) -> Obj:
        return {
            "endpoints": [
                {"id": each.id, "url": each.url, "enabled_events": list(each.enabled_events)}
                for each in self._api.deliveries.endpoints
            ]
        }

    def _set_webhooks(self, values: Obj) -> Obj:
        given = values.get("endpoints", [values] if values.get("url") else [])
        if not isinstance(given, list):
            raise BadInput("endpoints: must be a list")
        self._api.deliveries.set_endpoints([endpoint(each, number) for number, each in enumerate(given)])
        return self._webhooks({})

    def _delivery(self, _: Obj) -> Obj:
        return {"settings": self._api.deliveries.settings(), **self._api.deliveries.status()}

    def _configure_delivery(self, values: Obj) -> Obj:
        try:
            return {"settings": self._api.deliveries.configure(**values)}
        except ValueError as error:
            raise BadInput(str(error)) from None

    def _release(self, values: Obj) -> Obj:
        order = _texts(values, "order") if values.get("order") is not None else None
        seed = int(_number(values, "shuffle_seed")) if values.get("shuffle_seed") is not None else None
        try:
            return {"released": self._api.deliveries.release(order, shuffle_seed=seed)}
        except KeyError as error:
            raise BadInput(f"order: {error.args[0]} is not held") from None

    def _retry(self, _: Obj) -> Obj:
        return {"retrying": self._api.deliveries.retry_now()}

    def _wait(self, values: Obj) -> Obj:
        return self._api.deliveries.wait_idle(
            _number(values, "timeout", 10), retries=values.get("retries", True) is True
        )

    def _delivery_log(self, _: Obj) -> Obj:
        return {"data": self._api.deliveries.log()}

    def _held(self, _: Obj) -> Obj:
        return {"data": self._api.deliveries.held()}

    def _redeliver(self, values: Obj, event_id: str) -> Obj:
        with self._api.state.lock:
            event = self._api.state.get("event", event_id, param="id")
        self._api.deliveries.redeliver(event, int(_number(values, "copies", 1)))
        return {"ok": True}

    def _events(self, values: Obj) -> Obj:
        """All events, oldest first; `type` and `object` (an id inside) narrow them."""
        with self._api.state.lock:
            rows = list(self._api.state.stores["event"])
        wanted, inside = values.get("type"), values.get("object")
        return {
            "data": [
                row
                for row in rows
                if (wanted is None or row["type"] == wanted)
                and (inside is None or inside in _ids(row["data"]["object"]))
            ]
        }

    def _authenticate(self, values: Obj, intent_id: str) -> Obj:
        state = self._api.state
        with state.lock:
            intent = state.get("payment_intent", intent_id, param="intent")
            payment_intents.authenticate(state, intent, succeed=_succeeds(values))
            checkout.follow(state, intent)
            return _copy(intent)

    def _settle(self, values: Obj, intent_id: str) -> Obj:
        state = self._api.state
        with state.lock:
            intent = state.get("payment_intent", intent_id, param="intent")
            payment_intents.settle(state, intent, succeed=_succeeds(values))
            checkout.follow(state, intent)
            return _copy(intent)

    def _lapse(self, values: Obj, intent_id: str) -> Obj:
        state = self._api.state
        with state.lock:
            payment_intents.lapse(state, intent_id, cancel=values.get("cancel", True) is True)
            return _copy(state.get("payment_intent", intent_id, param="intent"))

    def _fail_refund(self, values: Obj, refund_id: str) -> Obj:
        state = self._api.state
        with state.lock:
            refunds.fail(state, refund_id, str(values.get("reason", "expired_or_canceled_card")))
            return _copy(state.get("refund", refund_id, param="refund"))

    def _succeed_refund(self, _: Obj, refund_id: str) -> Obj:
        state = self._api.state
        with state.lock:
            refunds.succeed(state, refund_id)
            return _copy(state.get("refund", refund_id, param="refund"))

    def _require_refund_action(self, _: Obj, refund_id: str) -> Obj:
        state = self._api.state
        with state.lock:
            refunds.require_action(state, refund_id)
            return _copy(state.get("refund", refund_id, param="refund"))

    def _cancel_refund(self, _: Obj, refund_id: str) -> Obj:
        state = self._api.state
        with state.lock:
            refunds.cancel(state, refund_id)
            return _copy(state.get("refund", refund_id, param="refund"))

    def _open_dispute(self, values: Obj) -> Obj:
        state = self._api.state
        amount = int(_number(values, "amount")) if values.get("amount") is not None else None
        status = values.get("status", "needs_response")
        if status not in DISPUTE_STATUSES:
            raise BadInput(f"status: must be one of {', '.join(DISPUTE_STATUSES)}")
        with state.lock:
            charge_id = values.get("charge")
            if charge_id is None:
                intent = state.get(
                    "payment_intent", str(values.get("payment_intent")), param="payment_intent"
                )
                charge_id = intent["latest_charge"]
            charge = state.get("charge", str(charge_id), param="charge")
            if not charge["captured"]:
                raise BadInput("charge: only a captured charge can be disputed")
            reason = str(values.get("reason", "fraudulent"))
            return _copy(disputes.open_dispute(state, charge, reason=reason, amount=amount, status=status))

    def _close_dispute(self, values: Obj, dispute_id: str) -> Obj:
        outcome = values.get("outcome")
        if outcome not in ("won", "lost"):
            raise BadInput("outcome: must be won or lost")
        state = self._api.state
        with state.lock:
            row = state.get("dispute", dispute_id, param="dispute")
            disputes.settle(state, row, outcome)
            return _copy(row)

    def _pay_session(self, values: Obj, session_id: str) -> Obj:
        state = self._api.state
        with state.lock:
            state.tick()
            method = str(values.get("payment_method", "pm_card_visa"))
            return _copy(
                checkout.pay(state, session_id, method, str(values.get("email", "customer@example.com")))
            )


def endpoint(values: object, number: int = 0) -> Endpoint:
    """A webhook endpoint from JSON: url, secret or secrets, enabled_events."""
    if not isinstance(values, dict) or not str(values.get("url", "")).startswith(("http://", "https://")):
        raise BadInput("url: must be an http or https URL")
    secrets = values.get("secrets", values.get("secret"))
    if not secrets:
        raise BadInput("secret: is missing")
    return Endpoint(
        str(values["url"]),
        (secrets,) if isinstance(secrets, str) else tuple(secrets),
        tuple(values.get("enabled_events") or ("*",)),
        f"we_1sandbox{number}",
    )


def _ids(row: Obj) -> set[object]:
    return {row.get(name) for name in ("id", "payment_intent", "charge") if row.get(name) is not None}


def _succeeds(values: Obj) -> bool:
    outcome = values.get("outcome", "succeed")
    if outcome not in ("succeed", "fail"):
        raise BadInput("outcome: must be succeed or fail")
    return bool(outcome == "succeed")


def _copy(row: Obj) -> Obj:
    copy: Obj = json.loads(json.dumps(row))
    return copy


def _number(values: Obj, name: str, default: float | None = None) -> float:
    value = values.get(name, default)
    if value is None:
        raise BadInput(f"{name}: is missing")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise BadInput(f"{name}: {value!r} is not a number") from None


def _texts(values: Obj, name: str) -> list[str]:
    value = values.get(name)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise BadInput(f"{name}: must be a list of texts")
    return value


def _values(request: Request) -> Obj:
    if request.method == "GET" or not request.body:
        return dict(parse_qsl(request.query))
    try:
        values = json.loads(request.body)
    except ValueError:
        raise BadInput("body: is not JSON") from None
    if not isinstance(values, dict):
        raise BadInput("body: must be a JSON object")
    return values


def _json(status: int, value: object) -> Response:
    return Response(status, json.dumps(value).encode(), {"Content-Type": "application/json"})
