"""Classes: a seat is held, paid at once, and confirmed by the page or the webhook, whichever comes first."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests.py.http.site import PRICE, WEBHOOK_SECRET, WEBHOOKS, Offer, Person, Row, Site, refused

CREATE = "/api/payments/create-intent"
CONFIRM = "/api/bookings/confirm"


def a_class(site: Site, capacity: int = 2, **options: Any) -> Offer:
    return site.offer(capacity=capacity, confirmation="instant", **options)


def hold(student: Person, offer: Offer, **body: Any) -> Row:
    response = student.post(CREATE, {"classId": str(offer.slot), **body})
    assert response.status_code == 200, response.text
    return dict(response.json())


def pay_unseen(site: Site, held: Row) -> None:
    """The customer pays, and no event arrives."""
    site.control.set_webhook(None)
    site.customer.v1.payment_intents.confirm(held["paymentIntentId"], {"payment_method": "pm_card_visa"})


def confirm(student: Person, offer: Offer, held: Row) -> Any:
    return student.post(CONFIRM, {"classId": str(offer.slot), "paymentIntentId": held["paymentIntentId"]})


def confirmed(student: Person, offer: Offer, held: Row) -> Row:
    response = confirm(student, offer, held)
    assert response.status_code == 200, response.text
    return dict(response.json())


def lapse(site: Site, held: Row) -> None:
    """The time of a hold is up, and the maintenance has run."""
    site.sql.execute(
        "update booking.bookings set created_at = created_at - interval '1 hour' where id = %s",
        (held["bookingId"],),
    )
    site.sql.execute("select booking.cleanup_expired_bookings()")
    assert site.booking(held)["status"] == "cancelled"


def drain(site: Site) -> None:
    """What no request carried out, the worker does."""
    while claims := site.mirror.claim_due(limit=10, min_age=0):
        for claim in claims:
            site.mirror.run_claimed(claim)


def theirs(site: Site, held: Row) -> tuple[int, int]:
    """What Stripe has captured and refunded of a PaymentIntent."""
    [found] = [e for e in site.control.books()["payment_intents"] if e["id"] == held["paymentIntentId"]]
    return found["captured"], found["refunded"]


def assert_sound(site: Site) -> None:
    assert site.sql.execute("select * from booking.check_invariants()").fetchall() == []


def test_a_seat_is_held_paid_and_confirmed(site: Site) -> None:
    student, offer = site.new_student(), a_class(site)
    held = hold(student, offer, amount=PRICE)
    assert set(held) == {"bookingId", "paymentIntentId", "clientSecret", "amount", "currency", "status"}
    assert (held["amount"], held["currency"], held["status"]) == (PRICE, "eur", "requires_payment_method")
    assert held["clientSecret"].startswith(held["paymentIntentId"])
    [at_stripe] = site.control.books()["payment_intents"]
    row = site.sql.execute("select id, payment_id from booking.bookings").fetchone()
    assert row is not None
    assert at_stripe["metadata"] == {
        "booking_id": str(row["id"]),
        "payment_id": str(row["payment_id"]),
        "class_id": str(offer.slot),
        "user_id": student.user,
        "idempotency_key": str(row["payment_id"]),
    }
    pay_unseen(site, held)
    first = confirmed(student, offer, held)
    assert first == {"bookingId": held["bookingId"], "status": "confirmed", "wasChanged": True}
    assert confirmed(student, offer, held) == {**first, "wasChanged": False}
    assert site.booking(held)["payment_status"] == "captured"
    assert_sound(site)


def test_the_request_is_in_the_audit_log(site: Site) -> None:
    student, offer = site.new_student(), a_class(site)
    held = hold(student, offer)
    pay_unseen(site, held)
    response = confirm(student, offer, held)
    rows = site.sql.execute(
        "select distinct actor from booking.audit_log where request_id = %s and action = 'payment.captured'",
        (response.headers["X-Request-Id"],),
    ).fetchall()
    assert [row["actor"] for row in rows] == [student.user]


def test_asking_again_gives_the_same_hold(site: Site) -> None:
    student, offer = site.new_student(), a_class(site)
    first = hold(student, offer)
    assert hold(student, offer, amount=PRICE) == first
    keyed = student.post(CREATE, {"classId": str(offer.slot)}, headers={"Idempotency-Key": "k-1"})
    assert keyed.json() == first
    assert len(site.control.books()["payment_intents"]) == 1


def test_a_student_in_two_windows_gets_one_hold_and_one_payment_intent(site: Site) -> None:
    student, offer = site.new_student(), a_class(site)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: hold(student, offer), range(6)))
    assert all(each == answers[0] for each in answers)
    assert len(site.control.books()["payment_intents"]) == 1
    pay_unseen(site, answers[0])
    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(lambda _: confirmed(student, offer, answers[0]), range(6)))
    assert [each["wasChanged"] for each in told].count(True) == 1
    assert {(each["bookingId"], each["status"]) for each in told} == {(answers[0]["bookingId"], "confirmed")}
    assert_sound(site)


def test_a_student_who_closes_the_browser_after_paying_is_booked_by_the_webhook(site: Site) -> None:
    student, offer = site.new_student(), a_class(site)
    held = hold(student, offer)
    site.pay(held)
    assert site.booking(held) == {
        "status": "confirmed", "cancelled_by": None, "payment_status": "captured",
        "amount_captured": PRICE, "amount_refunded": 0,
    }  # fmt: skip
    assert confirmed(student, offer, held)["wasChanged"] is False
    refused(student.post(CREATE, {"classId": str(offer.slot)}), 409, "duplicate_booking")
    assert_sound(site)


@pytest.mark.parametrize("told_by", ["the page", "the webhook"])
def test_a_hold_that_lapsed_while_paying_is_seated_again(site: Site, told_by: str) -> None:
    student, offer = site.new_student(), a_class(site, capacity=1)
    held = hold(student, offer)
    lapse(site, held)
    if told_by == "the page":
        pay_unseen(site, held)
        told = confirmed(student, offer, held)
        assert told["wasChanged"] is True
    else:
        site.pay(held)
        told = confirmed(student, offer, held)
        assert told["wasChanged"] is False
    assert told["status"] == "confirmed"
    assert told["bookingId"] != held["bookingId"]
    mine = student.get("/api/bookings").json()["bookings"]
    assert [(b["bookingId"], b["status"], b["paymentStatus"], b["amountCaptured"]) for b in mine] == [
        (told["bookingId"], "confirmed", "captured", PRICE),
        (held["bookingId"], "cancelled", "cancelled", 0),
    ]
    drain(site)  # the cancelling of the lapsed hold is dropped: nothing of it reaches Stripe
    assert theirs(site, held) == (PRICE, 0)
    refused(site.new_student().post(CREATE, {"classId": str(offer.slot)}), 409, "capacity_full")
    assert_sound(site)


def test_the_cancelling_of_a_lapsed_hold_that_finds_it_paid_seats_the_student_again(site: Site) -> None:
    student, offer = site.new_student(), a_class(site, capacity=1)
    held = hold(student, offer)
    pay_unseen(site, held)
    lapse(site, held)
    drain(site)
    told = confirmed(student, offer, held)
    assert (told["status"], told["wasChanged"]) == ("confirmed", False)
    assert theirs(site, held) == (PRICE, 0)
    assert_sound(site)


@pytest.mark.parametrize("told_by", ["the page", "the webhook"])
def test_a_hold_that_lapsed_and_whose_seat_is_gone_is_refunded_whole(site: Site, told_by: str) -> None:
    student, offer = site.new_student(), a_class(site, capacity=1)
    held = hold(student, offer)
    lapse(site, held)
    hold(site.new_student(), offer)
    if told_by == "the page":
        pay_unseen(site, held)
    else:
        site.pay(held)
    for _ in range(2):
        details = refused(confirm(student, offer, held), 409, "capacity_full")
        assert details == {"bookingId": held["bookingId"], "status": "cancelled"}
    drain(site)
    assert theirs(site, held) == (PRICE, PRICE)
    refused(confirm(student, offer, held), 409, "capacity_full")
    site.control.set_webhook(site.base + WEBHOOKS, WEBHOOK_SECRET)
    assert_sound(site)


def test_a_hold_that_was_canceled_at_stripe_cannot_be_paid(site: Site) -> None:
    student, offer = site.new_student(), a_class(site)
    held = hold(student, offer)
    lapse(site, held)
    drain(site)
    details = refused(confirm(student, offer, held), 402, "payment_not_succeeded")
    assert details["status"] == "canceled"
    again = hold(student, offer)
    assert again["paymentIntentId"] != held["paymentIntentId"]
    site.pay(again)
    assert confirmed(student, offer, again)["status"] == "confirmed"
    assert_sound(site)


def test_a_full_class_takes_nobodys_money(site: Site) -> None:
    offer = a_class(site, capacity=1)
    hold(site.new_student(), offer)
    with site.unchanged():
        details = refused(site.new_student().post(CREATE, {"classId": str(offer.slot)}), 409, "capacity_full")
    assert details == {"classId": str(offer.slot), "reason": "full"}


def test_a_class_that_is_not_paid_is_not_confirmed(site: Site) -> None:
    student, offer = site.new_student(), a_class(site)
    held = hold(student, offer)
    with site.unchanged():
        details = refused(confirm(student, offer, held), 402, "payment_not_succeeded")
    assert details["status"] == "requires_payment_method"


def test_a_tampered_amount_is_refused_and_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    student, offer = site.new_student(), a_class(site)
    with site.unchanged(), caplog.at_level(logging.WARNING):
        body = {"classId": str(offer.slot), "amount": 1}
        details = refused(student.post(CREATE, body), 400, "amount_mismatch")
    assert (details["amount"], details["currency"]) == (PRICE, "eur")
    [record] = [r for r in caplog.records if r.name == "glue.routes.classes"]
    assert record.levelno == logging.WARNING
    assert logged(record) == {
        "user": student.user,
        "class_id": str(offer.slot),
        "code": "amount_mismatch",
    }


@pytest.mark.parametrize("whose", ["another student's", "of another class", "of no booking", "nobody's"])
def test_a_payment_intent_that_does_not_fit_is_refused_and_logged(
    site: Site, caplog: pytest.LogCaptureFixture, whose: str
) -> None:
    student, other, offer = site.new_student(), site.new_student(), a_class(site)
    hold(student, offer)
    match whose:
        case "another student's":
            intent = hold(other, offer)["paymentIntentId"]
        case "of another class":
            intent = hold(student, a_class(site))["paymentIntentId"]
        case "of no booking":
            intent = site.customer.v1.payment_intents.create(
                {
                    "amount": 50,
                    "currency": "eur",
                    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                    "metadata": {"user_id": student.user, "class_id": str(offer.slot)},
                }
            ).id
        case _:
            intent = "pi_nobody"
    if intent != "pi_nobody":
        site.customer.v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})
    with site.unchanged(), caplog.at_level(logging.WARNING):
        body = {"classId": str(offer.slot), "paymentIntentId": intent}
        details = refused(student.post(CONFIRM, body), 400, "payment_metadata_mismatch")
    assert details["paymentIntentId"] == intent
    records = [r for r in caplog.records if r.name == "glue.routes.classes"]
    assert {record.levelno for record in records} == {logging.WARNING}
    about = {"user": student.user, "class_id": str(offer.slot), "payment_intent_id": intent}
    unknown_at_stripe = [about] if intent == "pi_nobody" else []
    assert [logged(r) for r in records] == [*unknown_at_stripe, about | {"code": "payment_metadata_mismatch"}]
    assert "_secret_" not in caplog.text


def logged(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a record."""
    usual = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
    return {name: value for name, value in record.__dict__.items() if name not in usual}


def test_the_secret_of_a_payment_intent_stays_out_of_the_database(site: Site) -> None:
    student, offer = site.new_student(), a_class(site)
    held = hold(student, offer)
    site.pay(held)
    confirmed(student, offer, held)
    assert not [line for lines in site.contents().values() for line in lines if "_secret_" in line]


@pytest.mark.parametrize("slot", ["unknown", "decided by an expert"])
def test_what_is_no_class_is_404(site: Site, slot: str) -> None:
    student = site.new_student()
    other = hold(student, a_class(site))
    wrong = str(uuid4() if slot == "unknown" else site.offer().slot)
    with site.unchanged():
        refused(student.post(CREATE, {"classId": wrong}), 404, "class_not_found")
        body = {"classId": wrong, "paymentIntentId": other["paymentIntentId"]}
        refused(student.post(CONFIRM, body), 404, "class_not_found")
        body = {"classId": wrong, "paymentIntentId": "pi_nobody"}
        assert refused(student.post(CONFIRM, body), 404, "class_not_found") == {"classId": wrong}


def test_a_key_is_for_one_class(site: Site) -> None:
    student, one, two = site.new_student(), a_class(site), a_class(site)
    key = {"Idempotency-Key": "k-1"}
    assert student.post(CREATE, {"classId": str(one.slot)}, headers=key).status_code == 200
    refused(student.post(CREATE, {"classId": str(two.slot)}, headers=key), 409, "idempotency_key_reused")


def test_a_booking_that_was_cancelled_since_is_not_confirmed(site: Site) -> None:
    student, offer = site.new_student(), a_class(site)
    held = hold(student, offer)
    site.pay(held)
    assert student.post("/api/bookings/cancel", {"bookingId": held["bookingId"]}).status_code == 200
    details = refused(confirm(student, offer, held), 409, "already_processed")
    assert details == {"bookingId": held["bookingId"], "status": "cancelled"}
    assert theirs(site, held) == (PRICE, PRICE)


def test_a_confirmation_that_fails_inside_is_500_and_keeps_nothing(site: Site) -> None:
    student, offer = site.new_student(), a_class(site)
    held = hold(student, offer)
    pay_unseen(site, held)
    site.sql.execute(
        "create or replace function booking.mark_confirmed(p_booking_id uuid, p_actor text,"
        " p_reason_code text, p_now timestamptz) returns void language sql as 'select'"
    )
    with site.unchanged():
        refused(confirm(student, offer, held), 500, "booking_confirm_failed")


def test_while_stripe_is_down_the_hold_stays_and_is_paid_afterwards(site: Site) -> None:
    student, offer = site.new_student(), a_class(site)
    site.control.fault("503", times=100, path="/v1/payment_intents")
    refused(student.post(CREATE, {"classId": str(offer.slot)}), 503, "stripe_unavailable")
    site.control.clear_faults()
    held = hold(student, offer)
    pay_unseen(site, held)
    site.control.fault("503", times=100, path=f"/v1/payment_intents/{held['paymentIntentId']}")
    refused(confirm(student, offer, held), 503, "stripe_unavailable")
    site.control.clear_faults()
    assert confirmed(student, offer, held)["wasChanged"] is True
    assert_sound(site)


def test_a_refused_key_raises_an_alert(site: Site) -> None:
    student, offer = site.new_student(), a_class(site)
    held = hold(student, offer)
    site.control.set_keys("sk_test_rotated")
    refused(confirm(student, offer, held), 503, "stripe_unavailable")
    alerts = site.sql.execute("select kind from booking.alerts").fetchall()
    assert [alert["kind"] for alert in alerts] == ["stripe_credentials"]
    site.control.set_keys()


@pytest.mark.parametrize("path", [CREATE, CONFIRM])
@pytest.mark.parametrize("role", ["expert", "admin"])
def test_only_students_book_classes(lasting_site: Site, path: str, role: Any) -> None:
    person = lasting_site.person("somebody", role)
    refused(person.post(path, {"classId": str(uuid4()), "paymentIntentId": "pi_1"}), 403, "forbidden")


@pytest.mark.parametrize("intent", ["", "pi_1/../x", "pi 1", "x" * 256, 7, None])
def test_what_is_no_payment_intents_id_never_reaches_stripe(lasting_site: Site, intent: Any) -> None:
    student = lasting_site.new_student()
    asked = len(lasting_site.control.requests())
    body = {"classId": str(uuid4()), "paymentIntentId": intent}
    assert refused(student.post(CONFIRM, body), 400, "invalid_request")["field"] == "paymentIntentId"
    assert len(lasting_site.control.requests()) == asked


def test_a_booking_is_not_looked_for_under_the_routes_name(lasting_site: Site) -> None:
    assert lasting_site.new_student().get(CONFIRM).status_code == 405
