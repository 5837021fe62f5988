"""What the gateway makes of answers, one HTTP exchange at a time."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest

from glue.stripe_gateway import (
    Applied,
    GatewayBusy,
    Refused,
    StripeGateway,
    StripeRefused,
    StripeUnavailable,
    Unknown,
)
from tests.py.mirror.scripted import Reply, Scripted, drop, scripted_server

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ID = "01890a5d-ac96-774b-bcce-b302099a8057"
HELD = {
    "id": "pi_1",
    "object": "payment_intent",
    "status": "requires_capture",
    "client_secret": "pi_1_secret_x",
}
CAPTURED = {**HELD, "status": "succeeded"}
CANCELED = {**HELD, "status": "canceled"}
REFUND = {"id": "re_1", "object": "refund", "metadata": {"command_id": ID}, "status": "succeeded"}
PREPARED = {
    "amount": 5000,
    "currency": "eur",
    "capture_method": "manual",
    "idempotency_key": "pay-1",
    "metadata": {"booking_id": "b-1", "payment_id": "p-1"},
}


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.time += seconds


@pytest.fixture
def stripe() -> Iterator[Scripted]:
    with scripted_server() as script:
        yield script


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gateway(stripe: Scripted, clock: Clock) -> Iterator[StripeGateway]:
    made = StripeGateway(
        "sk_test_secret", stripe.url, clock=clock, sleep=clock.sleep, now=lambda: NOW, max_concurrent=2
    )
    yield made
    made.close()


def command(operation: str = "capture_payment_intent", **changes: Any) -> dict[str, Any]:
    return {
        "command_id": ID,
        "operation": operation,
        "stripe_id": "pi_1",
        "params": {},
        "idempotency_key": ID,
        "attempt": 1,
        "created_at": NOW,
        **changes,
    }


def refund_command(**changes: Any) -> dict[str, Any]:
    params = {"payment_intent": "pi_1", "amount": 500, "metadata": {"command_id": ID}}
    return command("create_refund", params=params, **changes)


def error(
    status: int, code: str | None = None, headers: dict[str, str] | None = None, **fields: Any
) -> Reply:
    body = {"type": "invalid_request_error", "message": "no", **fields}
    return Reply(status, {"error": body if code is None else {**body, "code": code}}, headers or {})


REPLAYED_500 = error(
    500, type="api_error", headers={"Idempotent-Replayed": "true", "Stripe-Should-Retry": "false"}
)


def test_a_capture_is_sent_with_the_commands_key_and_nothing_but_its_parameters(
    stripe: Scripted, gateway: StripeGateway
) -> None:
    stripe.say(Reply(body=CAPTURED))
    outcome = gateway.execute(command(params={"amount_to_capture": 250}))
    assert outcome == Applied({"id": "pi_1", "object": "payment_intent", "status": "succeeded"})
    (request,) = stripe.seen
    assert (request.method, request.path) == ("POST", "/v1/payment_intents/pi_1/capture")
    assert request.body == "amount_to_capture=250"
    assert request.headers["idempotency-key"] == ID
    assert request.headers["authorization"] == "Bearer sk_test_secret"
    assert "x-stripe-client-telemetry" not in request.headers


def test_no_client_secret_leaves_the_gateway_with_a_command(stripe: Scripted, gateway: StripeGateway) -> None:
    refusal = error(400, "payment_intent_unexpected_state", payment_intent=CANCELED, source={"last4": "4242"})
    stripe.say(refusal, Reply(body=CANCELED))
    assert "secret" not in repr(gateway.execute(command()))
    stripe.say(refusal, refusal)
    outcome = gateway.execute(refund_command())
    assert "secret" not in repr(outcome)
    assert "4242" not in repr(outcome)


def test_a_refund_goes_to_the_refunds_with_its_own_body(stripe: Scripted, gateway: StripeGateway) -> None:
    stripe.say(Reply(body=REFUND))
    assert gateway.execute(refund_command()) == Applied(REFUND)
    assert stripe.seen[0].path == "/v1/refunds"
    assert stripe.seen[0].body == f"payment_intent=pi_1&amount=500&metadata[command_id]={ID}"


@pytest.mark.parametrize("status", [409, 429, 500, 502, 503])
def test_an_answer_without_a_verdict_is_asked_for_again_with_the_same_key_and_stays_unknown(
    stripe: Scripted, gateway: StripeGateway, clock: Clock, status: int
) -> None:
    stripe.say(error(status))
    outcome = gateway.execute(command())
    assert isinstance(outcome, Unknown)
    assert outcome.error["http_status"] == status
    assert outcome.error["idempotent_replayed"] is False
    assert [(r.path, r.headers["idempotency-key"]) for r in stripe.seen] == [
        ("/v1/payment_intents/pi_1/capture", ID)
    ] * 3
    assert len(clock.naps) == 2
    assert clock.naps[0] < clock.naps[1]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_unknown_and_not_insisted_on(
    stripe: Scripted, gateway: StripeGateway, clock: Clock, status: int
) -> None:
    stripe.say(error(status))
    outcome = gateway.execute(command())
    assert isinstance(outcome, Unknown)
    assert outcome.error["http_status"] == status
    assert len(stripe.seen) == 1


def test_a_dropped_connection_is_unknown_without_a_status(
    stripe: Scripted, gateway: StripeGateway, clock: Clock
) -> None:
    stripe.say(drop)
    outcome = gateway.execute(command())
    assert isinstance(outcome, Unknown)
    assert outcome.error["type"] == "api_connection_error"
    assert "http_status" not in outcome.error
    assert len(stripe.seen) == 3


def test_a_success_after_a_dropped_connection_is_applied(stripe: Scripted, gateway: StripeGateway) -> None:
    stripe.say(drop, Reply(body=CAPTURED))
    assert isinstance(gateway.execute(command()), Applied)


def test_nobody_listening_is_unknown(clock: Clock) -> None:
    with scripted_server() as script:
        url = script.url
    gateway = StripeGateway("sk_test_x", url, clock=clock, sleep=clock.sleep)
    outcome = gateway.execute(command())
    gateway.close()
    assert isinstance(outcome, Unknown)
    assert "http_status" not in outcome.error


def test_should_retry_false_ends_the_repeats_of_this_call(stripe: Scripted, gateway: StripeGateway) -> None:
    stripe.say(error(500, headers={"Stripe-Should-Retry": "false"}))
    assert isinstance(gateway.execute(command()), Unknown)
    assert len(stripe.seen) == 1


def test_should_retry_true_repeats_even_a_400(stripe: Scripted, gateway: StripeGateway) -> None:
    stripe.say(error(400, headers={"Stripe-Should-Retry": "true"}), Reply(body=CAPTURED))
    assert isinstance(gateway.execute(command()), Applied)


def test_retry_after_is_waited_for_when_the_time_allows(
    stripe: Scripted, gateway: StripeGateway, clock: Clock
) -> None:
    stripe.say(error(429, headers={"Retry-After": "7"}), Reply(body=CAPTURED))
    assert isinstance(gateway.execute(command()), Applied)
    assert clock.naps == [7.0]


def test_retry_after_beyond_the_time_allowed_is_passed_on(
    stripe: Scripted, gateway: StripeGateway, clock: Clock
) -> None:
    stripe.say(error(429, headers={"Retry-After": "60"}))
    outcome = gateway.execute(command())
    assert isinstance(outcome, Unknown)
    assert outcome.retry_after == 60.0
    assert clock.naps == []


@pytest.mark.parametrize("value", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "999999", "nan"])
def test_a_retry_after_that_is_no_number_of_seconds_is_ignored(
    stripe: Scripted, gateway: StripeGateway, value: str
) -> None:
    stripe.say(error(503, headers={"Retry-After": value}))
    outcome = gateway.execute(command())
    assert isinstance(outcome, Unknown)
    assert outcome.retry_after is None


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply(200, b"<html>hello</html>"), None),
        (Reply(302, b"", {"Location": "/elsewhere"}), None),
        (Reply(502, b"<html>bad gateway</html>"), 502),
        (Reply(503, {"detail": "down"}), 503),
        (Reply(500, {"error": "text"}), 500),
    ],
)
def test_an_answer_that_is_not_stripes_is_unknown(
    stripe: Scripted, gateway: StripeGateway, reply: Reply, status: int | None
) -> None:
    stripe.say(reply)
    outcome = gateway.execute(command())
    assert isinstance(outcome, Unknown)
    assert outcome.error.get("http_status") == status
    assert "hello" not in repr(outcome)
    assert {request.path for request in stripe.seen} == {"/v1/payment_intents/pi_1/capture"}


@pytest.mark.parametrize("part", ["headers", "body"])
def test_an_answer_that_drips_is_cut_off(stripe: Scripted, part: str) -> None:
    left = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\nX-Long: ")
        if part == "body":
            handler.wfile.write(b"no\r\n\r\n")
        with suppress(OSError):
            for _ in range(400):  # each before anybody loses patience with a single read
                handler.wfile.write(b" ")
                if left.wait(0.05):
                    return

    stripe.say(drip)
    gateway = StripeGateway("sk_test_x", stripe.url, timeout=0.5, attempts=1)
    outcome = gateway.execute(command())
    left.set()
    gateway.close()
    assert isinstance(outcome, Unknown)
    assert "timed out" in outcome.error["message"]
    assert len(stripe.seen) == 1


def test_an_answer_that_is_cut_short_is_unknown(stripe: Scripted, gateway: StripeGateway) -> None:
    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")
        handler.close_connection = True

    stripe.say(half)
    outcome = gateway.execute(command())
    assert isinstance(outcome, Unknown)
    assert outcome.error["type"] == "api_connection_error"


def test_an_interim_answer_is_not_the_answer(stripe: Scripted, gateway: StripeGateway) -> None:
    def hints(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nRetry-After: 7\r\n\r\n")
        content = b'{"error": {"type": "api_error"}}'
        handler.wfile.write(b"HTTP/1.1 503 X\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content))

    stripe.say(hints)
    outcome = gateway.execute(command())
    assert isinstance(outcome, Unknown)
    assert (outcome.error["http_status"], outcome.retry_after) == (503, None)


def test_no_request_is_sent_when_the_time_is_used_up(
    stripe: Scripted, gateway: StripeGateway, clock: Clock
) -> None:
    stripe.say(Reply(body=HELD))
    with pytest.raises(StripeUnavailable, match="used up"):
        gateway.retrieve_payment_intent("pi_1", deadline=0)
    assert stripe.seen == []


@pytest.mark.parametrize(
    ("operation", "done"), [("capture_payment_intent", CAPTURED), ("cancel_payment_intent", CANCELED)]
)
@pytest.mark.parametrize("refusal", [REPLAYED_500, error(400, "payment_intent_unexpected_state")])
def test_a_refusal_whose_object_shows_the_effect_is_applied(
    stripe: Scripted, gateway: StripeGateway, operation: str, done: dict[str, Any], refusal: Reply
) -> None:
    stripe.say(refusal, Reply(body=done))
    outcome = gateway.execute(command(operation))
    assert isinstance(outcome, Applied)
    assert outcome.object["status"] == done["status"]
    assert [(r.method, r.path) for r in stripe.seen][1:] == [("GET", "/v1/payment_intents/pi_1")]


@pytest.mark.parametrize("operation", ["capture_payment_intent", "cancel_payment_intent"])
@pytest.mark.parametrize(
    "refusal", [REPLAYED_500, error(402, "card_declined", type="card_error"), error(400, "lock_timeout")]
)
def test_a_refusal_whose_object_still_allows_it_is_to_be_tried_again(
    stripe: Scripted, gateway: StripeGateway, operation: str, refusal: Reply
) -> None:
    stripe.say(refusal, Reply(body=HELD))
    outcome = gateway.execute(command(operation))
    assert isinstance(outcome, Refused)
    assert outcome.retryable
    assert outcome.error["http_status"] == refusal.status
    assert outcome.error["idempotent_replayed"] is (refusal is REPLAYED_500)
    assert outcome.error["payment_intent"]["status"] == "requires_capture"


@pytest.mark.parametrize(
    ("operation", "found"), [("capture_payment_intent", CANCELED), ("cancel_payment_intent", CAPTURED)]
)
def test_a_refusal_that_the_object_confirms_is_final(
    stripe: Scripted, gateway: StripeGateway, operation: str, found: dict[str, Any]
) -> None:
    stripe.say(error(400, "payment_intent_unexpected_state"), Reply(body=found))
    outcome = gateway.execute(command(operation))
    assert isinstance(outcome, Refused)
    assert not outcome.retryable
    assert outcome.error["code"] == "payment_intent_unexpected_state"
    assert outcome.error["payment_intent"]["status"] == found["status"]


def test_an_object_that_is_missing_is_final_and_confirms_nothing(
    stripe: Scripted, gateway: StripeGateway
) -> None:
    stripe.say(error(404, "resource_missing", param="intent"))
    outcome = gateway.execute(command())
    assert isinstance(outcome, Refused)
    assert not outcome.retryable
    assert "payment_intent" not in outcome.error


@pytest.mark.parametrize(
    "refusal", [error(400, "parameter_invalid_integer", param="amount"), error(400, param="amount")]
)
def test_a_request_at_fault_is_final(stripe: Scripted, gateway: StripeGateway, refusal: Reply) -> None:
    stripe.say(refusal, Reply(body={"object": "list", "data": [], "has_more": False}))
    outcome = gateway.execute(refund_command())
    assert isinstance(outcome, Refused)
    assert not outcome.retryable


@pytest.mark.parametrize("code", ["charge_already_refunded", "charge_disputed"])
def test_a_refund_refused_for_good_is_final(stripe: Scripted, gateway: StripeGateway, code: str) -> None:
    stripe.say(error(400, code), Reply(body={"object": "list", "data": [], "has_more": False}))
    outcome = gateway.execute(refund_command())
    assert outcome == Refused(
        {
            "type": "invalid_request_error",
            "code": code,
            "message": "no",
            "http_status": 400,
            "idempotent_replayed": False,
        },
        retryable=False,
    )


def test_a_lost_refund_is_found_by_its_command_id_on_a_later_page(
    stripe: Scripted, gateway: StripeGateway
) -> None:
    others = [{"id": f"re_{n}", "object": "refund", "metadata": {}} for n in range(10, 12)]
    stripe.say(
        REPLAYED_500,
        Reply(body={"object": "list", "data": others, "has_more": True}),
        Reply(body={"object": "list", "data": [REFUND], "has_more": False}),
    )
    assert gateway.execute(refund_command()) == Applied(REFUND)
    assert [request.path for request in stripe.seen[1:]] == [
        "/v1/refunds?payment_intent=pi_1&limit=100",
        "/v1/refunds?payment_intent=pi_1&limit=100&starting_after=re_11",
    ]


@pytest.mark.parametrize("status", [400, 404, 500, None])
def test_a_look_that_fails_leaves_the_outcome_unknown(
    stripe: Scripted, gateway: StripeGateway, status: int | None
) -> None:
    """Whatever the look-up's own status was, it must not be read as the command's."""
    for run in (command(), refund_command()):
        stripe.replies.clear()
        stripe.say(REPLAYED_500, drop if status is None else error(status))
        outcome = gateway.execute(run)
        assert isinstance(outcome, Unknown)
        assert outcome.error.get("http_status") == (500 if status == 500 else None)
        assert not outcome.error.get("idempotent_replayed")


@pytest.mark.parametrize(
    "changes",
    [
        {"created_at": NOW - timedelta(hours=25), "attempt": 2},
        # never sent, as far as a database knows that was restored to an earlier moment
        {"created_at": NOW - timedelta(hours=25), "attempt": 1},
        {"created_at": NOW - timedelta(minutes=5), "attempt": 2, "idempotency_key": f"{ID}:2"},
    ],
)
class TestWhenTheKeyDoesNotProtect:
    """Stripe has forgotten the key, or it replaced one whose answer said nothing."""

    def test_the_effect_is_looked_for_before_anything_is_sent(
        self, stripe: Scripted, gateway: StripeGateway, changes: dict[str, Any]
    ) -> None:
        stripe.say(Reply(body={"object": "list", "data": [REFUND], "has_more": False}))
        assert gateway.execute(refund_command(**changes)) == Applied(REFUND)
        assert [request.method for request in stripe.seen] == ["GET"]

    def test_without_an_effect_the_command_is_sent(
        self, stripe: Scripted, gateway: StripeGateway, changes: dict[str, Any]
    ) -> None:
        stripe.say(Reply(body=HELD), Reply(body=CAPTURED))
        assert isinstance(gateway.execute(command(**changes)), Applied)
        assert [request.method for request in stripe.seen] == ["GET", "POST"]

    def test_nothing_is_sent_when_stripe_does_not_say(
        self, stripe: Scripted, gateway: StripeGateway, changes: dict[str, Any]
    ) -> None:
        stripe.say(error(503))
        assert isinstance(gateway.execute(command(**changes)), Unknown)
        assert {request.method for request in stripe.seen} == {"GET"}


def test_a_young_command_is_sent_at_once(stripe: Scripted, gateway: StripeGateway) -> None:
    stripe.say(Reply(body=CAPTURED))
    gateway.execute(command(created_at=NOW - timedelta(hours=22)))
    assert [request.method for request in stripe.seen] == ["POST"]


def test_an_operation_of_a_newer_version_is_left_alone(stripe: Scripted, gateway: StripeGateway) -> None:
    outcome = gateway.execute(command("void_everything"))
    assert outcome == Unknown({"type": "unknown_operation", "message": "void_everything"})
    assert stripe.seen == []


def test_one_call_more_than_allowed_is_turned_away_and_a_place_comes_free_again(
    stripe: Scripted, clock: Clock
) -> None:
    stripe.say(error(503), Reply(body=HELD))
    turned_away: list[GatewayBusy] = []

    def another() -> None:
        with pytest.raises(GatewayBusy) as caught:
            narrow.execute(command())
        turned_away.append(caught.value)

    def meanwhile(seconds: float) -> None:
        other = threading.Thread(target=another)
        other.start()
        other.join()

    narrow = StripeGateway("sk_test_x", stripe.url, clock=clock, sleep=meanwhile, max_concurrent=1)
    for _ in range(2):
        assert narrow.retrieve_payment_intent("pi_1")["id"] == "pi_1"
    narrow.close()
    assert [busy.retry_after for busy in turned_away] == [1.0]
    assert {request.method for request in stripe.seen} == {"GET"}


def test_a_payment_intent_is_created_from_ids_and_the_prepared_amount(
    stripe: Scripted, gateway: StripeGateway
) -> None:
    stripe.say(Reply(body={"id": "pi_1", "object": "payment_intent", "client_secret": "pi_1_secret_x"}))
    created = gateway.create_payment_intent(PREPARED)
    assert created["client_secret"] == "pi_1_secret_x"
    assert stripe.seen[0].path == "/v1/payment_intents"
    assert stripe.seen[0].headers["idempotency-key"] == "pay-1"
    assert stripe.seen[0].body == (
        "amount=5000&currency=eur&capture_method=manual&payment_method_types[0]=card"
        "&metadata[booking_id]=b-1&metadata[payment_id]=p-1"
    )


def test_a_replayed_500_to_create_takes_the_next_key(stripe: Scripted, gateway: StripeGateway) -> None:
    stripe.say(REPLAYED_500, REPLAYED_500, Reply(body=HELD))
    gateway.create_payment_intent(PREPARED)
    assert [request.headers["idempotency-key"] for request in stripe.seen] == ["pay-1", "pay-1:2", "pay-1:3"]


@pytest.mark.parametrize("status", [409, 429, 500, 503, None])
def test_a_create_without_a_verdict_keeps_its_key_and_ends_as_unavailable(
    stripe: Scripted, gateway: StripeGateway, clock: Clock, status: int | None
) -> None:
    stripe.say(drop if status is None else error(status))
    with pytest.raises(StripeUnavailable) as caught:
        gateway.create_payment_intent(PREPARED, deadline=5)
    assert caught.value.retry_after == 5.0
    assert {request.headers["idempotency-key"] for request in stripe.seen} == {"pay-1"}
    assert 1 < len(stripe.seen) <= 3


def test_a_create_that_never_gets_past_saved_500s_ends_as_unavailable(
    stripe: Scripted, gateway: StripeGateway
) -> None:
    stripe.say(REPLAYED_500)
    with pytest.raises(StripeUnavailable):
        gateway.create_payment_intent(PREPARED)
    assert len(stripe.seen) == 5


def test_a_refused_key_on_create_is_unavailable_and_logged_as_an_error(
    stripe: Scripted, gateway: StripeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    stripe.say(error(401))
    with caplog.at_level(logging.ERROR), pytest.raises(StripeUnavailable):
        gateway.create_payment_intent(PREPARED)
    assert [record.getMessage() for record in caplog.records] == ["stripe refuses our key"]
    assert "sk_test" not in caplog.text


@pytest.mark.parametrize("code", ["amount_too_small", "parameter_invalid_integer"])
def test_a_create_at_fault_is_refused_for_good(stripe: Scripted, gateway: StripeGateway, code: str) -> None:
    stripe.say(error(400, code, param="amount"))
    with pytest.raises(StripeRefused) as caught:
        gateway.create_payment_intent(PREPARED)
    assert caught.value.error["code"] == code
    assert len(stripe.seen) == 1


def test_retrieving_what_is_missing_is_refused(stripe: Scripted, gateway: StripeGateway) -> None:
    stripe.say(error(404, "resource_missing", param="intent"))
    with pytest.raises(StripeRefused):
        gateway.retrieve_payment_intent("pi_9")


def test_calls_share_their_connection(stripe: Scripted, gateway: StripeGateway) -> None:
    ports: list[int] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        ports.append(handler.client_address[1])
        handler.send_response(200)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    stripe.say(answer)
    for _ in range(3):
        gateway.retrieve_payment_intent("pi_1")
    assert len(set(ports)) == 1


def test_a_connection_that_stripe_has_closed_meanwhile_is_opened_again(
    stripe: Scripted, gateway: StripeGateway, clock: Clock
) -> None:
    closed = threading.Semaphore(0)

    def once(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True
        closed.release()

    stripe.say(once)
    for _ in range(3):
        gateway.retrieve_payment_intent("pi_1")
        assert closed.acquire(timeout=10)
    assert clock.naps == []  # none of them was a second try of ours


def test_idle_connections_are_closed_at_the_end_and_those_in_use_after_it(
    stripe: Scripted, gateway: StripeGateway
) -> None:
    ended = threading.Semaphore(0)

    def leaving(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        handler.close_connection = True
        while handler.rfile.read(1):
            pass
        ended.release()

    def during(handler: BaseHTTPRequestHandler) -> None:
        gateway.close()
        leaving(handler)

    stripe.say(leaving)
    gateway.retrieve_payment_intent("pi_1")
    gateway.close()
    assert ended.acquire(timeout=10)
    stripe.say(during, during)
    stripe.next()
    gateway.retrieve_payment_intent("pi_1")
    assert ended.acquire(timeout=10)


def test_a_proxy_of_the_environment_is_used(
    stripe: Scripted, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", stripe.url)
    monkeypatch.setenv("no_proxy", "")
    gateway = StripeGateway("sk_test_x", "http://stripe.invalid", clock=clock, sleep=clock.sleep)
    stripe.say(Reply(body=HELD))
    assert gateway.retrieve_payment_intent("pi_1")["id"] == "pi_1"
    assert stripe.seen[0].path == "http://stripe.invalid/v1/payment_intents/pi_1"
    gateway.close()


OPEN = {"id": "cs_1", "object": "checkout.session", "status": "open", "client_secret": "cs_1_secret_x"}
ENDED = {**OPEN, "status": "expired"}
PAID = {**OPEN, "status": "complete", "payment_status": "paid"}
BEGUN = {
    "order_id": "0199f3a1-0d2c-7b11-a7a4-91c3e5f70b62",
    "amount": 1900,
    "currency": "EUR",
    "stripe_idempotency_key": "order-1",
}


def ending(**changes: Any) -> dict[str, Any]:
    return command("expire_checkout_session", stripe_id="cs_1", **changes)


def test_a_session_is_ended_under_the_commands_key(stripe: Scripted, gateway: StripeGateway) -> None:
    stripe.say(Reply(body=ENDED))
    outcome = gateway.execute(ending())
    assert outcome == Applied({"id": "cs_1", "object": "checkout.session", "status": "expired"})
    [request] = stripe.seen
    assert (request.method, request.path) == ("POST", "/v1/checkout/sessions/cs_1/expire")
    assert request.headers["idempotency-key"] == ID


@pytest.mark.parametrize(
    ("found", "retryable"), [(OPEN, True), (PAID, False)], ids=["open: again", "complete: for good"]
)
def test_a_session_that_is_not_ended_is_judged_by_what_it_shows(
    stripe: Scripted, gateway: StripeGateway, found: dict[str, Any], retryable: bool
) -> None:
    stripe.say(error(400), Reply(body=found))
    outcome = gateway.execute(ending())
    assert isinstance(outcome, Refused)
    assert outcome.retryable is retryable
    assert outcome.error["checkout_session"]["status"] == found["status"]
    assert "client_secret" not in outcome.error["checkout_session"]
    assert "payment_intent" not in outcome.error
    assert [(r.method, r.path) for r in stripe.seen][1:] == [("GET", "/v1/checkout/sessions/cs_1")]


def test_a_session_that_had_ended_already_is_applied(stripe: Scripted, gateway: StripeGateway) -> None:
    stripe.say(error(400), Reply(body=ENDED))
    assert isinstance(gateway.execute(ending()), Applied)


def test_a_session_whose_end_nobody_answers_is_unknown(stripe: Scripted, gateway: StripeGateway) -> None:
    stripe.say(drop)
    assert isinstance(gateway.execute(ending()), Unknown)


def make_session(gateway: StripeGateway, **options: Any) -> Any:
    return gateway.create_checkout_session(
        BEGUN, name="A course", success_url="https://shop.example/thanks", **options
    )


def test_a_session_is_made_under_the_orders_key(stripe: Scripted, gateway: StripeGateway) -> None:
    stripe.say(Reply(body={**OPEN, "url": "https://checkout.test/cs_1"}))
    assert (
        make_session(gateway, cancel_url="https://shop.example/cart")["url"] == "https://checkout.test/cs_1"
    )
    [request] = stripe.seen
    assert (request.method, request.path) == ("POST", "/v1/checkout/sessions")
    assert request.headers["idempotency-key"] == "order-1"
    assert dict(parse_qsl(request.body)) == {
        "mode": "payment",
        "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": "eur",
        "line_items[0][price_data][unit_amount]": "1900",
        "line_items[0][price_data][product_data][name]": "A course",
        "success_url": "https://shop.example/thanks",
        "cancel_url": "https://shop.example/cart",
        "metadata[order_id]": BEGUN["order_id"],
        "payment_intent_data[metadata][order_id]": BEGUN["order_id"],
        "adaptive_pricing[enabled]": "false",
    }


def test_a_saved_500_of_a_session_is_replaced_by_the_next_key(
    stripe: Scripted, gateway: StripeGateway
) -> None:
    stripe.say(REPLAYED_500, Reply(body=OPEN))
    assert make_session(gateway)["id"] == "cs_1"
    assert [r.headers["idempotency-key"] for r in stripe.seen] == ["order-1", "order-1:2"]


def test_a_session_that_is_refused_for_good(stripe: Scripted, gateway: StripeGateway) -> None:
    stripe.say(error(400, "amount_too_small", param="line_items"))
    with pytest.raises(StripeRefused):
        make_session(gateway)


def test_a_session_that_nobody_answers_for(stripe: Scripted, gateway: StripeGateway) -> None:
    stripe.say(drop)
    with pytest.raises(StripeUnavailable):
        make_session(gateway)
    assert {r.headers["idempotency-key"] for r in stripe.seen} == {"order-1"}


# -- what a reconciliation asks -----------------------------------------------------------------------------


def listing(*rows: dict[str, Any], has_more: bool = False) -> Reply:
    return Reply(body={"object": "list", "data": list(rows), "has_more": has_more, "url": "/v1/x"})


def test_pages_ask_for_a_window_of_whole_seconds_and_go_on_behind_the_last_object(
    stripe: Scripted, gateway: StripeGateway
) -> None:
    stripe.say(listing({"id": "ch_2"}, {"id": "ch_1"}, has_more=True), listing({"id": "ch_0"}))
    start = datetime(2026, 1, 31, 12, 0, 0, 600_000, tzinfo=UTC)

    pages = list(gateway.pages("charge", start, start + timedelta(seconds=60)))

    assert [[row["id"] for row in page] for page in pages] == [["ch_2", "ch_1"], ["ch_0"]]
    began = int(NOW.timestamp())
    window = f"/v1/charges?created[gte]={began}&created[lt]={began + 61}&limit=100"
    assert [unquote(request.path) for request in stripe.seen] == [window, f"{window}&starting_after=ch_1"]
    assert {request.method for request in stripe.seen} == {"GET"}
    assert stripe.seen[0].headers["authorization"] == "Bearer sk_test_secret"


def test_a_page_that_fails_for_a_moment_is_asked_for_again(stripe: Scripted, gateway: StripeGateway) -> None:
    stripe.say(error(503), drop, listing({"id": "re_1"}))
    [[row]] = gateway.pages("refund", NOW, NOW + timedelta(days=1))
    assert row["id"] == "re_1"


@pytest.mark.parametrize("status", [401, 503])
def test_a_page_that_does_not_come_is_no_empty_page(
    stripe: Scripted, gateway: StripeGateway, status: int
) -> None:
    stripe.say(error(status))
    with pytest.raises(StripeUnavailable):
        list(gateway.pages("refund", NOW, NOW + timedelta(days=1)))
    with pytest.raises(StripeUnavailable):
        gateway.retrieve_whole("pi_1")


def test_a_whole_paymentintent_has_its_charge_and_every_refund(
    stripe: Scripted, gateway: StripeGateway
) -> None:
    charge = {"id": "ch_1", "object": "charge", "billing_details": {"name": "Jenny Rosen"}, "refunded": False}
    intent = {**CAPTURED, "latest_charge": charge, "metadata": {"payment_id": "p-1", "note": "private"}}
    stripe.say(Reply(body=intent), listing({"id": "re_2"}, has_more=True), listing({"id": "re_1"}))

    objects = gateway.retrieve_whole("pi_1")

    assert [found["id"] for found in objects] == ["pi_1", "re_2", "re_1"]
    assert objects[0]["latest_charge"] == {
        "id": "ch_1", "object": "charge", "refunded": False, "metadata": {},
    }  # fmt: skip
    assert objects[0]["metadata"] == {"payment_id": "p-1"}
    assert "secret" not in repr(objects)
    assert "expand[0]=latest_charge" in unquote(stripe.seen[0].path)
    assert "payment_intent=pi_1" in stripe.seen[1].path


def test_one_without_a_charge_has_no_refunds_to_ask_for(stripe: Scripted, gateway: StripeGateway) -> None:
    stripe.say(Reply(body=HELD))
    assert [found["id"] for found in gateway.retrieve_whole("pi_1")] == ["pi_1"]
    assert len(stripe.seen) == 1


@pytest.mark.parametrize(
    ("asked", "answer", "path"),
    [
        (command(), CAPTURED, "payment_intents/pi_1"),
        (command("cancel_payment_intent"), CANCELED, "payment_intents/pi_1"),
        (
            command("expire_checkout_session", stripe_id="cs_1"),
            {"id": "cs_1", "status": "expired"},
            "checkout/sessions/cs_1",
        ),
        (
            refund_command(),
            {"object": "list", "data": [REFUND], "has_more": False},
            "refunds?payment_intent=pi_1&limit=100",
        ),
    ],
    ids=["capture", "cancel", "expire", "refund"],
)
def test_a_look_up_asks_and_sends_nothing(
    stripe: Scripted, gateway: StripeGateway, asked: dict[str, Any], answer: dict[str, Any], path: str
) -> None:
    stripe.say(Reply(body=answer))
    outcome = gateway.look_up(asked)
    assert isinstance(outcome, Applied)
    assert "secret" not in repr(outcome)
    assert [(request.method, request.path) for request in stripe.seen] == [("GET", f"/v1/{path}")]


@pytest.mark.parametrize(
    "reply",
    [Reply(body=HELD), error(404, "resource_missing"), error(503), error(401), drop],
    ids=["still held", "404", "503", "401", "dropped"],
)
def test_a_look_up_that_shows_no_effect_says_nothing(
    stripe: Scripted, gateway: StripeGateway, reply: Any
) -> None:
    """The request may still be on its way: that it did not arrive is never certain."""
    stripe.say(reply)
    assert isinstance(gateway.look_up(command()), Unknown)
    assert {request.method for request in stripe.seen} == {"GET"}


def test_what_this_process_does_not_know_is_not_looked_up(stripe: Scripted, gateway: StripeGateway) -> None:
    assert isinstance(gateway.look_up(command("of_a_later_release")), Unknown)
    assert stripe.seen == []


def test_events_are_asked_for_by_type_and_come_without_secrets(
    stripe: Scripted, gateway: StripeGateway
) -> None:
    def event(number: int) -> dict[str, Any]:
        return {"id": f"evt_{number}", "data": {"object": {"id": "pi_1", "client_secret": "s"}}, "created": 1}

    stripe.say(listing(event(2), has_more=True), listing(event(1)))
    pages = list(gateway.events(("charge.captured", "refund.created"), NOW, NOW + timedelta(days=1)))
    assert [[row["id"] for row in page] for page in pages] == [["evt_2"], ["evt_1"]]
    assert pages[0][0]["data"] == {"object": {"id": "pi_1"}}
    began = int(NOW.timestamp())
    assert unquote(stripe.seen[1].path) == (
        f"/v1/events?types[0]=charge.captured&types[1]=refund.created&created[gte]={began}"
        f"&created[lt]={began + 86_400}&limit=100&starting_after=evt_2"
    )
