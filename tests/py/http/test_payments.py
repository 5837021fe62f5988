"""create-intent: one PaymentIntent for each booking, whatever goes wrong."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from glue.stripe_gateway import StripeGateway
from tests.py.http.site import PRICE, Person, Site, refused, until

CREATE = "/api/payment/create-intent"


def test_an_intent_is_created_with_the_bookings_price_and_ids_only(site: Site) -> None:
    student = site.new_student()
    booking = site.book(student)
    response = student.post(CREATE, {"bookingId": booking["bookingId"], "amount": PRICE})
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"paymentIntentId", "clientSecret", "amount", "currency", "status"}
    assert (body["amount"], body["currency"], body["status"]) == (PRICE, "eur", "requires_payment_method")
    assert body["clientSecret"].startswith(body["paymentIntentId"])
    [book] = site.control.books()["payment_intents"]
    assert book["metadata"] == {"booking_id": booking["bookingId"], "payment_id": booking["paymentId"]}


def test_asking_again_gives_the_same_intent(site: Site) -> None:
    student = site.new_student()
    booking = site.book(student)
    first = site.intent(student, booking)
    assert site.intent(student, booking) == first
    assert len(site.control.books()["payment_intents"]) == 1


def test_two_create_intents_at_once_make_one_payment_intent(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = site.new_student()
    booking = site.book(student)
    released = threading.Event()
    monkeypatch.setattr(site.gateway, "_sleep", lambda _: released.wait(10))
    site.control.barrier("first", when="before", path="/v1/payment_intents", method="POST")
    with ThreadPoolExecutor(2) as pool:
        first_answer = pool.submit(site.intent, student, booking)
        site.control.wait_barrier("first")
        # Stripe answers the second with 409 while the first holds the key
        second_answer = pool.submit(site.intent, student, booking)
        until(lambda: any(call["status"] == 409 for call in site.control.requests(method="POST")))
        # and is asked again only after that: every quick try in between would be answered with 409, too
        first_answer.add_done_callback(lambda _: released.set())
        site.control.release_barrier("first")
        first, second = first_answer.result(), second_answer.result()
    assert first == second
    assert len(site.control.books()["payment_intents"]) == 1


def test_a_second_intent_gives_way_to_the_recorded_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    student = site.new_student()
    booking = site.book(student)
    create = StripeGateway.create_payment_intent

    def beaten(gateway: StripeGateway, prepared: Any, *, deadline: float) -> Any:
        mine = create(gateway, {**prepared, "idempotency_key": "another"}, deadline=deadline)
        theirs = create(gateway, prepared, deadline=deadline)
        site.db.one(
            "select * from booking.record_payment_intent(p_payment_id => %(p)s,"
            " p_stripe_payment_intent_id => %(i)s)",
            {"p": prepared["payment_id"], "i": theirs["id"]},
        )
        return mine

    monkeypatch.setattr(StripeGateway, "create_payment_intent", beaten)
    intent = site.intent(student, booking)
    recorded = site.sql.execute("select stripe_payment_intent_id as id from booking.payments").fetchone()
    assert recorded is not None
    assert intent["paymentIntentId"] == recorded["id"]
    stray = site.sql.execute("select operation, stripe_id from booking.stripe_commands").fetchall()
    assert [command["operation"] for command in stray] == ["cancel_payment_intent"]
    assert stray[0]["stripe_id"] != intent["paymentIntentId"]


def test_the_secret_is_withheld_when_the_booking_died_meanwhile(site: Site) -> None:
    student = site.new_student()
    booking = site.book(student)
    site.control.barrier("late", when="after", path="/v1/payment_intents", method="POST")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(student.post, CREATE, {"bookingId": booking["bookingId"]})
        site.control.wait_barrier("late")
        student.post("/api/bookings/cancel", {"bookingId": booking["bookingId"]})
        site.control.release_barrier("late")
        response = answer.result()
    details = refused(response, 409, "already_processed")
    assert details["status"] == "cancelled"
    assert "_secret_" not in response.text


def test_an_amount_that_differs_is_refused_and_nothing_is_written(site: Site) -> None:
    student = site.new_student()
    booking = site.book(student)
    with site.unchanged():
        details = refused(
            student.post(CREATE, {"bookingId": booking["bookingId"], "amount": PRICE - 1}),
            400,
            "amount_mismatch",
        )
    assert (details["field"], details["amount"], details["currency"]) == ("amount", PRICE, "eur")
    assert site.intent(student, booking)["amount"] == PRICE


def test_only_the_student_pays(site: Site) -> None:
    booking = site.book(site.new_student())
    with site.unchanged():
        refused(site.new_student().post(CREATE, {"bookingId": booking["bookingId"]}), 403, "not_your_booking")


def test_a_paid_booking_is_not_paid_again(site: Site) -> None:
    student = site.new_student()
    booking, _ = site.authorized(student)
    with site.unchanged():
        refused(student.post(CREATE, {"bookingId": booking["bookingId"]}), 400, "already_processed")


def test_while_stripe_is_down_create_intent_is_503_and_works_afterwards(site: Site) -> None:
    student = site.new_student()
    booking = site.book(student)
    site.control.fault("503", times=100, path="/v1/payment_intents")
    response = student.post(CREATE, {"bookingId": booking["bookingId"]})
    refused(response, 503, "stripe_unavailable")
    assert int(response.headers["Retry-After"]) >= 1
    site.control.clear_faults()
    assert site.intent(student, booking)["clientSecret"]


def test_a_lost_answer_ends_in_the_same_intent(site: Site) -> None:
    student = site.new_student()
    booking = site.book(student)
    site.control.fault("apply_then_drop", times=1, path="/v1/payment_intents")
    assert site.intent(student, booking)["clientSecret"]
    assert len(site.control.books()["payment_intents"]) == 1


def test_a_refused_key_is_503_and_raises_an_alert(site: Site) -> None:
    student = site.new_student()
    booking = site.book(student)
    site.control.set_keys("sk_test_rotated")
    refused(student.post(CREATE, {"bookingId": booking["bookingId"]}), 503, "stripe_unavailable")
    alerts = site.sql.execute("select kind, detail from booking.alerts").fetchall()
    assert [(alert["kind"], alert["detail"]["http_status"]) for alert in alerts] == [
        ("stripe_credentials", 401)
    ]
    assert site.booking(booking)["status"] == "pending"
    site.control.set_keys()
    assert site.intent(student, booking)["clientSecret"]


def test_an_alert_that_cannot_be_raised_changes_no_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = site.new_student()
    booking = site.book(student)
    site.control.set_keys("sk_test_rotated")
    site.sql.execute("drop function booking.report_stripe_key_refused(int, text)")
    refused(student.post(CREATE, {"bookingId": booking["bookingId"]}), 503, "stripe_unavailable")


def test_what_stripe_refuses_for_good_is_502_without_its_text(site: Site) -> None:
    student = site.new_student()
    booking = site.book(student)
    error = {"type": "invalid_request_error", "code": "amount_too_small", "message": "internal words"}
    site.control.fault("error", times=1, path="/v1/payment_intents", status=400, error=error)
    response = student.post(CREATE, {"bookingId": booking["bookingId"]})
    assert refused(response, 502, "stripe_refused") == {"stripeCode": "amount_too_small"}
    assert "internal words" not in response.text


def test_more_payments_than_allowed_are_503_and_a_decision_is_left_to_the_worker(
    db_url: str, sandbox: Any
) -> None:
    with Site(db_url, sandbox, max_concurrent_payments=1).open() as site:
        offer = site.offer()
        decided, _ = site.authorized(site.new_student(), offer)
        student, other = site.new_student(), site.new_student()
        mine, theirs = site.book(student), site.book(other)
        site.control.barrier("slow", when="before", path="/v1/payment_intents", method="POST")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(site.intent, student, mine)
            site.control.wait_barrier("slow")
            response = other.post(CREATE, {"bookingId": theirs["bookingId"]})
            refused(response, 503, "too_many_payments")
            assert int(response.headers["Retry-After"]) >= 1
            expert: Person = site.person(offer.expert, "expert")
            confirmed = expert.post(
                "/api/bookings/expert/confirm", {"bookingId": decided["bookingId"], "action": "confirm"}
            ).json()
            assert (confirmed["status"], confirmed["mirror"]) == ("confirmed", "pending")
            site.control.release_barrier("slow")
            assert answer.result()["clientSecret"]
        assert site.intent(other, theirs)["clientSecret"]
