"""Charges: made by payments, captured, released, lapsed."""

from __future__ import annotations

from glue.sandbox import cards, disputes
from glue.sandbox.errors import Obj, StripeError, invalid_request
from glue.sandbox.listing import Call, page
from glue.sandbox.state import State, random_text

HOLD_SECONDS = 7 * 24 * 3600


def retrieve(call: Call) -> Obj:
    call.params.known(())
    return call.state.get("charge", call.id, param="charge")


def update(call: Call) -> Obj:
    params = call.params
    params.known(("metadata", "description", "receipt_email"))
    row = call.state.get("charge", call.id, param="charge")
    metadata = params.metadata(row["metadata"])
    row["metadata"] = metadata
    for name in ("description", "receipt_email"):
        if name in params:
            row[name] = params.string(name)
    call.state.emit("charge.updated", row)
    return row


def list_all(call: Call) -> Obj:
    return page(call, "charge", "/v1/charges", equal=("payment_intent", "customer"))


def make(state: State, intent: Obj, *, status: str, captured: bool) -> Obj:
    """A charge for a PaymentIntent, with the intent's metadata as it is now."""
    method = state.get("payment_method", intent["payment_method"], param="payment_method")
    card = cards.behaviour(state, method["id"])
    row = state.new(
        "charge",
        amount=intent["amount"],
        amount_captured=intent["amount"] if captured and status == "succeeded" else 0,
        captured=captured and status == "succeeded",
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        metadata=dict(intent["metadata"]),
        paid=status == "succeeded",
        payment_intent=intent["id"],
        payment_method=method["id"],
        status=status,
    )
    row["receipt_url"] = f"https://pay.stripe.com/receipts/payment/{random_text(40)}"
    details = row["payment_method_details"]
    if card.kind == "card":
        face = details["card"]
        face.update(
            brand=card.brand, network=card.brand, last4=card.last4, amount_authorized=intent["amount"]
        )
        face["overcapture"]["maximum_amount_capturable"] = intent["amount"]
        if status == "succeeded" and not captured:
            face["capture_before"] = row["created"] + HOLD_SECONDS
    else:
        row["payment_method_details"] = {card.kind: method[card.kind], "type": card.kind}
    if row["captured"]:
        book(state, row, row["amount"], "charge")
    intent["latest_charge"] = row["id"]
    state.link(intent["id"], "charge", row["id"])
    return row


def book(state: State, source: Obj, amount: int, kind: str) -> str:
    """A balance transaction of a charge, refund or dispute; its id becomes the source's."""
    row = state.new(
        "balance_transaction",
        amount=amount,
        net=amount,
        available_on=state.now() + 2 * 24 * 3600,
        currency=source["currency"],
        source=source["id"],
        type=kind,
        reporting_category=kind,
    )
    if kind in ("charge", "refund"):
        source["balance_transaction"] = row["id"]
    transaction_id: str = row["id"]
    return transaction_id


def capture(state: State, charge: Obj, amount: int) -> None:
    """Take `amount` of an uncaptured charge. The rest is given back and counts as refunded, as at Stripe."""
    charge["captured"] = True
    charge["amount_captured"] = amount
    charge["amount_refunded"] = charge["amount"] - amount
    book(state, charge, amount, "charge")
    state.emit("charge.captured", charge, captured=False, amount_captured=0)


def release(state: State, charge: Obj) -> None:
    """Give an uncaptured hold back: `charge.refunded` of a charge that was never captured."""
    charge["amount_refunded"] = charge["amount"]
    charge["refunded"] = True
    state.emit("charge.refunded", charge, amount_refunded=0, refunded=False)


def expire(state: State, charge: Obj) -> None:
    """The bank's time for the hold is over."""
    charge["amount_refunded"] = charge["amount"]
    charge["refunded"] = True
    state.secret(charge["id"])["expired"] = True
    state.emit("charge.expired", charge, amount_refunded=0, refunded=False)


def expired_for_capture(intent: Obj | None = None) -> StripeError:
    return invalid_request(
        "The charge cannot be captured because the charge has expired. Uncaptured charges expire 7 days "
        "after they were created.",
        code="charge_expired_for_capture",
        payment_intent=intent,
    )


def after_capture(state: State, charge: Obj) -> None:
    """What a test card does once the money was taken: some are disputed at once."""
    reason = cards.behaviour(state, charge["payment_method"]).disputed
    if reason == "inquiry":
        disputes.open_dispute(state, charge, reason="fraudulent", status="warning_needs_response")
    elif reason is not None:
        disputes.open_dispute(state, charge, reason=reason)
