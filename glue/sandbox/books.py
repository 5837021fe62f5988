"""The sandbox's own books, for comparing with ours."""

from __future__ import annotations

from glue.sandbox import refunds
from glue.sandbox.errors import Obj
from glue.sandbox.state import State


def books(state: State) -> Obj:
    """One entry per PaymentIntent in order of creation, and totals by currency. Amounts are minor units."""
    entries = [_entry(state, intent) for intent in state.stores["payment_intent"]]
    totals: dict[str, dict[str, int]] = {}
    for entry in entries:
        total = totals.setdefault(
            entry["currency"],
            {"payment_intents": 0, "capturable": 0, "captured": 0, "refunded": 0, "disputed": 0},
        )
        total["payment_intents"] += 1
        total["capturable"] += entry["amount_capturable"]
        for name in ("captured", "refunded", "disputed"):
            total[name] += entry[name]
    return {"payment_intents": entries, "totals": totals}


def _entry(state: State, intent: Obj) -> Obj:
    charges = state.linked(intent["id"], "charge")
    disputes = [row for charge in charges for row in state.linked(charge["id"], "dispute")]
    return {
        "id": intent["id"],
        "metadata": dict(intent["metadata"]),
        "status": intent["status"],
        "cancellation_reason": intent["cancellation_reason"],
        "capture_method": intent["capture_method"],
        "currency": intent["currency"],
        "amount": intent["amount"],
        "amount_capturable": intent["amount_capturable"],
        "captured": sum(charge["amount_captured"] for charge in charges),
        "refunded": sum(refunds.refunded(state, charge) for charge in charges),
        "refunds": [
            {key: row[key] for key in ("id", "amount", "status", "metadata")}
            for charge in charges
            for row in state.linked(charge["id"], "refund")
        ],
        "disputed": sum(row["amount"] for row in disputes if row["status"] != "warning_closed"),
        "disputes": [{key: row[key] for key in ("id", "amount", "status", "reason")} for row in disputes],
        "charges": len(charges),
    }
