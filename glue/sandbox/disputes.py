"""Disputes: opened from the control API or by a test card, answered and closed."""

from __future__ import annotations

from glue.sandbox.errors import Obj, invalid_request
from glue.sandbox.listing import Call, page
from glue.sandbox.state import State

CLOSED = frozenset(("won", "lost", "warning_closed"))
ANSWER_SECONDS = 9 * 24 * 3600


def retrieve(call: Call) -> Obj:
    call.params.known(())
    return call.state.get("dispute", call.id, param="dispute")


def list_all(call: Call) -> Obj:
    return page(call, "dispute", "/v1/disputes", equal=("payment_intent", "charge"))


def update(call: Call) -> Obj:
    """Submit evidence or change metadata."""
    params = call.params
    params.known(("evidence", "metadata", "submit"))
    row = call.state.get("dispute", call.id, param="dispute")
    evidence, submit = params.mapping("evidence"), params.boolean("submit")
    evidence.known(row["evidence"])
    metadata = params.metadata(row["metadata"])
    if row["status"] in CLOSED:
        raise invalid_request("This dispute is already closed.")
    row["metadata"] = metadata
    if evidence.values:
        row["evidence"].update(evidence.values)
        row["evidence_details"]["has_evidence"] = True
    if submit:
        row["evidence_details"]["submission_count"] += 1
        row["status"] = "warning_under_review" if row["status"].startswith("warning") else "under_review"
    call.state.emit("charge.dispute.updated", row)
    return row


def close(call: Call) -> Obj:
    """Accept the dispute: it is lost."""
    call.params.known(())
    row = call.state.get("dispute", call.id, param="dispute")
    settle(call.state, row, "lost")
    return row


def open_dispute(
    state: State,
    charge: Obj,
    *,
    reason: str = "fraudulent",
    amount: int | None = None,
    status: str = "needs_response",
) -> Obj:
    """The cardholder disputes a captured charge; an inquiry (`warning_...`) moves no money yet."""
    inquiry = status.startswith("warning")
    row = state.new(
        "dispute",
        amount=charge["amount_captured"] if amount is None else amount,
        charge=charge["id"],
        currency=charge["currency"],
        payment_intent=charge["payment_intent"],
        reason=reason,
        status=status,
        is_charge_refundable=inquiry,
    )
    row["evidence_details"]["due_by"] = row["created"] + ANSWER_SECONDS
    row["payment_method_details"]["card"]["case_type"] = "inquiry" if inquiry else "chargeback"
    charge["disputed"] = True
    state.link(charge["id"], "dispute", row["id"])
    if not inquiry:
        _book(state, row, -row["amount"])
    state.emit("charge.dispute.created", row)
    if not inquiry:
        state.emit("charge.dispute.funds_withdrawn", row)
    return row


def settle(state: State, row: Obj, outcome: str) -> None:
    """End a dispute as `won` or `lost` (an inquiry simply closes)."""
    if row["status"] in CLOSED:
        raise invalid_request("This dispute is already closed.")
    inquiry = row["status"].startswith("warning")
    row["status"] = "warning_closed" if inquiry else outcome
    row["is_charge_refundable"] = inquiry or outcome == "won"
    reinstated = outcome == "won" and not inquiry
    if reinstated:
        _book(state, row, row["amount"])
    state.emit("charge.dispute.closed", row)
    if reinstated:
        state.emit("charge.dispute.funds_reinstated", row)


def blocks_refund(state: State, charge: Obj) -> bool:
    """Whether a dispute keeps the charge from being refunded."""
    return any(not row["is_charge_refundable"] for row in state.linked(charge["id"], "dispute"))


def _book(state: State, row: Obj, amount: int) -> None:
    transaction = state.new(
        "balance_transaction",
        amount=amount,
        net=amount,
        available_on=row["created"],
        currency=row["currency"],
        source=row["id"],
        type="adjustment",
        reporting_category="dispute" if amount < 0 else "dispute_reversal",
    )
    row["balance_transactions"].append(transaction)
