"""Idempotency keys behave as Stripe documents them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe

from glue.sandbox.control import SandboxControl
from tests.py.sandbox.support import Payments

VALUES: Any = {"amount": 5000, "currency": "usd"}
OTHER: Any = {**VALUES, "amount": 6000}
REFUSED: Any = {**VALUES, "amount": 1}


def test_the_same_key_replays_the_first_answer(client: stripe.StripeClient, sandbox: SandboxControl) -> None:
    first = client.v1.payment_intents.create(VALUES, {"idempotency_key": "k1"})
    again = client.v1.payment_intents.create(VALUES, {"idempotency_key": "k1"})
    assert again.to_dict() == first.to_dict()
    assert first.last_response is not None
    assert again.last_response is not None
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert again.last_response.headers["Original-Request"] == first.last_response.headers["Request-Id"]
    assert again.last_response.headers["Idempotency-Key"] == "k1"
    assert len(sandbox.books()["payment_intents"]) == 1
    assert [row["replayed"] for row in sandbox.requests(idempotency_key="k1")] == [False, True]


def test_a_replay_is_the_first_answer_even_when_the_object_moved_on(
    client: stripe.StripeClient, payments: Payments
) -> None:
    intent = payments.held()
    options: Any = {"idempotency_key": "capture"}
    client.v1.payment_intents.capture(intent.id, {}, options)
    client.v1.refunds.create({"payment_intent": intent.id})
    assert client.v1.payment_intents.capture(intent.id, {}, options).status == "succeeded"


def test_the_same_key_with_other_parameters_is_refused(client: stripe.StripeClient) -> None:
    client.v1.payment_intents.create(VALUES, {"idempotency_key": "k1"})
    with pytest.raises(stripe.IdempotencyError) as caught:
        client.v1.payment_intents.create(OTHER, {"idempotency_key": "k1"})
    assert caught.value.http_status == 400
    assert "same parameters" in str(caught.value)


def test_the_same_key_at_another_endpoint_is_refused(client: stripe.StripeClient, payments: Payments) -> None:
    intent = payments.held()
    client.v1.payment_intents.cancel(intent.id, {}, {"idempotency_key": "k1"})
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        client.v1.payment_intents.capture(intent.id, {}, {"idempotency_key": "k1"})


def test_the_same_key_while_the_first_request_runs_is_a_conflict(
    client: stripe.StripeClient, sandbox: SandboxControl
) -> None:
    sandbox.barrier("slow", path="/v1/payment_intents")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.v1.payment_intents.create, VALUES, {"idempotency_key": "k1"})
        sandbox.wait_barrier("slow")
        with pytest.raises(stripe.APIError) as caught:
            client.v1.payment_intents.create(VALUES, {"idempotency_key": "k1"})
        sandbox.release_barrier("slow")
        intent = first.result()
    assert caught.value.http_status == 409
    assert caught.value.error is not None
    assert caught.value.error.code == "idempotency_key_in_use"
    assert client.v1.payment_intents.create(VALUES, {"idempotency_key": "k1"}).id == intent.id


def test_many_at_once_with_one_key_have_one_effect(process: Any, sandbox: SandboxControl) -> None:
    patient = stripe.StripeClient("sk_test_x", base_addresses={"api": process.url}, max_network_retries=8)
    with ThreadPoolExecutor(16) as pool:
        made = list(
            pool.map(
                lambda _: patient.v1.payment_intents.create(VALUES, {"idempotency_key": "k1"}).id, range(16)
            )
        )
    assert len(set(made)) == 1
    assert len(sandbox.books()["payment_intents"]) == 1


def test_a_decline_is_kept_and_replayed(client: stripe.StripeClient, payments: Payments) -> None:
    intent = payments.intent()
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            client.v1.payment_intents.confirm(
                intent.id, {"payment_method": "pm_card_chargeDeclined"}, {"idempotency_key": "k1"}
            )
    assert len(list(client.v1.charges.list({"payment_intent": intent.id}))) == 1


def test_a_refusal_of_the_endpoint_is_kept_and_replayed(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = payments.intent()
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError, match="requires_payment_method"):
            client.v1.payment_intents.capture(intent.id, {}, {"idempotency_key": "k1"})
        if len(sandbox.requests(idempotency_key="k1")) == 1:
            payments.confirm(intent.id)
    assert [row["replayed"] for row in sandbox.requests(idempotency_key="k1")] == [False, True]


def test_refused_parameters_do_not_use_the_key_up(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.create(REFUSED, {"idempotency_key": "k1"})
    assert client.v1.payment_intents.create(VALUES, {"idempotency_key": "k1"}).amount == 5000


@pytest.mark.parametrize("fault", ["401", "403", "409", "429", "503", "500_before_unsaved", "drop"])
def test_what_did_not_execute_does_not_use_the_key_up(
    client: stripe.StripeClient, sandbox: SandboxControl, fault: str
) -> None:
    sandbox.fault(fault)
    with pytest.raises(stripe.StripeError):
        client.v1.payment_intents.create(VALUES, {"idempotency_key": "k1"})
    assert sandbox.books()["payment_intents"] == []
    assert client.v1.payment_intents.create(VALUES, {"idempotency_key": "k1"}).amount == 5000


def test_a_key_is_forgotten_after_24_hours(client: stripe.StripeClient, sandbox: SandboxControl) -> None:
    first = client.v1.payment_intents.create(VALUES, {"idempotency_key": "k1"})
    sandbox.advance(hours=23)
    assert client.v1.payment_intents.create(VALUES, {"idempotency_key": "k1"}).id == first.id
    sandbox.advance(hours=1)
    assert client.v1.payment_intents.create(VALUES, {"idempotency_key": "k1"}).id != first.id


def test_a_key_may_have_255_characters_and_no_more(client: stripe.StripeClient) -> None:
    client.v1.payment_intents.create(VALUES, {"idempotency_key": "k" * 255})
    with pytest.raises(stripe.InvalidRequestError, match="255"):
        client.v1.payment_intents.create(VALUES, {"idempotency_key": "k" * 256})


def test_without_a_key_every_request_has_its_effect(process: Any, sandbox: SandboxControl) -> None:
    import requests

    for _ in range(2):
        answer = requests.post(
            f"{process.url}/v1/payment_intents",
            data={"amount": 5000, "currency": "usd"},
            headers={"Authorization": "Bearer sk_test_x"},
            timeout=120,
        )
        assert answer.status_code == 200
    assert len(sandbox.books()["payment_intents"]) == 2
