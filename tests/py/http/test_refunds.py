"""Refund requests over HTTP: a student asks, an administrator decides, Stripe's books agree."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import requests

from glue.db import Database
from tests.py.http.site import PRICE, Person, Row, Site, refused, until

ASK = "/api/refunds/request"


def captured(site: Site, student: Person | None = None, *, hours: float = 48) -> tuple[Row, Person, Person]:
    """A booking that is confirmed and captured: (booking, student, expert)."""
    student = student or site.new_student()
    offer = site.offer(hours=hours)
    booking, _ = site.authorized(student, offer)
    expert = site.person(offer.expert, "expert")
    response = expert.post(
        "/api/bookings/expert/confirm", {"bookingId": booking["bookingId"], "action": "confirm"}
    )
    assert response.json()["paymentStatus"] == "captured", response.text
    site.control.wait_idle()
    return booking, student, expert


def ask(student: Person, booking: Row, **more: Any) -> requests.Response:
    return student.post(ASK, {"bookingId": booking["bookingId"], **more})


def asked(student: Person, booking: Row, **more: Any) -> str:
    response = ask(student, booking, **more)
    assert response.status_code == 201, response.text
    return str(response.json()["requestId"])


def admin(site: Site) -> Person:
    return site.person("admin-1", "admin")


def decide(site: Site, request_id: str, decision: str = "approve", **more: Any) -> requests.Response:
    return admin(site).post(f"/api/admin/refunds/{request_id}/decision", {"decision": decision, **more})


def persisting(send: Callable[[], requests.Response]) -> requests.Response:
    """The same again while the server says that it is too busy: nothing was written then."""
    while (response := send()).status_code == 503:
        pass
    return response


def work_is_done(site: Site) -> bool:
    """A worker's round: what waited for another refund is sent. A webhook may hold a command for a moment."""
    for claim in site.mirror.claim_due(limit=10, min_age=0):
        site.mirror.run_claimed(claim)
    found = site.sql.execute("select from booking.stripe_commands where status in ('pending', 'running')")
    return not found.fetchall()


def sound(site: Site) -> None:
    """Our books and Stripe's agree, and no more went back than came in."""
    site.control.wait_idle()
    assert site.sql.execute("select * from booking.check_invariants()").fetchall() == []
    ours = site.sql.execute(
        "select stripe_payment_intent_id as id, amount_captured as captured, amount_refunded as refunded"
        " from booking.payments where amount_captured > 0 order by 1"
    ).fetchall()
    theirs = {book["id"]: book for book in site.control.books()["payment_intents"]}
    for row in ours:
        assert (row["captured"], row["refunded"]) == (
            theirs[row["id"]]["captured"],
            theirs[row["id"]]["refunded"],
        )
        assert row["refunded"] <= row["captured"]


def refunds_at_stripe(site: Site, booking: Row) -> list[Row]:
    found = site.sql.execute(
        "select p.stripe_payment_intent_id from booking.payments p where p.booking_id = %s",
        (booking["bookingId"],),
    ).fetchone()
    assert found is not None
    page = site.customer.v1.refunds.list({"payment_intent": found["stripe_payment_intent_id"], "limit": 100})
    return [refund.to_dict() for refund in page.data]


def test_a_request_is_approved_and_refunded(site: Site) -> None:
    booking, student, _ = captured(site)
    response = ask(student, booking, amount=2000, reason="We ended early.")
    assert response.status_code == 201
    body = response.json()
    assert body == {"requestId": body["requestId"], "bookingId": booking["bookingId"], "status": "pending"}
    [waiting] = admin(site).get("/api/admin/refunds?status=pending").json()["requests"]
    assert waiting["requestId"] == body["requestId"]
    assert (waiting["amount"], waiting["reason"]) == (2000, "We ended early.")

    decision = decide(site, body["requestId"], note="Sorry!")
    assert decision.status_code == 200
    told = decision.json()
    assert uuid.UUID(told.pop("commandId"))
    assert told == {
        "requestId": body["requestId"],
        "status": "refunded",
        "refundAmount": 2000,
        "paymentStatus": "partially_refunded",
        "mirror": "done",
    }
    [refund] = refunds_at_stripe(site, booking)
    assert refund["amount"] == 2000
    assert refund["metadata"]["request_id"] == body["requestId"]
    assert site.booking(booking)["status"] == "confirmed"
    [own] = student.get("/api/refunds").json()["requests"]
    assert (own["status"], own["note"], own["amount"]) == ("refunded", "Sorry!", 2000)
    assert "decidedBy" not in own
    sound(site)


def test_left_out_the_amount_is_all_that_is_left(site: Site) -> None:
    booking, student, _ = captured(site)
    first = asked(student, booking, amount=1)
    second = asked(student, booking)
    amounts = {each["requestId"]: each["amount"] for each in student.get("/api/refunds").json()["requests"]}
    assert amounts == {first: 1, second: PRICE - 1}
    details = refused(ask(student, booking, amount=1), 409, "refund_exceeds_captured")
    assert details["refundable"] == 0
    for request_id in (first, second):
        assert decide(site, request_id).json()["status"] == "refunded"
    assert site.booking(booking)["payment_status"] == "refunded"
    sound(site)


def test_a_rejected_request_moves_no_money(site: Site) -> None:
    booking, student, _ = captured(site)
    request_id = asked(student, booking)
    told = decide(site, request_id, "reject", note="Those are the terms.").json()
    assert told == {
        "requestId": request_id,
        "status": "rejected",
        "refundAmount": PRICE,
        "paymentStatus": "captured",
        "commandId": None,
        "mirror": "done",
    }
    assert decide(site, request_id, "reject").json() == told
    assert refused(decide(site, request_id), 409, "already_processed")["status"] == "rejected"
    assert refunds_at_stripe(site, booking) == []
    sound(site)


def test_who_may_ask_and_who_may_decide(site: Site) -> None:
    booking, student, expert = captured(site)
    refused(ask(site.new_student(), booking), 403, "not_your_booking")
    refused(ask(expert, booking), 403, "forbidden")
    refused(ask(admin(site), booking), 403, "forbidden")
    request_id = asked(student, booking, amount=100)
    for person in (student, expert):
        refused(
            person.post(f"/api/admin/refunds/{request_id}/decision", {"decision": "approve"}),
            403,
            "forbidden",
        )
        refused(person.get("/api/admin/refunds"), 403, "forbidden")
    assert site.new_student().get("/api/refunds").json() == {"requests": [], "nextAfter": None}
    refused(decide(site, str(uuid.uuid4())), 404, "refund_request_not_found")
    refused(decide(site, "no-uuid"), 400, "invalid_request")
    refused(decide(site, request_id, "refund"), 400, "invalid_decision")
    refused(ask(student, {"bookingId": str(uuid.uuid4())}), 404, "booking_not_found")


def test_nothing_is_given_back_before_it_is_captured(site: Site) -> None:
    student = site.new_student()
    booking, _ = site.authorized(student)
    details = refused(ask(student, booking), 409, "payment_not_captured")
    assert details["paymentStatus"] == "authorized"


def test_lists_come_in_pages(site: Site) -> None:
    booking, student, _ = captured(site)
    made = [asked(student, booking, amount=1) for _ in range(3)]
    assert len(set(made)) == 3
    seen: list[str] = []
    after = ""
    while True:
        body = student.get(f"/api/refunds?limit=2{after}").json()
        seen += [each["requestId"] for each in body["requests"]]
        if body["nextAfter"] is None:
            break
        after = f"&after={body['nextAfter']}"
    assert sorted(seen) == sorted(made)
    assert seen == sorted(seen, reverse=True)
    refused(student.get("/api/refunds?status=open"), 400, "invalid_request")
    refused(admin(site).get("/api/admin/refunds?limit=201"), 400, "invalid_request")


def test_ten_administrators_approve_at_once_and_one_refund_leaves(site: Site) -> None:
    booking, student, _ = captured(site)
    request_id = asked(student, booking, amount=3000)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: decide(site, request_id), range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["commandId"] for answer in answers}) == 1
    site.control.wait_idle()
    assert [refund["amount"] for refund in refunds_at_stripe(site, booking)] == [3000]
    assert decide(site, request_id).json()["status"] == "refunded"
    sound(site)


def test_a_storm_of_requests_approvals_and_a_cancellation_gives_back_no_more_than_was_paid(
    site: Site,
) -> None:
    booking, student, _ = captured(site, hours=10)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: persisting(lambda: ask(student, booking, amount=1000)), range(8)))
        made = [answer.json()["requestId"] for answer in answers if answer.status_code == 201]
        assert len(made) == PRICE // 1000
        for answer in answers:
            if answer.status_code != 201:
                refused(answer, 409, "refund_exceeds_captured")
        cancelling = pool.submit(
            lambda: persisting(
                lambda: student.post("/api/bookings/cancel", {"bookingId": booking["bookingId"]})
            )
        )
        decisions = list(pool.map(lambda each: persisting(lambda: decide(site, each)), made))
        assert cancelling.result().status_code == 200
    approved = [answer for answer in decisions if answer.status_code == 200]
    for answer in decisions:
        if answer.status_code != 200:
            refused(answer, 409, "refund_exceeds_captured")
    until(lambda: work_is_done(site))
    site.control.wait_idle()
    refunded = [
        each for each in student.get("/api/refunds").json()["requests"] if each["status"] == "refunded"
    ]
    assert len(refunded) == len(approved)
    given = sum(each["amount"] for each in refunds_at_stripe(site, booking))
    assert max(PRICE // 2, 1000 * len(approved)) <= given <= PRICE
    sound(site)


def test_when_stripe_is_down_an_approval_still_succeeds(site: Site) -> None:
    booking, student, _ = captured(site)
    request_id = asked(student, booking, amount=2000)
    site.control.fault("503", times=100, path="/v1/refunds")
    told = decide(site, request_id).json()
    assert (told["status"], told["paymentStatus"], told["mirror"]) == ("approved", "captured", "pending")
    refused(decide(site, request_id, "reject"), 409, "already_processed")
    assert decide(site, request_id).json()["commandId"] == told["commandId"]
    sound(site)


def test_a_decision_that_cannot_be_read_back_is_answered_as_decided(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    booking, student, _ = captured(site)
    request_id = asked(student, booking, amount=2000)
    one = Database.one

    def broken(db: Database, statement: str, params: object = None) -> Row | None:
        if "get_refund_request" in statement:
            raise psycopg.OperationalError("gone")
        return one(db, statement, params)  # type: ignore[arg-type]

    monkeypatch.setattr(Database, "one", broken)
    told = decide(site, request_id).json()
    assert (told["status"], told["mirror"]) == ("approved", "done")
    monkeypatch.undo()
    assert decide(site, request_id).json()["status"] == "refunded"
    sound(site)


def test_a_cancellation_gives_the_rest_and_a_late_request_comes_on_top(site: Site) -> None:
    booking, student, _ = captured(site, hours=10)
    before = asked(student, booking, amount=1000)
    assert decide(site, before).json()["status"] == "refunded"
    cancelled = student.post("/api/bookings/cancel", {"bookingId": booking["bookingId"]}).json()
    assert (cancelled["refundPercent"], cancelled["refundAmount"]) == (50, PRICE // 2 - 1000)
    afterwards = asked(student, booking)
    assert decide(site, afterwards).json()["paymentStatus"] == "refunded"
    assert sorted(each["amount"] for each in refunds_at_stripe(site, booking)) == [1000, 1500, PRICE // 2]
    sound(site)


def test_an_approval_behind_another_refund_is_pending_and_then_sent(site: Site) -> None:
    booking, student, _ = captured(site, hours=10)
    request_id = asked(student, booking, amount=PRICE // 2)
    site.control.fault("503", times=100, path="/v1/refunds")
    student.post("/api/bookings/cancel", {"bookingId": booking["bookingId"]})
    site.control.clear_faults()
    site.sql.execute("update booking.stripe_commands set run_at = now() where status = 'pending'")
    told = decide(site, request_id).json()
    assert (told["status"], told["paymentStatus"], told["mirror"]) == (
        "approved",
        "partially_refunded",
        "pending",
    )
    own = decide(site, request_id).json()
    assert own["commandId"] != told["commandId"]
    assert (own["status"], own["paymentStatus"]) == ("refunded", "refunded")
    sound(site)


def test_a_refund_that_fails_brings_the_request_back(site: Site) -> None:
    booking, student, _ = captured(site)
    request_id = asked(student, booking, amount=2000)
    first = decide(site, request_id).json()
    [refund] = refunds_at_stripe(site, booking)
    site.control.fail_refund(refund["id"])
    site.control.wait_idle()
    [own] = student.get("/api/refunds").json()["requests"]
    assert own["status"] == "pending"
    assert site.booking(booking)["payment_status"] == "captured"
    [alert] = site.sql.execute("select detail from booking.list_alerts() where kind = 'refund_failed'")
    assert alert["detail"]["request_id"] == request_id
    again = decide(site, request_id).json()
    assert (again["status"], again["paymentStatus"]) == ("refunded", "partially_refunded")
    assert again["commandId"] != first["commandId"]
    live = [each for each in refunds_at_stripe(site, booking) if each["status"] == "succeeded"]
    assert [each["amount"] for each in live] == [2000]
    sound(site)


def test_what_stripe_refuses_for_good_comes_back_to_the_administrator(site: Site) -> None:
    """Somebody has refunded everything in the dashboard, and we have not heard of it yet."""
    booking, student, _ = captured(site)
    request_id = asked(student, booking, amount=2000)
    site.control.hold()
    [book] = site.control.books()["payment_intents"]
    site.customer.v1.refunds.create({"payment_intent": book["id"]})
    told = decide(site, request_id).json()
    assert (told["status"], told["paymentStatus"], told["mirror"]) == ("pending", "captured", "done")
    [alert] = site.sql.execute(
        "select detail from booking.list_alerts() where kind = 'refund_request_returned'"
    )
    assert (alert["detail"]["cause"], alert["detail"]["amount"]) == ("refused", 2000)
    site.control.release()
    site.control.wait_idle()
    details = refused(decide(site, request_id), 409, "refund_exceeds_captured")
    assert details["refundable"] == 0
    assert decide(site, request_id, "reject").json()["status"] == "rejected"
    assert [refund["amount"] for refund in refunds_at_stripe(site, booking)] == [PRICE]
    assert site.sql.execute("select from booking.list_alerts()").fetchall() == []
    sound(site)


def test_the_audit_trail_names_people_and_requests(site: Site) -> None:
    booking, student, _ = captured(site)
    request_id = asked(student, booking, amount=2000, reason="secret words")
    decision = decide(site, request_id, note="secret note")
    rows = site.sql.execute(
        "select actor, action, request_id, detail::text as detail from booking.audit_log"
        " where subject = %s order by id",
        (request_id,),
    ).fetchall()
    assert [(row["actor"], row["action"]) for row in rows] == [
        (student.user, "refund_request.created"),
        ("admin-1", "refund_request.approved"),
        ("stripe", "refund_request.refunded"),
    ]
    assert rows[1]["request_id"] == decision.headers["X-Request-Id"]
    assert "secret" not in str(rows)
