"""Booking, deciding, cancelling and reading, over HTTP."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from glue import schemas
from glue.db import Database
from glue.mirror import Mirror, Mirrored
from tests.py.http.site import PRICE, Row, Site, refused


def test_a_booking_is_created_in_camel_case(site: Site) -> None:
    offer = site.offer()
    response = site.new_student().post(
        "/api/bookings/create", {"slotId": str(offer.slot), "sessionId": str(offer.session)}
    )
    assert response.status_code == 201
    body = response.json()
    assert set(body) == {
        "bookingId", "status", "paymentId", "expertId", "amount", "currency", "scheduledAt", "expiresAt",
        "wasCreated",
    }  # fmt: skip
    assert (body["status"], body["expertId"]) == ("pending", offer.expert)
    assert (body["amount"], body["currency"], body["wasCreated"]) == (PRICE, "eur", True)
    assert datetime.fromisoformat(body["scheduledAt"]).utcoffset() == timedelta(0)


def test_the_same_idempotency_key_answers_with_the_first_booking(site: Site) -> None:
    student, offer = site.new_student(), site.offer()
    send = {"slotId": str(offer.slot)}
    first, again = (
        student.post("/api/bookings/create", send, headers={"Idempotency-Key": "k-1"}) for _ in range(2)
    )
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json() | {"wasCreated": False}
    other = student.post(
        "/api/bookings/create", {"slotId": str(site.offer().slot)}, headers={"Idempotency-Key": "k-1"}
    )
    refused(other, 409, "idempotency_key_reused")


def test_twenty_rivals_for_a_taken_slot_get_409(site: Site) -> None:
    offer = site.offer()
    students = [site.new_student() for _ in range(21)]
    with ThreadPoolExecutor(21) as pool:
        answers = list(
            pool.map(lambda who: who.post("/api/bookings/create", {"slotId": str(offer.slot)}), students)
        )
    won = [answer for answer in answers if answer.status_code == 201]
    assert len(won) == 1
    for answer in answers:
        if answer is not won[0]:
            refused(answer, 409, "slot_unavailable")
    assert len(site.contents()["bookings"]) == 1


def test_a_confirmed_booking_is_captured_at_once(site: Site) -> None:
    student = site.new_student()
    offer = site.offer()
    booking, intent = site.authorized(student, offer)
    response = site.person(offer.expert, "expert").post(
        "/api/bookings/expert/confirm", {"bookingId": booking["bookingId"], "action": "confirm"}
    )
    assert response.status_code == 200
    body = response.json()
    assert uuid.UUID(body.pop("commandId"))
    assert body == {
        "bookingId": booking["bookingId"],
        "status": "confirmed",
        "paymentStatus": "captured",
        "mirror": "done",
    }
    [book] = site.control.books()["payment_intents"]
    assert (book["id"], book["captured"]) == (intent["paymentIntentId"], PRICE)


def test_when_stripe_is_down_a_confirm_still_succeeds(site: Site) -> None:
    offer = site.offer()
    booking, _ = site.authorized(site.new_student(), offer)
    site.control.fault("503", times=100, path="/v1/payment_intents")
    response = site.person(offer.expert, "expert").post(
        "/api/bookings/expert/confirm", {"bookingId": booking["bookingId"], "action": "confirm"}
    )
    assert response.status_code == 200
    assert response.json()["status"] == "confirmed"
    assert response.json()["paymentStatus"] == "authorized"
    assert response.json()["mirror"] == "pending"
    assert site.booking(booking)["payment_status"] == "authorized"


def test_a_decision_that_cannot_be_read_back_is_answered_as_decided(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = site.offer()
    booking, _ = site.authorized(site.new_student(), offer)
    one, decide = Database.one, Mirror.decide
    broken = []

    def breaking(db: Database, statement: str, params: object = None) -> Row | None:
        if "get_booking(" in statement:
            broken.append(statement)
            statement = "select 1 / 0"
        return one(db, statement, params)  # type: ignore[arg-type]

    def by_another(mirror: Mirror, *arguments: Any, **named: Any) -> tuple[Row, Mirrored]:
        row, mirrored = decide(mirror, *arguments, **named)
        return row, Mirrored(mirrored.state)  # somebody else has recorded what Stripe did

    monkeypatch.setattr(Database, "one", breaking)
    monkeypatch.setattr(Mirror, "decide", by_another)
    response = site.person(offer.expert, "expert").post(
        "/api/bookings/expert/confirm", {"bookingId": booking["bookingId"], "action": "confirm"}
    )
    assert len(broken) == 1
    assert response.status_code == 200
    assert response.json()["status"] == "confirmed"
    assert response.json()["mirror"] == "done"


@pytest.mark.parametrize("whose", ["nobody's", "another one's"])
def test_the_statuses_in_the_answer_are_those_of_the_booking_that_was_decided(
    site: Site, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    offer = site.offer()
    booking, _ = site.authorized(site.new_student(), offer)
    decide = Mirror.decide

    def other(mirror: Mirror, *arguments: Any, **named: Any) -> tuple[Row, Mirrored]:
        row, mirrored = decide(mirror, *arguments, **named)
        strange = {"booking_id": uuid.uuid4(), "status": "cancelled", "payment_status": "refunded"}
        return row, Mirrored(mirrored.state, None if whose == "nobody's" else strange)

    monkeypatch.setattr(Mirror, "decide", other)
    answer = (
        site.person(offer.expert, "expert")
        .post("/api/bookings/expert/confirm", {"bookingId": booking["bookingId"], "action": "confirm"})
        .json()
    )
    assert (answer["status"], answer["paymentStatus"], answer["mirror"]) == ("confirmed", "captured", "done")


def test_a_declined_booking_gives_the_hold_back(site: Site) -> None:
    offer = site.offer()
    booking, _ = site.authorized(site.new_student(), offer)
    response = site.person(offer.expert, "expert").post(
        "/api/bookings/expert/confirm",
        {"bookingId": booking["bookingId"], "action": "decline", "reason": "ill"},
    )
    assert response.json()["status"] == "declined"
    assert response.json()["paymentStatus"] == "cancelled"
    assert response.json()["mirror"] == "done"
    [book] = site.control.books()["payment_intents"]
    assert book["status"] == "canceled"


@pytest.mark.parametrize(
    ("hours", "percent", "status"),
    [(30, 100, "refunded"), (10, 50, "partially_refunded"), (1, 0, "captured")],
)
def test_the_refund_follows_the_policy(site: Site, hours: int, percent: int, status: str) -> None:
    student, offer = site.new_student(), site.offer(hours=hours)
    booking, _ = site.authorized(student, offer)
    site.person(offer.expert, "expert").post(
        "/api/bookings/expert/confirm", {"bookingId": booking["bookingId"], "action": "confirm"}
    )
    refund = PRICE * percent // 100
    quote = student.get(f"/api/bookings/{booking['bookingId']}/cancellation-quote")
    assert quote.json() == {"refundPercent": percent, "refundAmount": refund, "currency": "eur"}
    response = student.post("/api/bookings/cancel", {"bookingId": booking["bookingId"], "reason": "rain"})
    assert response.status_code == 200
    body = response.json()
    assert (body["status"], body["cancelledBy"], body["mirror"]) == ("cancelled", "student", "done")
    assert (body["refundPercent"], body["refundAmount"], body["paymentStatus"]) == (percent, refund, status)
    [book] = site.control.books()["payment_intents"]
    assert book["refunded"] == refund


def test_a_booking_without_a_payment_is_cancelled_without_stripe(site: Site) -> None:
    student = site.new_student()
    booking = site.book(student)
    body = student.post("/api/bookings/cancel", {"bookingId": booking["bookingId"]}).json()
    assert (body["status"], body["mirror"], body["commandId"]) == ("cancelled", "done", None)
    assert site.control.requests(method="POST") == []


def test_both_sides_and_nobody_else_can_read_a_booking(site: Site) -> None:
    student, offer = site.new_student(), site.offer()
    booking = site.book(student, offer)
    path = f"/api/bookings/{booking['bookingId']}"
    for reader in (student, site.person(offer.expert, "expert")):
        body = reader.get(path).json()
        assert set(body) == {field.alias for field in schemas.Booking.model_fields.values()}
        assert (body["slotId"], body["paymentStatus"]) == (str(offer.slot), "pending")
    refused(site.new_student().get(path), 403, "not_your_booking")
    refused(student.get(f"/api/bookings/{uuid.uuid4()}"), 404, "booking_not_found")


def test_a_list_of_bookings_is_read_page_by_page(site: Site) -> None:
    student = site.new_student()
    made = [site.book(student)["bookingId"] for _ in range(3)]
    first = student.get("/api/bookings", params={"limit": 2}).json()
    assert [row["bookingId"] for row in first["bookings"]] == made[:0:-1]
    second = student.get("/api/bookings", params={"limit": 2, "after": first["nextAfter"]}).json()
    assert [row["bookingId"] for row in second["bookings"]] == made[:1]
    assert second["nextAfter"] is None
    student.post("/api/bookings/cancel", {"bookingId": made[0]})
    live = student.get("/api/bookings", params={"status": "pending"}).json()
    assert {row["bookingId"] for row in live["bookings"]} == set(made[1:])


def test_open_slots_are_listed_until_they_are_taken(site: Site) -> None:
    student, offer = site.new_student(), site.offer(hours=5)
    later = site.offer(hours=7, expert=offer.expert)
    now = datetime.now(UTC)
    period = {"from": now.isoformat(), "to": (now + timedelta(days=1)).isoformat(), "expertId": offer.expert}
    body = student.get("/api/slots", params=period | {"limit": "1"}).json()
    assert [slot["slotId"] for slot in body["slots"]] == [str(offer.slot)]
    assert set(body["slots"][0]) == {field.alias for field in schemas.Slot.model_fields.values()}
    rest = student.get("/api/slots", params=period | {"after": body["nextAfter"]}).json()
    assert [slot["slotId"] for slot in rest["slots"]] == [str(later.slot)]
    site.book(student, offer)
    left = student.get("/api/slots", params=period).json()["slots"]
    assert [slot["slotId"] for slot in left] == [str(later.slot)]


def test_the_answers_hold_every_column_of_the_functions(site: Site) -> None:
    pairs: list[tuple[str, type[schemas.Output], set[str]]] = [
        ("create_booking_transaction", schemas.BookingCreated, set()),
        ("confirm_booking_transaction", schemas.Decision, {"mirror"}),
        ("cancel_booking_transaction", schemas.Cancellation, {"mirror"}),
        ("quote_cancellation", schemas.Quote, set()),
        ("get_booking", schemas.Booking, set()),
        ("list_open_slots", schemas.Slot, set()),
        ("get_booking_stats", schemas.Stats, set()),
    ]
    for function, model, added in pairs:
        row = site.sql.execute(
            "select array_agg(name) as names"
            " from pg_proc p, unnest(p.proargnames, p.proargmodes) a(name, mode)"
            " where p.pronamespace = 'booking'::regnamespace and p.proname = %s and a.mode = 't'",
            (function,),
        ).fetchone()
        assert row is not None
        assert set(row["names"]) | added == set(model.model_fields), function


def test_an_expert_cancelling_gives_everything_back(site: Site) -> None:
    offer = site.offer(hours=1)
    booking, _ = site.authorized(site.new_student(), offer)
    expert = site.person(offer.expert, "expert")
    expert.post("/api/bookings/expert/confirm", {"bookingId": booking["bookingId"], "action": "confirm"})
    body = expert.post("/api/bookings/cancel", {"bookingId": booking["bookingId"]}).json()
    assert (body["cancelledBy"], body["refundPercent"], body["paymentStatus"]) == ("expert", 100, "refunded")
