"""Checkout Sessions in payment mode."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from glue.sandbox.control import ControlError, SandboxControl
from tests.py.sandbox.support import Receiver

ITEM: Any = {
    "price_data": {"currency": "usd", "unit_amount": 1500, "product_data": {"name": "Ten lessons"}},
    "quantity": 2,
}


def create(client: stripe.StripeClient, **more: Any) -> stripe.checkout.Session:
    values: Any = {"mode": "payment", "success_url": "https://example.com/ok", "line_items": [ITEM], **more}
    return client.v1.checkout.sessions.create(values)


def types(sandbox: SandboxControl) -> list[str]:
    return [event["type"] for event in sandbox.events()]


def test_a_new_session_is_open_and_unpaid(client: stripe.StripeClient) -> None:
    session = create(client, metadata={"order_id": "o1"}, client_reference_id="u1")
    assert (session.status, session.payment_status, session.payment_intent) == ("open", "unpaid", None)
    assert (session.amount_total, session.currency) == (3000, "usd")
    assert session.url is not None
    assert session.metadata is not None
    assert session.metadata.to_dict() == {"order_id": "o1"}
    assert session.expires_at == session.created + 24 * 3600


def test_a_paid_session_completes(
    client: stripe.StripeClient, sandbox: SandboxControl, receiver: Receiver
) -> None:
    session = create(client, payment_intent_data={"metadata": {"order_id": "o1"}})
    sandbox.pay_session(session.id)
    sandbox.wait_idle()
    assert receiver.types() == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]
    after = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent", "line_items"]})
    assert (after.status, after.payment_status, after.url) == ("complete", "paid", None)
    assert isinstance(after.payment_intent, stripe.PaymentIntent)
    assert after.payment_intent.metadata.to_dict() == {"order_id": "o1"}
    assert after.line_items is not None
    assert after.line_items.data[0].description == "Ten lessons"
    assert after.customer_details is not None
    assert after.customer_details.email == "customer@example.com"


def test_a_declined_card_leaves_the_session_open(
    client: stripe.StripeClient, sandbox: SandboxControl
) -> None:
    session = create(client)
    with pytest.raises(ControlError) as caught:
        sandbox.pay_session(session.id, "pm_card_chargeDeclined")
    assert caught.value.status == 402
    assert client.v1.checkout.sessions.retrieve(session.id).status == "open"
    assert sandbox.pay_session(session.id)["status"] == "complete"
    assert len(sandbox.books()["payment_intents"]) == 1


def test_a_session_is_paid_once(client: stripe.StripeClient, sandbox: SandboxControl) -> None:
    session = create(client)
    sandbox.pay_session(session.id)
    with pytest.raises(ControlError, match="status of complete"):
        sandbox.pay_session(session.id)


def test_three_d_secure_completes_the_session_afterwards(
    client: stripe.StripeClient, sandbox: SandboxControl
) -> None:
    session = create(client)
    open_session = sandbox.pay_session(session.id, "pm_card_authenticationRequired")
    assert open_session["status"] == "open"
    sandbox.authenticate(open_session["payment_intent"])
    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"


@pytest.mark.parametrize(
    ("succeed", "event", "status"),
    [
        (True, "checkout.session.async_payment_succeeded", "paid"),
        (False, "checkout.session.async_payment_failed", "unpaid"),
    ],
)
def test_a_bank_debit_completes_the_session_unpaid_and_settles_later(
    client: stripe.StripeClient, sandbox: SandboxControl, succeed: bool, event: str, status: str
) -> None:
    session = create(client)
    completed = sandbox.pay_session(session.id, "pm_usBankAccount")
    assert (completed["status"], completed["payment_status"]) == ("complete", "unpaid")
    sandbox.settle(completed["payment_intent"], succeed=succeed)
    assert types(sandbox)[-1] == event
    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == status


def test_manual_capture_completes_the_session_unpaid(
    client: stripe.StripeClient, sandbox: SandboxControl
) -> None:
    session = create(client, payment_intent_data={"capture_method": "manual"})
    completed = sandbox.pay_session(session.id)
    assert (completed["status"], completed["payment_status"]) == ("complete", "unpaid")
    assert sandbox.books()["payment_intents"][0]["amount_capturable"] == 3000


def test_an_open_session_can_be_expired_once(client: stripe.StripeClient, sandbox: SandboxControl) -> None:
    session = create(client)
    expired = client.v1.checkout.sessions.expire(session.id)
    assert (expired.status, expired.url) == ("expired", None)
    assert types(sandbox) == ["checkout.session.expired"]
    with pytest.raises(stripe.InvalidRequestError, match="status of expired"):
        client.v1.checkout.sessions.expire(session.id)
    with pytest.raises(ControlError):
        sandbox.pay_session(session.id)


def test_an_expired_session_takes_its_failed_intent_with_it(
    client: stripe.StripeClient, sandbox: SandboxControl
) -> None:
    session = create(client)
    with pytest.raises(ControlError):
        sandbox.pay_session(session.id, "pm_card_chargeDeclined")
    client.v1.checkout.sessions.expire(session.id)
    assert sandbox.books()["payment_intents"][0]["status"] == "canceled"


def test_a_session_lapses_by_the_clock(client: stripe.StripeClient, sandbox: SandboxControl) -> None:
    short = create(client, expires_at=int(sandbox.now()) + 1800)
    paid = create(client, expires_at=int(sandbox.now()) + 1800)
    long = create(client)
    sandbox.pay_session(paid.id)
    sandbox.advance(seconds=1801)
    statuses = [client.v1.checkout.sessions.retrieve(each.id).status for each in (short, paid, long)]
    assert statuses == ["expired", "complete", "open"]


def test_sessions_are_listed_by_intent_and_status(
    client: stripe.StripeClient, sandbox: SandboxControl
) -> None:
    first, second = create(client), create(client)
    paid = sandbox.pay_session(first.id)
    by_intent = client.v1.checkout.sessions.list({"payment_intent": paid["payment_intent"]})
    assert [row.id for row in by_intent] == [first.id]
    assert [row.id for row in client.v1.checkout.sessions.list({"status": "open"})] == [second.id]


def test_session_metadata_can_be_changed_and_line_items_listed(client: stripe.StripeClient) -> None:
    session = create(client, metadata={"a": "1"})
    after = client.v1.checkout.sessions.update(session.id, {"metadata": {"b": "2"}})
    assert after.metadata is not None
    assert after.metadata.to_dict() == {"a": "1", "b": "2"}
    (item,) = client.v1.checkout.sessions.line_items.list(session.id)
    assert (item.amount_total, item.quantity) == (3000, 2)


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"mode": None}, "mode"),
        ({"mode": "subscription"}, "mode"),
        ({"success_url": None}, "success_url"),
        ({"line_items": []}, "line_items"),
        ({"line_items": [{"price": "price_none", "quantity": 1}]}, "line_items[0][price]"),
        ({"line_items": [{"quantity": 1}]}, "line_items[0][price_data]"),
        ({"line_items": [{**ITEM, "quantity": 0}]}, "line_items[0][quantity]"),
        ({"line_items": [{"price_data": ITEM["price_data"]}]}, "line_items[0][quantity]"),
        (
            {
                "line_items": [
                    {"quantity": 1, "price_data": {"currency": "usd", "product_data": {"name": "x"}}}
                ]
            },
            "line_items[0][price_data][unit_amount]",
        ),
        (
            {"line_items": [{"quantity": 1, "price_data": {"currency": "usd", "unit_amount": 5}}]},
            "line_items[0][price_data][product_data][name]",
        ),
        ({"expires_at": 1}, "expires_at"),
        ({"payment_intent_data": {"colour": "red"}}, "payment_intent_data[colour]"),
    ],
)
def test_a_refused_session_names_the_parameter(client: stripe.StripeClient, values: Any, param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        create(client, **values)
    assert caught.value.param == param


def test_line_items_share_one_currency(client: stripe.StripeClient) -> None:
    other = {**ITEM, "price_data": {**ITEM["price_data"], "currency": "eur"}}
    with pytest.raises(stripe.InvalidRequestError, match="same currency"):
        create(client, line_items=[ITEM, other])
