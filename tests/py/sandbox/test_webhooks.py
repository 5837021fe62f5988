"""Events: their order, their snapshots, and how they are delivered."""

from __future__ import annotations

import json

import pytest
import stripe

from glue.sandbox.control import ControlError, SandboxControl
from glue.sandbox.signing import signature_header
from tests.py.sandbox.support import SECRET, Payments, Receiver


def types(sandbox: SandboxControl) -> list[str]:
    return [event["type"] for event in sandbox.events()]


def test_hold_capture_and_refund_give_stripes_events(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    intent = payments.held()
    client.v1.payment_intents.capture(intent.id)
    client.v1.refunds.create({"payment_intent": intent.id})
    sandbox.wait_idle()
    assert receiver.types() == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
        "charge.captured",
        "payment_intent.succeeded",
        "refund.created",
        "charge.refunded",
    ]
    captured = [
        event.data.object["captured"] for event in receiver.events if event.type.startswith("charge.")
    ]
    assert captured == [False, True, True]


def test_cancel_gives_a_refund_event_of_an_uncaptured_charge(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    client.v1.payment_intents.cancel(payments.held().id)
    sandbox.wait_idle()
    assert receiver.types()[-2:] == ["charge.refunded", "payment_intent.canceled"]
    assert receiver.events[-2].data.object["captured"] is False


def test_automatic_capture_and_bank_debits_give_their_events(
    payments: Payments, sandbox: SandboxControl
) -> None:
    payments.paid()
    assert types(sandbox) == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
    intent = payments.paid(method="pm_usBankAccount")
    sandbox.settle(intent.id, succeed=False)
    assert types(sandbox)[3:] == [
        "payment_intent.created",
        "charge.pending",
        "payment_intent.processing",
        "charge.failed",
        "payment_intent.payment_failed",
    ]


def test_decline_and_three_d_secure_give_their_events(payments: Payments, sandbox: SandboxControl) -> None:
    intent = payments.intent()
    with pytest.raises(stripe.CardError):
        payments.confirm(intent.id, "pm_card_chargeDeclined")
    payments.confirm(intent.id, "pm_card_authenticationRequired")
    sandbox.authenticate(intent.id)
    assert types(sandbox)[1:] == [
        "charge.failed",
        "payment_intent.payment_failed",
        "payment_intent.requires_action",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
    ]


def test_an_event_is_a_snapshot_with_its_request(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = payments.intent()
    answer = client.v1.payment_intents.confirm(
        intent.id, {"payment_method": "pm_card_visa"}, {"idempotency_key": "k1"}
    )
    client.v1.payment_intents.capture(intent.id)
    assert answer.last_response is not None
    event = client.v1.events.retrieve(
        sandbox.events(type="payment_intent.amount_capturable_updated")[0]["id"]
    )
    assert (event.data.object["status"], event.data.object["amount_capturable"]) == ("requires_capture", 5000)
    assert event.request is not None
    assert event.request.id == answer.last_response.headers["Request-Id"]
    assert event.request.idempotency_key == "k1"
    assert event.api_version == stripe.api_version
    assert event.livemode is False


def test_events_are_listed_by_type_and_wildcard(client: stripe.StripeClient, payments: Payments) -> None:
    payments.held()
    assert [event.type for event in client.v1.events.list({"type": "charge.*"})] == ["charge.succeeded"]
    both = client.v1.events.list({"types": ["charge.succeeded", "payment_intent.created"]})
    assert [event.type for event in both] == ["charge.succeeded", "payment_intent.created"]


def test_undelivered_events_can_be_told_from_delivered_ones(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.hold()
    payments.intent()
    assert [event.pending_webhooks for event in client.v1.events.list({"delivery_success": False})] == [1]
    sandbox.release()
    sandbox.wait_idle()
    assert [event.pending_webhooks for event in client.v1.events.list({"delivery_success": True})] == [0]
    assert len(receiver.events) == 1


def test_the_signature_is_over_the_raw_body(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    payments.intent()
    sandbox.wait_idle()
    body, header = receiver.bodies[0], receiver.headers[0]["Stripe-Signature"]
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(json.dumps(json.loads(body)).encode(), header, SECRET)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, header, "whsec_other")


def test_signatures_are_fresh_after_the_clock_moved(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    payments.held()
    sandbox.advance(days=8)
    sandbox.wait_idle()
    assert receiver.types()[-2:] == ["charge.expired", "payment_intent.canceled"]
    assert receiver.events[-1].created >= receiver.events[0].created + 8 * 86400


def test_a_rotated_secret_signs_twice(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.set_webhook(receiver.url, ["whsec_old", "whsec_new"])
    for secret in ("whsec_old", "whsec_new"):
        receiver.secret = secret
        payments.intent()
        sandbox.wait_idle()
    assert len(receiver.events) == 2
    assert receiver.headers[0]["Stripe-Signature"].count("v1=") == 2


def test_a_signature_can_be_made_with_another_scheme_and_time() -> None:
    header = signature_header(b"{}", SECRET, timestamp=100, scheme="v0")
    assert header.startswith("t=100,v0=")
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(b"{}", header, SECRET)


def test_a_refused_event_is_sent_again(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.delivery(retry_base_ms=60_000)
    receiver.statuses.extend([500, 404])
    payments.intent()
    for refused in (1, 2):
        sandbox.wait_idle(retries=False)
        assert receiver.refused == refused
        with pytest.raises(TimeoutError):
            sandbox.wait_idle(timeout=0)
        assert sandbox.retry_now() == 1
    sandbox.wait_idle()
    assert receiver.types() == ["payment_intent.created"]
    assert [(row["attempt"], row["status"]) for row in sandbox.delivery_log()] == [
        (1, 500),
        (2, 404),
        (3, 200),
    ]


def test_retries_come_by_themselves_with_growing_delays_and_an_end(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.delivery(retry_base_ms=1, retry_max_ms=4, max_attempts=4)
    receiver.statuses.extend([500] * 4)
    payments.intent()
    sandbox.wait_idle()
    assert (receiver.refused, receiver.events) == (4, [])
    assert [row["attempt"] for row in sandbox.delivery_log()] == [1, 2, 3, 4]


def test_a_receiver_that_is_away_gets_the_event_when_it_is_back(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.set_webhook("http://127.0.0.1:9/closed", SECRET)
    sandbox.delivery(retry_base_ms=1, max_attempts=1)
    payments.intent()
    sandbox.wait_idle()
    assert "refused" in str(sandbox.delivery_log()[0]["error"]).lower()
    sandbox.set_webhook(receiver.url, SECRET)
    sandbox.redeliver(sandbox.events()[0]["id"])
    sandbox.wait_idle()
    assert len(receiver.events) == 1


def test_held_events_are_released_in_the_given_order(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.hold()
    client.v1.payment_intents.capture(payments.held().id)
    sandbox.wait_idle()
    assert receiver.events == []
    ids = [event["id"] for event in sandbox.held()]
    assert sandbox.release([ids[4], ids[0], ids[4]]) == 3
    sandbox.wait_idle()
    assert [event.id for event in receiver.events] == [ids[4], ids[0], ids[4]]
    assert [event["id"] for event in sandbox.held()] == ids[1:4]
    assert sandbox.release() == 3
    with pytest.raises(ControlError, match="order: evt_none"):
        sandbox.release(["evt_none"])


def test_held_events_can_be_shuffled_with_a_seed(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.hold()
    client.v1.payment_intents.capture(payments.held().id)
    order = [event["id"] for event in sandbox.held()]
    sandbox.release(shuffle_seed=7)
    sandbox.wait_idle()
    assert [event.id for event in receiver.events] != order
    assert sorted(event.id for event in receiver.events) == sorted(order)


def test_shuffled_delivery_sends_everything_in_another_order(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.delivery(mode="shuffled", seed=3, window_ms=60_000)
    client.v1.payment_intents.capture(payments.held().id)
    sandbox.wait_idle()
    assert receiver.types() != types(sandbox)
    assert sorted(receiver.types()) == sorted(types(sandbox))


def test_a_shuffled_batch_leaves_after_a_quiet_while(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.delivery(mode="shuffled", window_ms=1)
    payments.intent()
    sandbox.delivery(mode="ordered")
    sandbox.wait_idle()
    assert len(receiver.events) == 1


def test_duplicated_delivery_sends_copies(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.delivery(copies=3)
    payments.intent()
    sandbox.wait_idle()
    assert len(receiver.events) == 3
    assert len({event.id for event in receiver.events}) == 1


def test_an_event_is_delivered_again_on_demand(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    payments.intent()
    sandbox.redeliver(sandbox.events()[0]["id"], copies=20)
    sandbox.wait_idle()
    assert len(receiver.bodies) == 21


def test_switched_off_delivery_only_records(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.delivery(mode="off")
    payments.intent()
    sandbox.wait_idle()
    assert receiver.events == []
    assert types(sandbox) == ["payment_intent.created"]


def test_a_delay_passes_before_delivery(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.delivery(delay_ms=60_000)
    payments.intent()
    assert sandbox.delivery_status()["queued"] == 1
    assert sandbox.retry_now() == 1
    sandbox.wait_idle()
    assert len(receiver.events) == 1


def test_several_workers_deliver_everything(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.delivery(workers=4)
    for _ in range(10):
        payments.held()
    sandbox.wait_idle()
    assert sorted(receiver.types()) == sorted(types(sandbox))


def test_an_endpoint_gets_only_the_events_it_asked_for(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.set_webhook(receiver.url, SECRET, enabled_events=["charge.*"])
    payments.held()
    sandbox.wait_idle()
    assert receiver.types() == ["charge.succeeded"]


def test_several_endpoints_all_get_the_event(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.set_webhooks([{"url": receiver.url, "secret": SECRET}, {"url": receiver.url, "secret": SECRET}])
    payments.intent()
    sandbox.wait_idle()
    assert len(receiver.events) == 2


@pytest.mark.parametrize(
    ("path", "values", "field"),
    [
        ("delivery", {"mode": "sideways"}, "mode"),
        ("delivery", {"copies": "two"}, "copies"),
        ("delivery", {"colour": 1}, "colour"),
        ("webhooks", {"url": "ftp://x", "secret": "s"}, "url"),
        ("webhooks", {"url": "http://x"}, "secret"),
        ("webhooks", {"endpoints": "x"}, "endpoints"),
        ("clock", {"advance": -1}, "advance"),
        ("clock", {}, "advance"),
        ("clock", {"advance": "soon"}, "advance"),
        ("keys", {"api_keys": "x"}, "api_keys"),
        ("disputes", {"status": "odd"}, "status"),
        ("disputes/du_1/close", {"outcome": "draw"}, "outcome"),
    ],
)
def test_refused_control_input_names_the_field(
    sandbox: SandboxControl, path: str, values: dict[str, object], field: str
) -> None:
    with pytest.raises(ControlError, match=f"^{field}:") as caught:
        sandbox.call("POST", path, values)
    assert caught.value.status == 400


def test_what_is_queued_goes_to_the_receivers_new_address(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.set_webhook("http://127.0.0.1:9/closed", SECRET)
    sandbox.delivery(retry_base_ms=60_000)
    payments.intent()
    sandbox.wait_idle(retries=False)
    sandbox.set_webhook(receiver.url, SECRET)
    sandbox.retry_now()
    sandbox.wait_idle()
    assert receiver.types() == ["payment_intent.created"]


def test_what_is_queued_for_a_removed_receiver_is_dropped(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    sandbox.delivery(delay_ms=60_000)
    payments.intent()
    sandbox.set_webhook(None)
    sandbox.wait_idle()
    assert receiver.events == []
