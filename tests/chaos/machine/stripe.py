"""Stripe for one run: the sandbox inside this process behind our own gateway, on the run's clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

from glue.sandbox import books, checkout, disputes, payment_intents, refunds
from glue.sandbox.api import Api, Request
from glue.sandbox.delivery import Config
from glue.sandbox.errors import StripeError
from glue.sandbox.faults import parse
from glue.sandbox.idempotency import Idempotency
from glue.sandbox.state import Clock
from glue.stripe_gateway import StripeGateway
from glue.stripe_transport import Exchange, StripeTransport, lost

Obj = dict[str, Any]
KEY = "sk_test_model"
BEGIN = datetime(2031, 3, 3, 9, tzinfo=UTC).timestamp()
"""Far from the wall clock: whoever reads that one, on either side, is found out."""

FAULTS = (
    "drop",
    "apply_then_drop",
    "500_before_unsaved",
    "500_before_saved",
    "apply_then_500",
    "429",
    "409",
    "401",
    "503",
)


class RunClock(Clock):
    """Time of a run, Unix seconds: it only moves when it is told to."""

    def now(self) -> float:
        return BEGIN + self.offset

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.now(), UTC)


class _Calls(StripeTransport):
    """Requests are function calls."""

    def __init__(self, api: Api, *place: Any, **options: Any) -> None:
        super().__init__(*place, **options)
        self._api = api

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: str | bytes | None, seconds: float
    ) -> Exchange:
        address = urlsplit(url)
        content = body.encode() if isinstance(body, str) else body or b""
        lower = {name.lower(): value for name, value in headers.items()}
        response = self._api.handle(Request(method.upper(), address.path, address.query, lower, content))
        if response.drop:
            raise lost("the connection was closed")
        came = {name.lower(): value for name, value in response.headers.items()}
        return Exchange(response.status, came, response.body)


class Account:
    """One Stripe account. Requests of the gateway are function calls; a dropped connection is its error."""

    def __init__(self, clock: RunClock) -> None:
        self.clock = clock
        self.api = Api(delivery=Config(mode="off"))
        self.api.state.clock = clock
        self.api.idempotency = Idempotency(clock.now)
        self.gateway = StripeGateway(
            KEY,
            "http://stripe.invalid",
            attempts=1,
            now=lambda: clock.at,
            sleep=lambda _: None,
            transport=partial(_Calls, self.api),
        )

    def close(self) -> None:
        self.gateway.close()

    def reset(self) -> None:
        self.api.reset()

    # -- faults

    def misbehave(self, fault: str | None) -> None:
        """How the next request is answered; None: as it should be."""
        self.api.faults.clear()
        if fault is not None:
            self.api.faults.add(parse({"fault": fault}))

    # -- what others do there. Each may be refused (StripeError): then nothing has happened

    def post(self, path: str, **params: Any) -> Obj:
        """A call of the customer's browser or of somebody at the dashboard. Raises StripeError."""
        headers = {"authorization": f"Bearer {KEY}"}
        response = self.api.handle(Request("POST", path, "", headers, urlencode(params).encode()))
        answer: Obj = json.loads(response.body)
        if response.status >= 400:
            error = answer["error"]
            raise StripeError(response.status, error["type"], str(error.get("message")))
        return answer

    def intent(self, intent_id: str) -> Obj:
        found = self.api.state.stores["payment_intent"].get(intent_id)
        assert found is not None
        return found

    def pay(self, intent_id: str, card: str) -> None:
        self.post(f"/v1/payment_intents/{intent_id}/confirm", payment_method=card)

    def authenticate(self, intent_id: str, *, succeed: bool) -> None:
        payment_intents.authenticate(self.api.state, self.intent(intent_id), succeed=succeed)

    def lapse(self, intent_id: str, *, cancel: bool) -> None:
        payment_intents.lapse(self.api.state, intent_id, cancel=cancel)

    def dispute(self, intent_id: str, status: str) -> None:
        charge = self.api.state.stores["charge"].get(self.intent(intent_id)["latest_charge"] or "")
        if charge is not None and charge["captured"]:
            disputes.open_dispute(self.api.state, charge, status=status)

    def settle_dispute(self, dispute_id: str, outcome: str) -> None:
        found = self.api.state.stores["dispute"].get(dispute_id)
        assert found is not None
        disputes.settle(self.api.state, found, outcome)

    def fail_refund(self, refund_id: str) -> None:
        refunds.fail(self.api.state, refund_id)

    def pay_session(self, session_id: str, card: str) -> None:
        checkout.pay(self.api.state, session_id, card)

    def settle_session(self, intent_id: str, *, succeed: bool) -> None:
        intent = self.intent(intent_id)
        payment_intents.settle(self.api.state, intent, succeed=succeed)
        checkout.follow(self.api.state, intent)

    # -- what is true there

    def events(self) -> list[Obj]:
        return list(self.api.state.stores["event"])

    def ids(self, kind: str) -> list[str]:
        return [row["id"] for row in self.api.state.stores[kind]]

    def rows(self, kind: str) -> list[Obj]:
        return list(self.api.state.stores[kind])

    def in_status(self, status: str) -> list[str]:
        """PaymentIntents."""
        return [row["id"] for row in self.api.state.stores["payment_intent"] if row["status"] == status]

    def books(self) -> dict[str, Obj]:
        """One entry a PaymentIntent, by its id."""
        return {
            row["id"]: {**row, "hold_gone": self.is_expired(row["id"])}
            for row in books.books(self.api.state)["payment_intents"]
        }

    def created(self, since: float) -> tuple[set[str], set[str]]:
        """The PaymentIntents of which something was created since then, and those that were so themselves."""
        born = {row["id"] for row in self.rows("payment_intent") if row["created"] >= since}
        later = [row for kind in ("charge", "refund") for row in self.rows(kind) if row["created"] >= since]
        return born | {row["payment_intent"] for row in later}, born

    def is_expired(self, intent_id: str) -> bool:
        """Whether its hold is gone although Stripe has not noticed yet."""
        charge = self.intent(intent_id)["latest_charge"]
        return bool(charge and self.api.state.secret(charge).get("expired"))
