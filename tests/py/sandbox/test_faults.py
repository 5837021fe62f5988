"""Faults on demand: what the client sees, and what has happened at the sandbox."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import stripe

from glue.sandbox.control import ControlError, SandboxControl
from glue.sandbox.process import SandboxProcess
from tests.py.sandbox.support import Payments


def captured(sandbox: SandboxControl) -> int:
    totals: int = sandbox.books()["totals"]["usd"]["captured"]
    return totals


def capture(
    client: stripe.StripeClient, intent: stripe.PaymentIntent, key: str = "k1"
) -> stripe.PaymentIntent:
    return client.v1.payment_intents.capture(intent.id, {}, {"idempotency_key": key})


@pytest.mark.parametrize(
    ("fault", "error", "applied"),
    [
        ("drop", stripe.APIConnectionError, False),
        ("apply_then_drop", stripe.APIConnectionError, True),
        ("apply_then_500", stripe.APIError, True),
        ("500_before_saved", stripe.APIError, False),
        ("500_before_unsaved", stripe.APIError, False),
        ("503", stripe.APIError, False),
        ("429", stripe.RateLimitError, False),
        ("409", stripe.APIError, False),
        ("401", stripe.AuthenticationError, False),
        ("403", stripe.PermissionError, False),
    ],
)
def test_a_fault_strikes_once_and_where_its_name_says(
    client: stripe.StripeClient,
    payments: Payments,
    sandbox: SandboxControl,
    fault: str,
    error: type[stripe.StripeError],
    applied: bool,
) -> None:
    intent = payments.held()
    sandbox.fault(fault, method="POST", path=f"/v1/payment_intents/{intent.id}/capture")
    with pytest.raises(error):
        capture(client, intent)
    assert captured(sandbox) == (5000 if applied else 0)
    assert client.v1.payment_intents.retrieve(intent.id).id == intent.id
    (row,) = sandbox.requests(path="/capture$")
    assert (row["fault"], row["applied"]) == (fault, applied)


@pytest.mark.parametrize("fault", ["apply_then_500", "500_before_saved"])
def test_a_saved_500_is_replayed_until_another_key_is_used(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl, fault: str
) -> None:
    intent = payments.held()
    sandbox.fault(fault, path_regex="/capture$")
    headers = []
    for _ in range(2):
        with pytest.raises(stripe.APIError) as caught:
            capture(client, intent)
        headers.append(dict(caught.value.headers or {}))
    assert [row.get("Idempotent-Replayed") for row in headers] == [None, "true"]
    assert [row["Stripe-Should-Retry"] for row in headers] == ["false", "false"]
    if fault == "500_before_saved":
        assert capture(client, intent, "k1:2").status == "succeeded"
    else:
        with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
            capture(client, intent, "k1:2")


def test_a_dropped_answer_is_replayed_under_the_same_key(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = payments.held()
    sandbox.fault("apply_then_drop")
    with pytest.raises(stripe.APIConnectionError):
        capture(client, intent)
    assert capture(client, intent).status == "succeeded"
    assert [row["status"] for row in sandbox.requests(idempotency_key="k1")] == [None, 200]


def test_stripe_python_heals_a_dropped_answer_by_itself(
    process: SandboxProcess, sandbox: SandboxControl
) -> None:
    patient = stripe.StripeClient("sk_test_x", base_addresses={"api": process.url}, max_network_retries=1)
    sandbox.fault("apply_then_drop")
    patient.v1.payment_intents.create({"amount": 500, "currency": "usd"})
    assert len(sandbox.books()["payment_intents"]) == 1


def test_retry_headers_come_with_the_fault(client: stripe.StripeClient, sandbox: SandboxControl) -> None:
    sandbox.fault("503", retry_after=7, should_retry=False)
    sandbox.fault("429", retry_after=2)
    with pytest.raises(stripe.APIError) as caught:
        client.v1.events.list()
    assert caught.value.headers is not None
    assert caught.value.headers["Retry-After"] == "7"
    assert caught.value.headers["Stripe-Should-Retry"] == "false"
    with pytest.raises(stripe.RateLimitError) as limited:
        client.v1.events.list()
    assert limited.value.headers is not None
    assert limited.value.headers["Retry-After"] == "2"


def test_any_error_of_stripe_can_be_given(client: stripe.StripeClient, sandbox: SandboxControl) -> None:
    error = {"type": "invalid_request_error", "code": "charge_expired_for_capture", "message": "Too late."}
    sandbox.fault("error", status=400, error=error)
    with pytest.raises(stripe.InvalidRequestError, match=r"Too late\.") as caught:
        client.v1.payment_intents.create({"amount": 500, "currency": "usd"})
    assert caught.value.code == "charge_expired_for_capture"


def test_a_timeout_ends_without_an_answer_and_without_effect(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = payments.held()
    sandbox.fault("timeout", path_regex="/capture$")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(capture, client, intent)
        sandbox.wait_barrier("timeout")
        sandbox.release_barrier("timeout")
        assert isinstance(call.exception(), stripe.APIConnectionError)
    assert captured(sandbox) == 0


def test_apply_then_timeout_has_its_effect_before_the_wait(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = payments.held()
    sandbox.fault("apply_then_timeout", name="slow", path_regex="/capture$")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(capture, client, intent)
        sandbox.wait_barrier("slow")
        assert captured(sandbox) == 5000
        sandbox.release_barrier("slow")
        assert call.result().status == "succeeded"


@pytest.mark.parametrize(("when", "amount"), [("before", 0), ("after", 5000)])
def test_a_barrier_holds_a_request_before_or_after_its_effect(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl, when: str, amount: int
) -> None:
    intent = payments.held()
    sandbox.barrier("gate", when=when, path_regex="/capture$")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(capture, client, intent)
        assert sandbox.wait_barrier("gate") == 1
        assert captured(sandbox) == amount
        assert sandbox.release_barrier("gate") == 1
        assert call.result().amount_received == 5000


def test_a_barrier_gathers_several_requests(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = payments.held()
    sandbox.barrier("race", times=2, path_regex="/(capture|cancel)$")
    with ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(client.v1.payment_intents.capture, intent.id),
            pool.submit(client.v1.payment_intents.cancel, intent.id),
        ]
        sandbox.wait_barrier("race", count=2)
        sandbox.release_barrier("race")
        outcomes = [call.exception() for call in calls]
    assert sum(outcome is None for outcome in outcomes) == 1


def test_waiting_for_nobody_ends_with_a_timeout(sandbox: SandboxControl) -> None:
    with pytest.raises(TimeoutError):
        sandbox.wait_barrier("empty", timeout=0)


def test_reset_frees_whoever_waits(client: stripe.StripeClient, sandbox: SandboxControl) -> None:
    sandbox.barrier("gate")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.v1.events.list)
        sandbox.wait_barrier("gate")
        sandbox.reset()
        call.result()


def test_a_header_strikes_just_its_own_request(client: stripe.StripeClient, sandbox: SandboxControl) -> None:
    with pytest.raises(stripe.APIError):
        client.v1.payment_intents.create(
            {"amount": 500, "currency": "usd"}, {"headers": {"Sandbox-Fault": "apply_then_500"}}
        )
    assert len(sandbox.books()["payment_intents"]) == 1
    client.v1.payment_intents.create({"amount": 500, "currency": "usd"})


def test_a_header_takes_options(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.APIError) as caught:
        client.v1.events.list({}, {"headers": {"Sandbox-Fault": "503; retry_after=3; should_retry=true"}})
    assert caught.value.headers is not None
    assert caught.value.headers["Retry-After"] == "3"
    assert caught.value.headers["Stripe-Should-Retry"] == "true"


def test_an_unknown_fault_in_a_header_is_refused(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="Sandbox-Fault"):
        client.v1.events.list({}, {"headers": {"Sandbox-Fault": "gremlin"}})


def test_times_and_skip_count_matching_requests(client: stripe.StripeClient, sandbox: SandboxControl) -> None:
    sandbox.fault("503", times=2, skip=1, path="/v1/events")
    outcomes = []
    for _ in range(5):
        client.v1.charges.list()
        try:
            client.v1.events.list()
            outcomes.append("ok")
        except stripe.APIError:
            outcomes.append("503")
    assert outcomes == ["ok", "503", "503", "ok", "ok"]
    assert sandbox.faults() == []


def test_a_fault_can_match_the_key_and_the_body(client: stripe.StripeClient, sandbox: SandboxControl) -> None:
    sandbox.fault("503", body_contains="amount=700", idempotency_key="job-")
    values: Any = {"amount": 700, "currency": "usd"}
    others: Any = {"amount": 800, "currency": "usd"}
    client.v1.payment_intents.create(values, {"idempotency_key": "other"})
    client.v1.payment_intents.create(others, {"idempotency_key": "job-1"})
    with pytest.raises(stripe.APIError):
        client.v1.payment_intents.create(values, {"idempotency_key": "job-2"})


def test_probability_is_drawn_from_the_seed(client: stripe.StripeClient, sandbox: SandboxControl) -> None:
    def draw() -> list[bool]:
        sandbox.clear_faults(seed=3)
        sandbox.fault("503", times=100, probability=0.5)
        answers = []
        for _ in range(12):
            try:
                client.v1.events.list()
                answers.append(True)
            except stripe.APIError:
                answers.append(False)
        return answers

    first = draw()
    assert first == draw()
    assert set(first) == {True, False}


def test_latency_goes_with_another_fault(client: stripe.StripeClient, sandbox: SandboxControl) -> None:
    sandbox.fault("latency", ms=1)
    sandbox.fault("503")
    with pytest.raises(stripe.APIError):
        client.v1.events.list()
    assert sandbox.faults() == []
    client.v1.events.list()
    assert [row["fault"] for row in sandbox.requests(path="/v1/events")] == ["503", None]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"fault": "gremlin"}, "fault"),
        ({"fault": "503", "times": "many"}, "times"),
        ({"fault": "503", "match": {"colour": "red"}}, "match"),
        ({"fault": "503", "match": {"path_regex": "("}}, "match.path_regex"),
        ({"fault": "503", "colour": "red"}, "colour"),
        ({"fault": "error", "status": 400}, "error"),
        ({"fault": "barrier", "when": "never"}, "when"),
    ],
)
def test_a_wrong_fault_is_refused_naming_the_field(
    sandbox: SandboxControl, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(ControlError, match=f"^{field}:") as caught:
        sandbox.call("POST", "faults", values)
    assert caught.value.status == 400


def test_a_rotated_key_is_refused_until_it_is_known(
    client: stripe.StripeClient, sandbox: SandboxControl
) -> None:
    sandbox.set_keys("sk_test_new")
    with pytest.raises(stripe.AuthenticationError) as caught:
        client.v1.events.list()
    assert caught.value.http_status == 401
    assert "sk_test_pgbooking" not in str(caught.value)
    client.v1.events.list({}, {"api_key": "sk_test_new"})
    sandbox.set_keys()
    client.v1.events.list()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer sk_live_x"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Basic !!!"}, 401),
        ({"Authorization": "Basic c2tfdGVzdF94Og=="}, 200),
        ({"Authorization": "Bearer sk_test_x"}, 200),
    ],
)
def test_only_test_keys_are_accepted(process: SandboxProcess, headers: dict[str, str], status: int) -> None:
    answer = requests.get(f"{process.url}/v1/events", headers=headers, timeout=120)
    assert answer.status_code == status
    assert answer.headers["Request-Id"].startswith("req_")
