"""Refunds and disputes."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from glue.sandbox.control import ControlError, SandboxControl
from tests.py.sandbox.support import Payments


def charge_of(client: stripe.StripeClient, intent: stripe.PaymentIntent) -> stripe.Charge:
    return client.v1.charges.retrieve(str(intent.latest_charge))


def test_a_refund_without_an_amount_gives_back_the_rest(
    client: stripe.StripeClient, payments: Payments
) -> None:
    intent = payments.paid()
    client.v1.refunds.create({"payment_intent": intent.id, "amount": 2000})
    rest = client.v1.refunds.create({"payment_intent": intent.id, "metadata": {"command_id": "c1"}})
    assert (rest.amount, rest.status) == (3000, "succeeded")
    assert rest.metadata is not None
    assert rest.metadata.to_dict() == {"command_id": "c1"}
    charge = charge_of(client, intent)
    assert (charge.amount_refunded, charge.refunded) == (5000, True)


def test_a_refund_can_name_the_charge(client: stripe.StripeClient, payments: Payments) -> None:
    intent = payments.paid()
    refund = client.v1.refunds.create({"charge": str(intent.latest_charge), "reason": "duplicate"})
    assert (refund.payment_intent, refund.reason) == (intent.id, "duplicate")


def test_a_refund_of_more_than_the_rest_is_refused(client: stripe.StripeClient, payments: Payments) -> None:
    intent = payments.paid()
    client.v1.refunds.create({"payment_intent": intent.id, "amount": 2000})
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 3001})
    assert (caught.value.param, caught.value.code) == ("amount", None)
    assert "greater than unrefunded amount on charge ($30.00)" in str(caught.value)


def test_a_refunded_charge_is_not_refunded_again(client: stripe.StripeClient, payments: Payments) -> None:
    intent = payments.paid()
    client.v1.refunds.create({"payment_intent": intent.id})
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert caught.value.code == "charge_already_refunded"


def test_only_captured_money_is_refunded(client: stripe.StripeClient, payments: Payments) -> None:
    for intent in (payments.held(), payments.intent()):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            client.v1.refunds.create({"payment_intent": intent.id})
        assert "does not have a successful charge to refund" in str(caught.value)


def test_after_a_partial_capture_only_the_captured_part_is_refunded(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = client.v1.payment_intents.capture(payments.held().id, {"amount_to_capture": 3000})
    assert client.v1.refunds.create({"payment_intent": intent.id}).amount == 3000
    charge = charge_of(client, intent)
    assert (charge.amount_refunded, charge.refunded) == (5000, True)
    entry = sandbox.books()["payment_intents"][0]
    assert (entry["captured"], entry["refunded"]) == (3000, 3000)


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({}, "payment_intent"),
        ({"payment_intent": "pi_none"}, "payment_intent"),
        ({"charge": "ch_none"}, "charge"),
        ({"payment_intent": "pi_none", "charge": "ch_none"}, None),
        ({"payment_intent": "pi_none", "amount": 0}, "amount"),
        ({"payment_intent": "pi_none", "reason": "because"}, "reason"),
    ],
)
def test_a_refund_with_bad_parameters_is_refused(
    client: stripe.StripeClient, values: Any, param: str | None
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.refunds.create(values)
    assert (caught.value.http_status, caught.value.param) == (400, param)


def test_refunds_are_listed_by_intent_and_by_charge(client: stripe.StripeClient, payments: Payments) -> None:
    intent, other = payments.paid(), payments.paid()
    first = client.v1.refunds.create({"payment_intent": intent.id, "amount": 100})
    second = client.v1.refunds.create({"payment_intent": intent.id, "amount": 200})
    client.v1.refunds.create({"payment_intent": other.id})
    assert [row.id for row in client.v1.refunds.list({"payment_intent": intent.id})] == [second.id, first.id]
    by_charge = client.v1.refunds.list({"charge": str(intent.latest_charge)})
    assert [row.id for row in by_charge] == [second.id, first.id]


def test_a_refund_that_fails_later_gives_the_money_back_to_the_books(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = payments.paid(method="pm_card_refundFail")
    refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 1000})
    assert refund.status == "succeeded"
    assert charge_of(client, intent).amount_refunded == 1000
    sandbox.advance(hours=1)
    after = client.v1.refunds.retrieve(refund.id)
    assert (after.status, after.failure_reason) == ("failed", "expired_or_canceled_card")
    assert charge_of(client, intent).amount_refunded == 0
    assert sandbox.books()["payment_intents"][0]["refunded"] == 0


def test_any_refund_can_be_made_to_fail_once(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    refund = client.v1.refunds.create({"payment_intent": payments.paid().id})
    assert sandbox.fail_refund(refund.id, "lost_or_stolen_card")["failure_reason"] == "lost_or_stolen_card"
    sandbox.fail_refund(refund.id)
    assert len(sandbox.events(type="refund.failed")) == 1


def test_a_pending_refund_succeeds_later(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = payments.paid(method="pm_card_pendingRefund")
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "pending"
    assert sandbox.succeed_refund(refund.id)["status"] == "succeeded"
    sandbox.advance(hours=1)
    assert [event["type"] for event in sandbox.events(object=refund.id)] == [
        "refund.created",
        "refund.updated",
        "charge.refund.updated",
    ]


@pytest.mark.parametrize(("arrives", "status", "left"), [(True, "succeeded", 5000), (False, "canceled", 0)])
def test_a_refund_may_wait_for_the_customer(
    client: stripe.StripeClient,
    payments: Payments,
    sandbox: SandboxControl,
    arrives: bool,
    status: str,
    left: int,
) -> None:
    intent = payments.paid(method="pm_card_pendingRefund", amount=5000)
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert sandbox.cancel_refund(refund.id)["status"] == "pending"
    assert sandbox.require_refund_action(refund.id)["status"] == "requires_action"
    assert charge_of(client, intent).amount_refunded == 5000
    after = sandbox.succeed_refund(refund.id) if arrives else sandbox.cancel_refund(refund.id)
    assert after["status"] == status
    sandbox.fail_refund(refund.id) if not arrives else sandbox.require_refund_action(refund.id)
    assert client.v1.refunds.retrieve(refund.id).status == status
    assert charge_of(client, intent).amount_refunded == left
    assert len(sandbox.events(type="refund.updated", object=refund.id)) == 2


def test_refund_metadata_can_be_changed(client: stripe.StripeClient, payments: Payments) -> None:
    refund = client.v1.refunds.create({"payment_intent": payments.paid().id})
    after = client.v1.refunds.update(refund.id, {"metadata": {"note": "x"}})
    assert after.metadata is not None
    assert after.metadata.to_dict() == {"note": "x"}


def test_a_disputed_charge_is_not_refunded_until_it_is_won(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = payments.paid()
    dispute = sandbox.dispute(payment_intent=intent.id, reason="product_not_received")
    assert charge_of(client, intent).disputed is True
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert caught.value.code == "charge_disputed"
    sandbox.close_dispute(dispute["id"], "won")
    assert client.v1.refunds.create({"payment_intent": intent.id}).status == "succeeded"


def test_a_lost_dispute_stays_unrefundable(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = payments.paid()
    dispute = sandbox.dispute(charge=str(intent.latest_charge), amount=1000)
    assert client.v1.disputes.close(dispute["id"]).status == "lost"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.disputes.close(dispute["id"])
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert caught.value.code == "charge_disputed"
    assert sandbox.books()["payment_intents"][0]["disputed"] == 1000


def test_evidence_moves_a_dispute_under_review(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    dispute = sandbox.dispute(payment_intent=payments.paid().id)
    after = client.v1.disputes.update(dispute["id"], {"evidence": {"customer_name": "Ann"}, "submit": True})
    assert (after.status, after.evidence.customer_name) == ("under_review", "Ann")


def test_the_dispute_card_is_disputed_right_after_capture(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = payments.held(method="pm_card_createDispute")
    assert list(client.v1.disputes.list()) == []
    client.v1.payment_intents.capture(intent.id)
    (dispute,) = client.v1.disputes.list({"payment_intent": intent.id})
    assert (dispute.amount, dispute.status, dispute.reason) == (5000, "needs_response", "fraudulent")
    types = [event["type"] for event in sandbox.events()]
    assert types[-2:] == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]


def test_an_inquiry_moves_no_money_and_allows_a_refund(
    client: stripe.StripeClient, payments: Payments
) -> None:
    intent = payments.paid(method="pm_card_createDisputeInquiry")
    (dispute,) = client.v1.disputes.list({"payment_intent": intent.id})
    assert dispute.status == "warning_needs_response"
    assert client.v1.refunds.create({"payment_intent": intent.id}).status == "succeeded"


def test_a_hold_cannot_be_disputed(payments: Payments, sandbox: SandboxControl) -> None:
    with pytest.raises(ControlError, match="only a captured charge"):
        sandbox.dispute(payment_intent=payments.held().id)
