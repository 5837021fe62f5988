"""PaymentIntents and charges behave as Stripe documents them."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from glue.sandbox.control import SandboxControl
from tests.py.sandbox.support import Payments


def failed(error: stripe.StripeError) -> Any:
    assert error.error is not None
    return error.error


def test_a_new_intent_waits_for_a_payment_method(payments: Payments) -> None:
    intent = payments.intent(metadata={"booking_id": "b1"})
    assert intent.status == "requires_payment_method"
    assert intent.metadata.to_dict() == {"booking_id": "b1"}
    assert intent.client_secret is not None
    assert intent.client_secret.startswith(f"{intent.id}_secret_")
    assert (intent.amount_capturable, intent.amount_received, intent.latest_charge) == (0, 0, None)


def test_an_intent_with_a_payment_method_waits_for_confirmation(payments: Payments) -> None:
    assert payments.intent(payment_method="pm_card_visa").status == "requires_confirmation"


def test_manual_capture_holds_the_money_for_seven_days(
    client: stripe.StripeClient, payments: Payments
) -> None:
    intent = payments.held(metadata={"payment_id": "p1"})
    assert intent.status == "requires_capture"
    assert (intent.amount_capturable, intent.amount_received) == (5000, 0)
    charge = client.v1.charges.retrieve(str(intent.latest_charge))
    assert (charge.captured, charge.amount_captured, charge.paid, charge.status) == (
        False,
        0,
        True,
        "succeeded",
    )
    assert charge.metadata.to_dict() == {"payment_id": "p1"}
    assert charge.payment_method_details is not None
    assert charge.payment_method_details.card is not None
    assert charge.payment_method_details.card.capture_before == charge.created + 7 * 24 * 3600


def test_automatic_capture_takes_the_money_at_once(client: stripe.StripeClient, payments: Payments) -> None:
    intent = payments.paid(700)
    assert (intent.status, intent.amount_received, intent.amount_capturable) == ("succeeded", 700, 0)
    charge = client.v1.charges.retrieve(str(intent.latest_charge), {"expand": ["balance_transaction"]})
    assert (charge.captured, charge.amount_captured) == (True, 700)
    assert isinstance(charge.balance_transaction, stripe.BalanceTransaction)
    assert charge.balance_transaction.net == 700


def test_create_with_confirm_pays_at_once(payments: Payments) -> None:
    intent = payments.intent(confirm=True, payment_method="pm_card_mastercard")
    assert intent.status == "requires_capture"


def test_capture_takes_the_hold(client: stripe.StripeClient, payments: Payments) -> None:
    intent = client.v1.payment_intents.capture(payments.held().id)
    assert (intent.status, intent.amount_received, intent.amount_capturable) == ("succeeded", 5000, 0)


def test_partial_capture_gives_the_rest_back(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = client.v1.payment_intents.capture(payments.held().id, {"amount_to_capture": 3000})
    assert intent.amount_received == 3000
    charge = client.v1.charges.retrieve(str(intent.latest_charge))
    assert (charge.amount, charge.amount_captured, charge.amount_refunded) == (5000, 3000, 2000)
    assert charge.refunded is False
    assert sandbox.books()["totals"]["usd"]["refunded"] == 0


def test_capture_of_more_than_the_hold_is_refused(client: stripe.StripeClient, payments: Payments) -> None:
    intent = payments.held()
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 5001})
    assert (caught.value.code, caught.value.param) == ("amount_too_large", "amount_to_capture")
    assert client.v1.payment_intents.retrieve(intent.id).status == "requires_capture"


@pytest.mark.parametrize("verb", ["capture", "cancel", "confirm"])
def test_a_succeeded_intent_refuses_every_verb(
    client: stripe.StripeClient, payments: Payments, verb: str
) -> None:
    intent = payments.paid()
    call = getattr(client.v1.payment_intents, verb)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        call(intent.id)
    error = failed(caught.value)
    assert (caught.value.http_status, error.code) == (400, "payment_intent_unexpected_state")
    assert error.payment_intent["id"] == intent.id
    assert error.payment_intent["status"] == "succeeded"
    assert error.doc_url.endswith("payment-intent-unexpected-state")


@pytest.mark.parametrize("verb", ["capture", "cancel", "confirm"])
def test_a_canceled_intent_refuses_every_verb(
    client: stripe.StripeClient, payments: Payments, verb: str
) -> None:
    intent = client.v1.payment_intents.cancel(payments.held().id)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        getattr(client.v1.payment_intents, verb)(intent.id)
    assert failed(caught.value).payment_intent["status"] == "canceled"


def test_cancel_releases_the_hold(client: stripe.StripeClient, payments: Payments) -> None:
    intent = client.v1.payment_intents.cancel(
        payments.held().id, {"cancellation_reason": "requested_by_customer"}
    )
    assert (intent.status, intent.amount_capturable) == ("canceled", 0)
    assert intent.cancellation_reason == "requested_by_customer"
    assert intent.canceled_at is not None
    charge = client.v1.charges.retrieve(str(intent.latest_charge))
    assert (charge.captured, charge.refunded, charge.amount_refunded) == (False, True, 5000)


@pytest.mark.parametrize(
    ("method", "code", "decline_code"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", None),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", None),
    ],
)
def test_a_declined_card_leads_back_to_choosing_one(
    client: stripe.StripeClient, payments: Payments, method: str, code: str, decline_code: str | None
) -> None:
    intent = payments.intent()
    with pytest.raises(stripe.CardError) as caught:
        payments.confirm(intent.id, method)
    error = failed(caught.value)
    assert (caught.value.http_status, error.code, error.to_dict().get("decline_code")) == (
        402,
        code,
        decline_code,
    )
    assert error.payment_intent["status"] == "requires_payment_method"
    after = client.v1.payment_intents.retrieve(intent.id)
    assert after.last_payment_error is not None
    assert after.last_payment_error.code == code
    assert after.payment_method is None
    charge = client.v1.charges.retrieve(str(after.latest_charge))
    assert (charge.status, charge.failure_code, charge.paid) == ("failed", code, False)


def test_another_card_pays_after_a_decline(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = payments.intent()
    with pytest.raises(stripe.CardError):
        payments.confirm(intent.id, "pm_card_chargeDeclined")
    paid = payments.confirm(intent.id)
    assert (paid.status, paid.last_payment_error) == ("requires_capture", None)
    assert sandbox.books()["payment_intents"][0]["charges"] == 2


@pytest.mark.parametrize("method", ["pm_card_authenticationRequired", "pm_card_threeDSecure2Required"])
def test_three_d_secure_asks_the_customer_first(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl, method: str
) -> None:
    intent = payments.held(method=method)
    assert intent.status == "requires_action"
    assert intent.next_action is not None
    assert intent.latest_charge is None
    sandbox.authenticate(intent.id)
    after = client.v1.payment_intents.retrieve(intent.id)
    assert (after.status, after.next_action) == ("requires_capture", None)


def test_failed_three_d_secure_leads_back_to_choosing_a_card(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = payments.held(method="pm_card_authenticationRequired")
    sandbox.authenticate(intent.id, succeed=False)
    after = client.v1.payment_intents.retrieve(intent.id)
    assert after.status == "requires_payment_method"
    assert after.last_payment_error is not None
    assert after.last_payment_error.code == "payment_intent_authentication_failure"


def test_three_d_secure_with_a_return_url_redirects(client: stripe.StripeClient, payments: Payments) -> None:
    intent = client.v1.payment_intents.confirm(
        payments.intent().id,
        {"payment_method": "pm_card_authenticationRequired", "return_url": "https://example.com/back"},
    )
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    assert intent.next_action.redirect_to_url.return_url == "https://example.com/back"


def test_off_session_three_d_secure_is_declined(client: stripe.StripeClient, payments: Payments) -> None:
    with pytest.raises(stripe.CardError) as caught:
        payments.intent(confirm=True, off_session=True, payment_method="pm_card_authenticationRequired")
    assert caught.value.code == "authentication_required"


@pytest.mark.parametrize(("succeed", "status"), [(True, "succeeded"), (False, "requires_payment_method")])
def test_a_bank_debit_is_processing_until_the_bank_answers(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl, succeed: bool, status: str
) -> None:
    intent = payments.paid(method="pm_usBankAccount")
    assert intent.status == "processing"
    sandbox.settle(intent.id, succeed=succeed)
    after = client.v1.payment_intents.retrieve(intent.id)
    assert (after.status, after.amount_received) == (status, 5000 if succeed else 0)


def test_update_merges_metadata_and_removes_empty_values(
    client: stripe.StripeClient, payments: Payments
) -> None:
    intent = payments.held(metadata={"a": "1", "b": "2"})
    after = client.v1.payment_intents.update(intent.id, {"metadata": {"b": "", "c": "3"}})
    assert after.metadata.to_dict() == {"a": "1", "c": "3"}


def test_update_changes_the_amount_only_before_the_money_is_held(
    client: stripe.StripeClient, payments: Payments
) -> None:
    assert client.v1.payment_intents.update(payments.intent().id, {"amount": 900}).amount == 900
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.payment_intents.update(payments.held().id, {"amount": 900})
    assert caught.value.code == "payment_intent_unexpected_state"


@pytest.mark.parametrize(
    ("values", "param", "code"),
    [
        ({"currency": "usd"}, "amount", "parameter_missing"),
        ({"amount": 500}, "currency", "parameter_missing"),
        ({"amount": 49, "currency": "usd"}, "amount", "amount_too_small"),
        ({"amount": 0, "currency": "usd"}, "amount", "parameter_invalid_integer"),
        ({"amount": -5, "currency": "usd"}, "amount", "parameter_invalid_integer"),
        ({"amount": "5.5", "currency": "usd"}, "amount", "parameter_invalid_integer"),
        ({"amount": 100_000_000, "currency": "usd"}, "amount", "amount_too_large"),
        ({"amount": 500, "currency": "zzz"}, "currency", None),
        ({"amount": 1005, "currency": "kwd"}, "amount", None),
        ({"amount": 5050, "currency": "isk"}, "amount", None),
        ({"amount": 500, "currency": "usd", "colour": "red"}, "colour", "parameter_unknown"),
        ({"amount": 500, "currency": "usd", "capture_method": "later"}, "capture_method", None),
        ({"amount": 500, "currency": "usd", "metadata": {"k" * 41: "v"}}, f"metadata[{'k' * 41}]", None),
        ({"amount": 500, "currency": "usd", "metadata": {"k": "v" * 501}}, "metadata[k]", None),
        ({"amount": 500, "currency": "usd", "off_session": True}, "off_session", None),
        (
            {"amount": 500, "currency": "usd", "payment_method": "pm_none"},
            "payment_method",
            "resource_missing",
        ),
        ({"amount": 500, "currency": "usd", "customer": "cus_none"}, "customer", "resource_missing"),
        ({"amount": 500, "currency": "usd", "confirm": "maybe"}, "confirm", None),
        ({"amount": 500, "currency": "usd", "metadata": "text"}, "metadata", None),
    ],
)
def test_a_refused_parameter_is_named_and_creates_nothing(
    client: stripe.StripeClient, sandbox: SandboxControl, values: Any, param: str, code: str | None
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.payment_intents.create(values)
    assert (caught.value.http_status, caught.value.param, caught.value.code) == (400, param, code)
    assert sandbox.books()["payment_intents"] == []


def test_confirm_without_a_payment_method_is_refused(client: stripe.StripeClient, payments: Payments) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.payment_intents.confirm(payments.intent().id)
    assert caught.value.code == "payment_intent_unexpected_state"


@pytest.mark.parametrize(
    "path",
    ["payment_intents", "charges", "refunds", "disputes", "events", "customers", "balance_transactions"],
)
def test_an_unknown_id_is_resource_missing(client: stripe.StripeClient, path: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        getattr(client.v1, path).retrieve("zz_none")
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")


def test_a_charge_can_be_captured_by_its_own_id_only_once(
    client: stripe.StripeClient, payments: Payments
) -> None:
    charge_id = str(payments.held().latest_charge)
    assert client.v1.charges.capture(charge_id, {"amount": 1000}).amount_captured == 1000
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.charges.capture(charge_id)
    assert caught.value.code == "charge_already_captured"


def test_payment_methods_and_customers_are_kept(client: stripe.StripeClient, payments: Payments) -> None:
    method = client.v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
    customer = client.v1.customers.create({"email": "a@example.com", "metadata": {"k": "v"}})
    client.v1.customers.update(customer.id, {"name": "Ann"})
    intent = payments.intent(customer=customer.id, payment_method=method.id)
    seen = client.v1.payment_intents.retrieve(intent.id, {"expand": ["customer", "payment_method"]})
    assert isinstance(seen.customer, stripe.Customer)
    assert (seen.customer.email, seen.customer.name) == ("a@example.com", "Ann")
    assert isinstance(seen.payment_method, stripe.PaymentMethod)
    assert seen.payment_method.card is not None
    assert seen.payment_method.card.last4 == "4242"
    assert [row.id for row in client.v1.customers.list({"email": "a@example.com"})] == [customer.id]
    assert client.v1.payment_methods.retrieve(method.id).id == method.id


def test_objects_have_every_key_that_stripe_publishes(
    client: stripe.StripeClient, payments: Payments
) -> None:
    intent = payments.held()
    charge = client.v1.charges.retrieve(str(intent.latest_charge))
    for key in ("amount_details", "next_action", "processing", "setup_future_usage", "transfer_group"):
        assert key in intent.to_dict()
    for key in ("balance_transaction", "billing_details", "failure_code", "outcome", "receipt_url"):
        assert key in charge.to_dict()


def test_a_charge_can_be_described_and_found(client: stripe.StripeClient, payments: Payments) -> None:
    intent = payments.held()
    charge_id = str(intent.latest_charge)
    after = client.v1.charges.update(charge_id, {"description": "Lesson", "metadata": {"k": "v"}})
    assert (after.description, after.metadata.to_dict()) == ("Lesson", {"k": "v"})
    assert [row.id for row in client.v1.charges.list({"payment_intent": intent.id})] == [charge_id]
