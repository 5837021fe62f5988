"""The life of one API call: fault, key, route, parameters, idempotency, execution, answer."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from glue.sandbox import charges, checkout, disputes, others, payment_intents, refunds
from glue.sandbox.delivery import Config, Deliveries
from glue.sandbox.errors import Obj, StripeError, invalid_parameter, server_error, unauthorized
from glue.sandbox.faults import (
    HOLD_SECONDS,
    REFUSALS,
    BadFault,
    Barriers,
    Fault,
    Faults,
    parse_header,
    refusal,
)
from glue.sandbox.idempotency import Idempotency
from glue.sandbox.listing import Call, check_expand, expanded
from glue.sandbox.params import Params, decode_form
from glue.sandbox.state import API_VERSION, State, random_text

LOG_LENGTH = 100_000
Handler = Callable[[Call], Obj]

ROUTES: list[tuple[str, str, Handler]] = [
    ("POST", "/v1/payment_intents", payment_intents.create),
    ("GET", "/v1/payment_intents", payment_intents.list_all),
    ("GET", "/v1/payment_intents/{id}", payment_intents.retrieve),
    ("POST", "/v1/payment_intents/{id}", payment_intents.update),
    ("POST", "/v1/payment_intents/{id}/confirm", payment_intents.confirm),
    ("POST", "/v1/payment_intents/{id}/capture", payment_intents.capture),
    ("POST", "/v1/payment_intents/{id}/cancel", payment_intents.cancel),
    ("GET", "/v1/charges", charges.list_all),
    ("GET", "/v1/charges/{id}", charges.retrieve),
    ("POST", "/v1/charges/{id}", charges.update),
    ("POST", "/v1/charges/{id}/capture", payment_intents.capture_charge),
    ("POST", "/v1/refunds", refunds.create),
    ("GET", "/v1/refunds", refunds.list_all),
    ("GET", "/v1/refunds/{id}", refunds.retrieve),
    ("POST", "/v1/refunds/{id}", refunds.update),
    ("GET", "/v1/disputes", disputes.list_all),
    ("GET", "/v1/disputes/{id}", disputes.retrieve),
    ("POST", "/v1/disputes/{id}", disputes.update),
    ("POST", "/v1/disputes/{id}/close", disputes.close),
    ("POST", "/v1/checkout/sessions", checkout.create),
    ("GET", "/v1/checkout/sessions", checkout.list_all),
    ("GET", "/v1/checkout/sessions/{id}", checkout.retrieve),
    ("POST", "/v1/checkout/sessions/{id}", checkout.update),
    ("POST", "/v1/checkout/sessions/{id}/expire", checkout.expire),
    ("GET", "/v1/checkout/sessions/{id}/line_items", checkout.line_items),
    ("GET", "/v1/events", others.list_events),
    ("GET", "/v1/events/{id}", others.retrieve_event),
    ("GET", "/v1/balance_transactions", others.list_balance_transactions),
    ("GET", "/v1/balance_transactions/{id}", others.retrieve_balance_transaction),
    ("POST", "/v1/payment_methods", others.create_payment_method),
    ("GET", "/v1/payment_methods/{id}", others.retrieve_payment_method),
    ("POST", "/v1/customers", others.create_customer),
    ("GET", "/v1/customers", others.list_customers),
    ("GET", "/v1/customers/{id}", others.retrieve_customer),
    ("POST", "/v1/customers/{id}", others.update_customer),
]
_COMPILED = [
    (method, re.compile(re.sub(r"\{\w+\}", "([^/]+)", pattern) + "$"), handler)
    for method, pattern, handler in ROUTES
]


@dataclass
class Request:
    """One HTTP request. Header names are lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Response:
    """What to send back; `drop` closes the connection without a byte."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False


@dataclass
class _Work:
    """One call that passed routing."""

    handler: Handler
    args: tuple[str, ...]
    values: Obj
    fault: Fault | None
    key: str | None
    request_id: str
    entry: Obj


class Api:
    """Stripe's API over one account's state."""

    def __init__(self, api_keys: tuple[str, ...] = (), delivery: Config | None = None) -> None:
        self.deliveries = Deliveries(delivery)
        self.state = State(self.deliveries.enqueue)
        self.state.handlers.update(
            hold_lapses=payment_intents.lapse,
            session_expires=checkout.lapse,
            refund_fails=refunds.fail,
            refund_succeeds=refunds.succeed,
        )
        self.idempotency = Idempotency(self.state.clock.now)
        self.faults = Faults()
        self.barriers = Barriers()
        self.log: deque[Obj] = deque(maxlen=LOG_LENGTH)
        self._initial_keys = api_keys
        self.api_keys = api_keys
        self.calls = 0
        self._log_lock = threading.Lock()

    def reset(self) -> None:
        """Everything as just started, except the webhook endpoints."""
        self.barriers.release_all()
        self.faults.clear()
        self.deliveries.reset()
        with self.state.lock:
            self.state.clear()
        self.idempotency.clear()
        self.api_keys = self._initial_keys
        with self._log_lock:
            self.log.clear()

    def advance(self, seconds: float) -> None:
        """Move the sandbox clock ahead, and let happen what is due."""
        with self.state.lock:
            self.state.clock.offset += seconds
            self.state.tick()
        self.idempotency.sweep()

    def tick(self) -> None:
        """Let happen what is due by now."""
        with self.state.lock:
            self.state.tick()

    def handle(self, request: Request) -> Response:
        """Answer one call and write it into the log of requests."""
        request_id = f"req_{random_text(14)}"
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        entry: Obj = {
            "id": request_id,
            "method": request.method,
            "path": request.path,
            "idempotency_key": key,
            "fault": None,
            "status": None,
            "replayed": False,
            "applied": False,
            "dropped": False,
        }
        with self._log_lock:
            self.calls += 1
            entry["number"] = self.calls
            self.log.append(entry)
        try:
            response = self._respond(request, key, request_id, entry)
        except StripeError as error:
            response = _answer(error.status, _dumps(error.body(request_id)), error.headers)
        entry["dropped"] = response.drop
        entry["status"] = None if response.drop else response.status
        response.headers["Request-Id"] = request_id
        response.headers["Stripe-Version"] = request.headers.get("stripe-version", API_VERSION)
        if key is not None:
            response.headers["Idempotency-Key"] = key
        return response

    def _respond(self, request: Request, key: str | None, request_id: str, entry: Obj) -> Response:
        fault = self._fault(request, key, entry)
        if fault is not None:
            if fault.fault in REFUSALS:
                raise refusal(fault)
            if fault.fault == "drop":
                return Response(drop=True)
            if fault.fault == "timeout":
                self._hold(fault)
                return Response(drop=True)
        self._authenticate(request)
        handler, args = _route(request)
        text = request.query if request.method == "GET" else request.body.decode("utf-8", "replace")
        work = _Work(handler, args, decode_form(text), fault, key, request_id, entry)
        saved = self.idempotency.begin(key, request.path, work.values) if key is not None else None
        if saved is None:
            response = self._execute(work)
        else:
            entry["replayed"] = True
            headers = {"Idempotent-Replayed": "true", "Original-Request": saved.request_id}
            if (saved.status or 0) >= 500:
                headers["Stripe-Should-Retry"] = "false"
            response = _answer(saved.status or 500, saved.body, headers)
        if fault is not None:
            if fault.fault == "apply_then_drop":
                return Response(drop=True)
            if fault.fault == "apply_then_timeout" or _is_barrier(fault, "after"):
                self._hold(fault)
        return response

    def _execute(self, work: _Work) -> Response:
        """Run the endpoint and keep its answer under the key, unless it did not get as far as executing."""
        fault, key = work.fault, work.key
        finished = False
        try:
            if fault is not None and _is_barrier(fault, "before"):
                self._hold(fault)
            try:
                if fault is not None and fault.fault in ("500_before_saved", "error"):
                    raise refusal(fault)
                body = self._call(work)
                work.entry["applied"] = True
                if fault is not None and fault.fault == "apply_then_500":
                    raise server_error(saved=True)
                response = _answer(200, body, {})
            except StripeError as error:
                if not error.saved:
                    raise
                response = _answer(error.status, _dumps(error.body(work.request_id)), error.headers)
            if key is not None:
                self.idempotency.finish(key, response.status, response.body, work.request_id)
            finished = True
            return response
        finally:
            if key is not None and not finished:
                self.idempotency.forget(key)

    def _call(self, work: _Work) -> bytes:
        params = Params(work.values)
        expand = params.strings("expand")
        check_expand(expand)
        state = self.state
        with state.lock:
            state.tick()
            state.request_id, state.idempotency_key = work.request_id, work.key
            try:
                answer = work.handler(Call(state, params, work.args))
                return _dumps(expanded(state, answer, expand) if expand else answer)
            except StripeError as error:
                # The objects in an error are live; freeze them before the lock goes.
                error.error = json.loads(json.dumps(error.error))
                raise
            finally:
                state.request_id = state.idempotency_key = None

    def _fault(self, request: Request, key: str | None, entry: Obj) -> Fault | None:
        header = request.headers.get("sandbox-fault")
        try:
            found = [parse_header(header)] if header else []
        except BadFault as error:
            raise invalid_parameter(f"Sandbox-Fault: {error}") from None
        if not found:
            found = self.faults.take(
                request.method, request.path, key, request.body.decode("utf-8", "replace")
            )
        other: Fault | None = None
        for fault in found:
            if fault.fault == "latency":
                time.sleep(float(fault.options.get("ms", 100)) / 1000)
            else:
                other = fault
        entry["fault"] = other.fault if other is not None else "latency" if found else None
        return other

    def _hold(self, fault: Fault) -> None:
        self.barriers.arrive(barrier_name(fault), float(fault.options.get("seconds", HOLD_SECONDS)))

    def _authenticate(self, request: Request) -> None:
        key = api_key(request.headers.get("authorization", ""))
        known = key in self.api_keys if self.api_keys else key.startswith(("sk_test_", "rk_test_"))
        if not known:
            raise unauthorized(key)


def barrier_name(fault: Fault) -> str:
    """Where requests with this fault wait: the option `name`, else the fault's own name."""
    return str(fault.options.get("name", fault.fault))


def api_key(header: str) -> str:
    """The key in an Authorization header, Bearer or Basic; empty when there is none."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value).decode().partition(":")[0]
        except ValueError:
            return ""
    return ""


def _is_barrier(fault: Fault, when: str) -> bool:
    return fault.fault == "barrier" and fault.options.get("when", "before") == when


def _route(request: Request) -> tuple[Handler, tuple[str, ...]]:
    for method, pattern, handler in _COMPILED:
        match = pattern.match(request.path)
        if match is not None and method == request.method:
            return handler, match.groups()
    raise StripeError(
        404,
        "invalid_request_error",
        f"Unrecognized request URL ({request.method}: {request.path}). Please see https://stripe.com/docs.",
        saved=False,
    )


def _dumps(value: Obj) -> bytes:
    return json.dumps(value).encode()


def _answer(status: int, body: bytes, headers: dict[str, str]) -> Response:
    return Response(status, body, {"Content-Type": "application/json", **headers})
