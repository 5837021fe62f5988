"""Refunds of captured charges."""

from __future__ import annotations

from glue.sandbox import cards, charges, disputes
from glue.sandbox.errors import Obj, invalid_parameter, invalid_request, missing_parameter
from glue.sandbox.listing import Call, page
from glue.sandbox.params import check_step, money, words
from glue.sandbox.state import State

REASONS = ("duplicate", "fraudulent", "requested_by_customer")
SETTLE_SECONDS = 3600
_CREATE = words(
    """
    amount charge currency customer instructions_email metadata origin payment_intent reason
    refund_application_fee reverse_transfer
    """
)


def create(call: Call) -> Obj:
    """Refund a PaymentIntent or a charge, whole or in part."""
    state, params = call.state, call.params
    params.known(_CREATE)
    amount = params.integer("amount", minimum=1)
    reason = params.choice("reason", REASONS)
    metadata = params.metadata()
    charge = _charge(call)
    remaining = refundable(state, charge)
    if amount is not None:
        check_step(amount, charge["currency"], "amount")
    if disputes.blocks_refund(state, charge):
        raise invalid_request(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
        )
    if remaining <= 0:
        raise invalid_request(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    if amount is not None and amount > remaining:
        currency = charge["currency"]
        raise invalid_request(
            f"Refund amount ({money(amount, currency)}) is greater than unrefunded amount on charge "
            f"({money(remaining, currency)})",
            param="amount",
        )
    card = cards.behaviour(state, charge["payment_method"])
    row = state.new(
        "refund",
        amount=remaining if amount is None else amount,
        charge=charge["id"],
        currency=charge["currency"],
        metadata=metadata,
        payment_intent=charge["payment_intent"],
        reason=reason,
        status="pending" if card.refund_pending else "succeeded",
    )
    state.link(charge["id"], "refund", row["id"])
    charges.book(state, row, -row["amount"], "refund")
    before = charge["amount_refunded"]
    _recount(state, charge)
    state.emit("refund.created", row)
    state.emit("charge.refunded", charge, amount_refunded=before)
    if card.refund_fails or card.refund_pending:
        handler = "refund_fails" if card.refund_fails else "refund_succeeds"
        state.at(state.clock.now() + SETTLE_SECONDS, handler, row["id"])
    return row


def retrieve(call: Call) -> Obj:
    call.params.known(())
    return call.state.get("refund", call.id, param="refund")


def update(call: Call) -> Obj:
    call.params.known(("metadata",))
    row = call.state.get("refund", call.id, param="refund")
    row["metadata"] = call.params.metadata(row["metadata"])
    call.state.emit("refund.updated", row)
    call.state.emit("charge.refund.updated", row)
    return row


def list_all(call: Call) -> Obj:
    return page(call, "refund", "/v1/refunds", equal=("payment_intent", "charge"))


def fail(state: State, refund_id: str, reason: str = "expired_or_canceled_card") -> None:
    """The bank sends the money back: the refund is final as failed, the charge's total is what it was."""
    row = state.get("refund", refund_id, param="refund")
    if row["status"] not in ("succeeded", "pending", "requires_action"):
        return
    charge = state.get("charge", row["charge"], param="charge")
    previous = row["status"]
    row["status"] = "failed"
    row["failure_reason"] = reason
    transaction = row["balance_transaction"]
    row["failure_balance_transaction"] = charges.book(state, row, row["amount"], "refund_failure")
    row["balance_transaction"] = transaction
    _recount(state, charge)
    state.emit("refund.updated", row, status=previous)
    state.emit("charge.refund.updated", row, status=previous)
    state.emit("refund.failed", row, status=previous)


def succeed(state: State, refund_id: str) -> None:
    """A refund that was under way arrives."""
    _move(state, refund_id, ("pending", "requires_action"), "succeeded")


def require_action(state: State, refund_id: str) -> None:
    """The customer has to say where the money shall go."""
    _move(state, refund_id, ("pending",), "requires_action")


def cancel(state: State, refund_id: str) -> None:
    """The customer never says where the money shall go: it stays here."""
    _move(state, refund_id, ("requires_action",), "canceled")


def _move(state: State, refund_id: str, before: tuple[str, ...], after: str) -> None:
    row = state.get("refund", refund_id, param="refund")
    previous = row["status"]
    if previous not in before:
        return
    row["status"] = after
    if after == "canceled":
        _recount(state, state.get("charge", row["charge"], param="charge"))
    state.emit("refund.updated", row, status=previous)
    state.emit("charge.refund.updated", row, status=previous)


def refundable(state: State, charge: Obj) -> int:
    """Minor units that were captured and not given back."""
    captured: int = charge["amount_captured"]
    return captured - refunded(state, charge)


def refunded(state: State, charge: Obj) -> int:
    """Minor units in refunds that have not failed."""
    rows = state.linked(charge["id"], "refund")
    return sum(row["amount"] for row in rows if row["status"] not in ("failed", "canceled"))


def _recount(state: State, charge: Obj) -> None:
    # What a partial capture released counts as refunded too.
    charge["amount_refunded"] = charge["amount"] - charge["amount_captured"] + refunded(state, charge)
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]


def _charge(call: Call) -> Obj:
    state, params = call.state, call.params
    intent_id, charge_id = params.string("payment_intent"), params.string("charge")
    if intent_id is None and charge_id is None:
        raise missing_parameter("payment_intent")
    if intent_id is not None and charge_id is not None:
        raise invalid_parameter("You may only specify one of these parameters: charge, payment_intent.")
    if charge_id is not None:
        charge = state.get("charge", charge_id, param="charge", status=400)
        intent_id = charge["payment_intent"]
    else:
        intent = state.get("payment_intent", intent_id or "", param="payment_intent", status=400)
        latest = intent["latest_charge"]
        found = state.stores["charge"].get(latest) if latest else None
        charge = found if found is not None else {"captured": False}
    if not charge["captured"]:
        raise invalid_request(
            f"This PaymentIntent ({intent_id}) does not have a successful charge to refund.",
            param="payment_intent",
        )
    return charge
