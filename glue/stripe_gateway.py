"""The one place that talks to Stripe.

A command of the outbox goes in, and what is known about its effect comes out:

* ``Applied``: Stripe did it; the object says what is true now.
* ``Refused``: Stripe did not do it, and that is certain (the object was asked). ``retryable`` says whether
  another try, under a new idempotency key, can heal it. The database decides what follows.
* ``Unknown``: it may or may not have happened. Only the same idempotency key may be used again.

Amounts are minor units, durations are seconds. No database is touched here.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

import stripe

from glue.stripe_transport import StripeTransport, lost
from glue.turns import step_aside

_log = logging.getLogger(__name__)

KEY_LIFETIME = timedelta(hours=23)
"""Stripe forgets idempotency keys after 24 hours; an hour less allows for clocks that differ."""

FINAL_REFUND_CODES = frozenset({"charge_already_refunded", "charge_disputed"})
"""Refusals of a refund that no retry heals. For PaymentIntents the object's own status says as much, so their
codes are not listed here: what a final code means for the booking is judged by ``fail_stripe_command``."""

_UNDECIDED_STATUSES = frozenset({401, 403, 409, 429})
"""Answers that are given before, or beside, the execution of a request: they say nothing of its outcome."""

_EFFECT = {
    "capture_payment_intent": frozenset({"succeeded", "processing"}),
    "cancel_payment_intent": frozenset({"canceled"}),
    "expire_checkout_session": frozenset({"expired"}),
}
"""Statuses of the PaymentIntent, or of the Checkout Session, that show the effect of a command."""

_OPEN = {
    "capture_payment_intent": frozenset({"requires_capture"}),
    "cancel_payment_intent": frozenset(
        {
            "requires_payment_method",
            "requires_confirmation",
            "requires_action",
            "requires_capture",
            "processing",
        }
    ),
    "expire_checkout_session": frozenset({"open"}),
}
"""Statuses from which a command can still succeed. Any other one confirms its refusal."""

OPERATIONS = frozenset({*_EFFECT, "create_refund"})
"""What ``execute`` can do."""

Kind = Literal["payment_intent", "charge", "refund"]
"""What a reconciliation looks at."""

_REPORTED_FIELDS = (
    "id", "object", "status", "currency", "created", "payment_intent",
    "amount", "amount_received", "amount_captured", "amount_refunded", "captured", "refunded",
)  # fmt: skip
_REPORTED_METADATA = ("payment_id", "order_id")
"""What of an object a reconciliation needs; the rest may be personal."""

_ERROR_FIELDS = ("type", "code", "decline_code", "param", "message", "charge", "payment_intent")
"""What is kept of Stripe's error object; the rest may hold card details."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The effect is there. ``object`` is Stripe's object, without its client_secret."""

    object: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """The effect is certainly not there. ``error`` is Stripe's error object with ``http_status``,
    ``idempotent_replayed`` and, where it was retrieved, the ``payment_intent`` or ``checkout_session``."""

    error: Mapping[str, Any]
    retryable: bool


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing is known of the effect. ``error`` has an ``http_status`` only when Stripe answered."""

    error: Mapping[str, Any]
    retry_after: float | None = None


Outcome = Applied | Refused | Unknown


class StripeFailure(Exception):
    """A direct call (not a command) did not succeed. ``error`` is as in ``Refused``."""

    def __init__(self, message: str, error: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.error: Mapping[str, Any] = error or {}


class StripeUnavailable(StripeFailure):
    """Stripe gave no answer that could be used; try again after ``retry_after`` seconds."""

    def __init__(
        self, message: str, error: Mapping[str, Any] | None = None, *, retry_after: float = 5.0
    ) -> None:
        super().__init__(message, error)
        self.retry_after = retry_after


class GatewayBusy(StripeUnavailable):
    """As many calls to Stripe are in flight as are allowed; nothing was sent."""


class StripeRefused(StripeFailure):
    """Stripe refused the request for good; sending it again cannot help."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """Stripe's failing answer, or the lack of one."""

    error: Mapping[str, Any]
    status: int | None
    replayed: bool
    should_retry: bool | None
    retry_after: float | None

    @classmethod
    def of(cls, failure: stripe.StripeError) -> _Answer:
        headers = failure.headers or {}
        # A 2xx or 3xx that could not be read is no answer.
        status = failure.http_status if (failure.http_status or 0) >= 400 else None
        replayed = str(headers.get("idempotent-replayed", "")).lower() == "true"
        error: dict[str, Any]
        if status is not None and isinstance(failure.json_body, Mapping):
            found = failure.json_body["error"]  # StripeTransport has seen to that
            error = {name: found[name] for name in _ERROR_FIELDS if found.get(name) is not None}
        elif isinstance(failure, stripe.APIConnectionError):
            error = {"type": "api_connection_error", "message": _first_line(failure)}
        else:
            error = {"type": "api_error", "message": "Stripe's answer could not be read"}
        if isinstance(error.get("payment_intent"), Mapping):
            error["payment_intent"] = _without_secret(error["payment_intent"])
        if status is not None:
            error["http_status"] = status
            error["idempotent_replayed"] = replayed
        if failure.request_id:
            error["request_id"] = failure.request_id
        advice = str(headers.get("stripe-should-retry", "")).lower()
        return cls(
            error=error,
            status=status,
            replayed=replayed,
            should_retry={"true": True, "false": False}.get(advice),
            retry_after=_seconds(headers.get("retry-after")),
        )

    @property
    def undecided(self) -> bool:
        """Whether the request may have been, or may still be, carried out."""
        if self.status is None or self.status in _UNDECIDED_STATUSES:
            return True
        return self.status >= 500 and not self.replayed

    @property
    def worth_repeating(self) -> bool:
        """Whether to send the same request, with the same key, again within this call."""
        if self.replayed:
            return False
        if self.should_retry is not None:
            return self.should_retry
        return self.undecided and self.status not in (401, 403)

    @property
    def permanent(self) -> bool:
        """Whether the request itself is at fault, so that no retry can heal it."""
        if self.undecided or self.error.get("type") != "invalid_request_error":
            return False
        code = self.error.get("code")
        if code is None:
            return "param" in self.error
        return code == "resource_missing" or str(code).startswith(("parameter_", "amount_"))


class _NoSuccess(Exception):
    """A request failed; ``answer`` is the last answer."""

    def __init__(self, answer: _Answer) -> None:
        super().__init__(answer.error.get("message"))
        self.answer = answer


@dataclass(frozen=True, slots=True)
class _Seen:
    """What Stripe shows of a command: the object that proves its effect; the PaymentIntent or the Checkout
    Session if asked for."""

    effect: Mapping[str, Any] | None
    found: Mapping[str, Any] | None = None


class StripeGateway:
    """Stripe behind bounded time and bounded concurrency. Safe to share between threads.

    ``timeout`` bounds one HTTP request, ``call_timeout`` a whole ``execute`` with its repeats and look-ups;
    the lease on a command must be longer. ``max_concurrent`` bounds the calls in flight: one more raises
    ``GatewayBusy``. ``clock`` (monotonic seconds), ``now``, ``sleep`` and ``transport`` are replaced by
    tests.
    """

    def __init__(
        self,
        api_key: str,
        api_base: str | None = None,
        *,
        timeout: float = 8.0,
        call_timeout: float = 20.0,
        max_concurrent: int = 16,
        attempts: int = 3,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        transport: Callable[..., StripeTransport] = StripeTransport,
    ) -> None:
        self.call_timeout = call_timeout
        self._attempts = attempts
        self._now = now
        self._sleep = sleep
        self._slots = threading.BoundedSemaphore(max_concurrent)
        base = (api_base or stripe.DEFAULT_API_BASE).rstrip("/")
        self._transport = transport(base, timeout=timeout, connections=max_concurrent, clock=clock)
        # stripe-python's own retries stay off: they ignore Retry-After, know no deadline, and hide the
        # answers in between, of which we must know whether one was replayed.
        self._client = stripe.StripeClient(
            api_key, base_addresses={"api": base}, http_client=self._transport, max_network_retries=0
        )

    def close(self) -> None:
        """Close the idle connections."""
        self._transport.close()

    def create_payment_intent(
        self, prepared: Mapping[str, Any], *, deadline: float = 5.0
    ) -> Mapping[str, Any]:
        """Create the PaymentIntent of a row of ``prepare_payment_intent``, in at most ``deadline`` seconds.

        Calling again with the same row gives the same PaymentIntent. Where a saved 500 hides what came of it,
        the next key is used, the same one by every caller: the lost PaymentIntent cannot be paid by anybody,
        since nobody was ever told its client_secret. Should two become known all the same,
        ``record_payment_intent`` keeps one and has the other cancelled: hand out the client_secret of the
        recorded one only.

        Raises GatewayBusy, StripeUnavailable, StripeRefused.
        """
        params: Any = {
            "amount": prepared["amount"],
            "currency": str(prepared["currency"]).strip().lower(),
            "capture_method": prepared["capture_method"],
            "payment_method_types": ["card"],
            "metadata": dict(prepared["metadata"] or {}),
        }
        return self._create("/v1/payment_intents", params, str(prepared["idempotency_key"]), deadline)

    def create_checkout_session(
        self,
        begun: Mapping[str, Any],
        *,
        name: str,
        success_url: str,
        cancel_url: str | None = None,
        deadline: float = 5.0,
    ) -> Mapping[str, Any]:
        """Create the Checkout Session of a row of ``begin_checkout``, in at most ``deadline`` seconds.

        ``name`` is what the customer reads on Stripe's page. Calling again with the same row gives the same
        session; of a session that a saved 500 hides nobody knows the address. The PaymentIntent carries the
        order's id, too. No other currency than ours is offered to the customer: the amount is the order's.

        Raises GatewayBusy, StripeUnavailable, StripeRefused.
        """
        order = {"order_id": str(begun["order_id"])}
        price = {
            "currency": str(begun["currency"]).strip().lower(),
            "unit_amount": begun["amount"],
            "product_data": {"name": name},
        }
        params: Any = {
            "mode": "payment",
            "line_items": [{"quantity": 1, "price_data": price}],
            "success_url": success_url,
            "metadata": order,
            "payment_intent_data": {"metadata": order},
            "adaptive_pricing": {"enabled": False},
        }
        if cancel_url:
            params["cancel_url"] = cancel_url
        return self._create("/v1/checkout/sessions", params, str(begun["stripe_idempotency_key"]), deadline)

    def _create(self, path: str, params: Mapping[str, Any], key: str, deadline: float) -> Mapping[str, Any]:
        with self._call(deadline):
            for number in range(1, 6):
                try:
                    return self._ask("post", path, params, key if number == 1 else f"{key}:{number}")
                except _NoSuccess as failure:
                    answer = failure.answer
                if answer.undecided or answer.permanent:
                    break
        raise _failure(answer)

    def retrieve_payment_intent(self, pi_id: str, *, deadline: float = 5.0) -> Mapping[str, Any]:
        """The PaymentIntent as it is now, with its client_secret, in at most ``deadline`` seconds.

        Raises GatewayBusy, StripeUnavailable, StripeRefused (there is no such PaymentIntent).
        """
        with self._call(deadline):
            try:
                return self._ask("get", _path("payment_intents", pi_id))
            except _NoSuccess as failure:
                answer = failure.answer
        raise _failure(answer)

    def pages(
        self, kind: Kind, start: datetime, end: datetime, *, deadline: float = 30.0
    ) -> Iterator[list[dict[str, Any]]]:
        """What Stripe created from ``start`` up to ``end`` (rounded outwards to whole seconds), newest first,
        in pages of up to 100 objects, each in at most ``deadline`` seconds. Only ids, amounts, statuses.

        Raises GatewayBusy, StripeUnavailable, StripeRefused.
        """
        for rows in self._pages(f"/v1/{kind}s", {}, start, end, deadline):
            yield [_reported(row) for row in rows]

    def events(
        self, types: Sequence[str], start: datetime, end: datetime, *, deadline: float = 30.0
    ) -> Iterator[list[dict[str, Any]]]:
        """The events of these types (20 at most) that Stripe made in the window, as ``pages``; Stripe keeps
        them for 30 days. Without client_secrets.

        Raises GatewayBusy, StripeUnavailable, StripeRefused.
        """
        for rows in self._pages("/v1/events", {"types": list(types)}, start, end, deadline):
            yield [{**row, "data": {"object": _without_secret(row["data"]["object"])}} for row in rows]

    def _pages(
        self, path: str, filters: Mapping[str, Any], start: datetime, end: datetime, deadline: float
    ) -> Iterator[list[dict[str, Any]]]:
        # Stripe knows no time before 1970, and refuses a question about one.
        window = {"gte": max(0, math.floor(start.timestamp())), "lt": max(0, math.ceil(end.timestamp()))}
        params: dict[str, Any] = {**filters, "created": window, "limit": 100}
        while True:
            with self._call(deadline):
                try:
                    found = self._ask("get", path, params)
                except _NoSuccess as failure:
                    raise _failure(failure.answer) from None
            yield found["data"]
            if not found.get("has_more") or not found["data"]:
                return
            params = {**params, "starting_after": found["data"][-1]["id"]}

    def retrieve_whole(self, pi_id: str, *, deadline: float = 30.0) -> list[dict[str, Any]]:
        """The PaymentIntent with its latest charge inside, then its refunds; nothing when Stripe has none of
        that id. In at most ``deadline`` seconds. Only ids, amounts, statuses.

        Raises GatewayBusy, StripeUnavailable, StripeRefused.
        """
        with self._call(deadline):
            try:
                intent = self._ask("get", _path("payment_intents", pi_id), {"expand": ["latest_charge"]})
                refunds = self._refunds_of(pi_id) if intent.get("latest_charge") else ()
                return [_reported(intent), *map(_reported, refunds)]
            except _NoSuccess as failure:
                if failure.answer.error.get("code") == "resource_missing":
                    return []
                raise _failure(failure.answer) from None

    def look_up(self, command: Mapping[str, Any]) -> Applied | Unknown:
        """Ask Stripe whether a command's effect is there, without sending it. Raises only GatewayBusy.

        ``command`` is a row of ``claim_unknown_command``. ``Unknown`` also when the effect is not to be seen:
        the request may still be on its way, or Stripe's lists may be late.
        """
        unseen = Unknown({"type": "not_seen", "message": "Stripe shows no effect of the command"})
        if command["operation"] not in OPERATIONS:
            return unseen
        with self._call(self.call_timeout):
            try:
                effect = self._look(command).effect
            except _NoSuccess as failure:
                return _not_seen(failure.answer)
        return unseen if effect is None else Applied(effect)

    def show_payment_intent(self, pi_id: str, *, deadline: float = 5.0) -> Mapping[str, Any]:
        """As ``retrieve_payment_intent``, without the client_secret: to be looked at, not to be paid with."""
        return _without_secret(self.retrieve_payment_intent(pi_id, deadline=deadline))

    def execute(self, command: Mapping[str, Any]) -> Outcome:
        """Carry out a claimed command, and find out what came of it. Raises only GatewayBusy.

        ``command`` is a row of ``claim_stripe_command``.
        """
        if command["operation"] not in OPERATIONS:
            # A newer database may know more than this process: a newer worker will know what to do.
            return Unknown({"type": "unknown_operation", "message": str(command["operation"])})
        with self._call(self.call_timeout):
            try:
                if self._must_ask_first(command):
                    effect = self._look(command).effect
                    if effect is not None:
                        return Applied(effect)
                try:
                    return Applied(_without_secret(self._send(command)))
                except _NoSuccess as failure:
                    answer = failure.answer
                if answer.undecided:
                    return Unknown(answer.error, answer.retry_after)
                return self._judge(command, answer)
            except _NoSuccess as failure:
                return _not_seen(failure.answer)

    @contextmanager
    def _call(self, seconds: float) -> Iterator[None]:
        if not self._slots.acquire(blocking=False):
            raise GatewayBusy("too many calls to Stripe are in flight", retry_after=1.0)
        step_aside()
        try:
            with self._transport.within(seconds):
                yield
        finally:
            self._slots.release()

    def _must_ask_first(self, command: Mapping[str, Any]) -> bool:
        """Whether the key no longer protects from a second effect: it is forgotten, or it replaced another
        one whose answer was a saved 500 (Stripe's lists may show a refund late).

        An old command is looked for even when nothing says that it was sent: a database that was restored
        does not know what was done after that moment."""
        if self._now() - command["created_at"] >= KEY_LIFETIME:
            return True
        return command["attempt"] > 1 and ":" in str(command["idempotency_key"])

    def _send(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Carry it out. Raises _NoSuccess."""
        stripe_id = str(command["stripe_id"])
        match command["operation"]:
            case "capture_payment_intent":
                path = _path("payment_intents", stripe_id, "capture")
            case "cancel_payment_intent":
                path = _path("payment_intents", stripe_id, "cancel")
            case "expire_checkout_session":
                path = _path("checkout/sessions", stripe_id, "expire")
            case _:
                path = _path("refunds")
        return self._ask("post", path, command["params"] or {}, str(command["idempotency_key"]))

    def _look(self, command: Mapping[str, Any]) -> _Seen:
        """Ask Stripe what came of a command. Raises _NoSuccess when it does not say."""
        if command["operation"] == "create_refund":
            return _Seen(self._find_refund(command))
        stripe_id = str(command["stripe_id"])
        try:
            is_session = command["operation"] == "expire_checkout_session"
            kind = "checkout/sessions" if is_session else "payment_intents"
            found = self._ask("get", _path(kind, stripe_id))
        except _NoSuccess as failure:
            if failure.answer.error.get("code") == "resource_missing":
                return _Seen(None)
            raise
        found = _without_secret(found)
        done = found.get("status") in _EFFECT[command["operation"]]
        return _Seen(found if done else None, found)

    def _find_refund(self, command: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The refund that carries the command's id."""
        wanted = str(command["command_id"])
        try:
            for refund in self._refunds_of(str(command["stripe_id"])):
                if (refund.get("metadata") or {}).get("command_id") == wanted:
                    return dict(refund)
        except _NoSuccess as failure:
            if failure.answer.error.get("code") != "resource_missing":
                raise
        return None

    def _refunds_of(self, pi_id: str) -> Iterator[Mapping[str, Any]]:
        """Every refund of a PaymentIntent, on whatever page it is. Raises _NoSuccess."""
        page: Any = {"payment_intent": pi_id, "limit": 100}
        while True:
            found = self._ask("get", _path("refunds"), page)
            yield from found["data"]
            if not found.get("has_more") or not found["data"]:
                return
            page = {**page, "starting_after": found["data"][-1]["id"]}

    def _judge(self, command: Mapping[str, Any], answer: _Answer) -> Outcome:
        """After a certain refusal: the object tells whether the effect is there nevertheless."""
        seen = self._look(command)
        if seen.effect is not None:
            return Applied(seen.effect)
        error = dict(answer.error)
        if seen.found is not None:
            is_session = command["operation"] == "expire_checkout_session"
            error["checkout_session" if is_session else "payment_intent"] = seen.found
            final = seen.found.get("status") not in _OPEN[command["operation"]]
        else:
            final = command["operation"] == "create_refund" and error.get("code") in FINAL_REFUND_CODES
        return Refused(error, retryable=not (final or answer.permanent))

    def _ask(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """The object that Stripe answers; ``key`` is the idempotency key. The same is sent again while that
        may help and the time allows. Raises _NoSuccess."""
        options = {} if key is None else {"idempotency_key": key}
        number = 0
        while True:
            number += 1
            try:
                # Not through stripe-python's objects: making them takes as long as the rest of the request.
                found = self._client.raw_request(method, path, **(params or {}), **options).data
                if not isinstance(found, dict):
                    raise lost("an answer that is no object")
                return found
            except stripe.StripeError as failure:
                answer = _Answer.of(failure)
            pause = random.uniform(0.5, 1.0) * 0.2 * 2**number  # noqa: S311
            if answer.retry_after is not None:
                pause = max(pause, answer.retry_after)
            if not answer.worth_repeating or number >= self._attempts or pause >= self._transport.remaining():
                raise _NoSuccess(answer)
            self._sleep(pause)


def _path(*parts: str) -> str:
    """The address of an object: what is in an id stays in it."""
    return "/".join(("/v1", parts[0], *(quote(part, safe="") for part in parts[1:])))


def _not_seen(answer: _Answer) -> Unknown:
    """Looking failed, so nothing is known. Only a status that says so itself may stand in the error: a 400 to
    the look-up must not be read as a 400 to the command."""
    error = dict(answer.error)
    if not answer.undecided:
        error.pop("http_status", None)
        error.pop("idempotent_replayed", None)
    return Unknown(error, answer.retry_after)


def _failure(answer: _Answer) -> StripeFailure:
    if answer.status in (401, 403):
        _log.error("stripe refuses our key", extra={"http_status": answer.status})
    message = str(answer.error.get("message") or "Stripe did not carry out the request")
    if answer.permanent:
        return StripeRefused(message, answer.error)
    return StripeUnavailable(message, answer.error, retry_after=answer.retry_after or 5.0)


def _without_secret(found: Mapping[str, Any]) -> dict[str, Any]:
    """The client_secret is for the paying browser only: it is neither stored nor logged."""
    return {name: value for name, value in found.items() if name != "client_secret"}


def _reported(found: Mapping[str, Any]) -> dict[str, Any]:
    """What of an object a reconciliation keeps."""
    report = {name: found[name] for name in _REPORTED_FIELDS if name in found}
    if isinstance(report.get("payment_intent"), Mapping):
        report["payment_intent"] = report["payment_intent"]["id"]
    metadata = found.get("metadata") or {}
    report["metadata"] = {name: metadata[name] for name in _REPORTED_METADATA if name in metadata}
    if isinstance(found.get("latest_charge"), Mapping):
        report["latest_charge"] = _reported(found["latest_charge"])
    return report


def _seconds(header: object) -> float | None:
    """A Retry-After in seconds. Stripe sends no dates; a proxy's date counts as none."""
    try:
        seconds = float(str(header))
    except ValueError:
        return None
    return seconds if 0 <= seconds <= 3600 else None


def _first_line(failure: stripe.StripeError) -> str:
    lines = (failure.user_message or type(failure).__name__).splitlines()
    return str(lines[0])[:200]
