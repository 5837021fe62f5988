"""Bad input: the right status, a clear code, nothing written, and the next good request works."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import requests

from tests.py.http.site import Person, Row, Site, refused

pytestmark = pytest.mark.pg18  # what is refused before the database is asked

CREATE = "/api/bookings/create"
INTENT = "/api/payment/create-intent"
CONFIRM = "/api/bookings/expert/confirm"
CANCEL = "/api/bookings/cancel"
ASK = "/api/refunds/request"
SOME_ID = "0190c2d2-7b1e-7000-8000-000000000000"
DECIDE = f"/api/admin/refunds/{SOME_ID}/decision"

GOOD: dict[str, tuple[str, Row]] = {
    CREATE: ("student", {"slotId": SOME_ID}),
    INTENT: ("student", {"bookingId": SOME_ID}),
    CONFIRM: ("expert", {"bookingId": SOME_ID, "action": "confirm"}),
    CANCEL: ("student", {"bookingId": SOME_ID}),
    ASK: ("student", {"bookingId": SOME_ID}),
    DECIDE: ("admin", {"decision": "approve"}),
}


@pytest.fixture
def site(lasting_site: Site) -> Site:
    """Nothing is left behind, so one site serves all."""
    return lasting_site


def caller(site: Site, path: str) -> Person:
    role: Any = GOOD[path][0]
    return site.person("somebody", role)


def works_afterwards(site: Site) -> None:
    assert site.book(site.new_student())["status"] == "pending"


@pytest.mark.parametrize(
    ("path", "changes", "field"),
    [
        (CREATE, {"slotId": None}, "slotId"),
        (CREATE, {"slotId": "no uuid"}, "slotId"),
        (CREATE, {"slotId": 7}, "slotId"),
        (CREATE, {"slotId": [SOME_ID]}, "slotId"),
        (CREATE, {"slotId": "{" + SOME_ID + "}"}, "slotId"),
        (CREATE, {"slotId": SOME_ID.replace("-", "")}, "slotId"),
        (CREATE, {"sessionId": "x" * 36}, "sessionId"),
        (CREATE, {"slot_id": SOME_ID}, "slot_id"),
        (CREATE, {"studentId": "somebody else"}, "studentId"),
        (INTENT, {"bookingId": ""}, "bookingId"),
        (INTENT, {"amount": "5000"}, "amount"),
        (INTENT, {"amount": 50.5}, "amount"),
        (INTENT, {"amount": True}, "amount"),
        (INTENT, {"amount": 0}, "amount"),
        (INTENT, {"amount": -5000}, "amount"),
        (INTENT, {"amount": 10**30}, "amount"),
        (INTENT, {"amount": 1e300}, "amount"),
        (INTENT, {"currency": "usd"}, "currency"),
        (CONFIRM, {"bookingId": {}}, "bookingId"),
        (CONFIRM, {"action": 1}, "action"),
        (CONFIRM, {"action": None}, "action"),
        (CONFIRM, {"action": "confirm\0"}, "action"),
        (CONFIRM, {"reason": "x" * 1001}, "reason"),
        (CONFIRM, {"reason": "a\0b"}, "reason"),
        (CONFIRM, {"expertId": "expert-1"}, "expertId"),
        (CANCEL, {"bookingId": "'; drop table booking.bookings; --"}, "bookingId"),
        (CANCEL, {"reason": 5}, "reason"),
        (CANCEL, {"reason": "x" * 1001}, "reason"),
        (CANCEL, {"reason": "a\0b"}, "reason"),
        (CANCEL, {"refundPercent": 100}, "refundPercent"),
        (ASK, {"bookingId": "x"}, "bookingId"),
        (ASK, {"amount": 0}, "amount"),
        (ASK, {"amount": -1}, "amount"),
        (ASK, {"amount": 1.5}, "amount"),
        (ASK, {"amount": "1"}, "amount"),
        (ASK, {"reason": "x" * 1001}, "reason"),
        (ASK, {"reason": "a\0b"}, "reason"),
        (ASK, {"studentId": "somebody else"}, "studentId"),
        (DECIDE, {"decision": None}, "decision"),
        (DECIDE, {"decision": "approve\0"}, "decision"),
        (DECIDE, {"note": 7}, "note"),
        (DECIDE, {"note": "x" * 1001}, "note"),
        (DECIDE, {"amount": 5}, "amount"),
    ],
)
def test_a_wrong_field_is_named(site: Site, path: str, changes: Row, field: str) -> None:
    with site.unchanged():
        response = caller(site, path).post(path, GOOD[path][1] | changes)
        details = refused(response, 400, "invalid_request")
    assert details["field"] == field
    assert field in {fault["field"] for fault in details["fields"]}
    assert response.json()["error"]["message"].startswith(field)
    works_afterwards(site)


@pytest.mark.parametrize("path", GOOD)
def test_a_missing_field_is_named(site: Site, path: str) -> None:
    with site.unchanged():
        details = refused(caller(site, path).post(path, {}), 400, "invalid_request")
    assert details["field"] == next(iter(GOOD[path][1]))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b"[" * 30_000, "invalid_json"),
        (b'{"slotId": ' + b"9" * 5_000 + b"}", "invalid_json"),
        (b'{"slotId": NaN}', "invalid_json"),
        (b'{"slotId": "a", "slotId": "b"}', "invalid_json"),
        (b"null", "invalid_request"),
        (b"[]", "invalid_request"),
        (b'"{}"', "invalid_request"),
        (b"7", "invalid_request"),
    ],
)
@pytest.mark.parametrize("path", GOOD)
def test_a_body_that_is_no_json_object_is_400(site: Site, path: str, body: bytes, code: str) -> None:
    with site.unchanged():
        response = post_raw(caller(site, path), path, body)
        refused(response, 400, code)


def post_raw(person: Person, path: str, body: bytes, kind: str = "application/json") -> requests.Response:
    headers = {"Authorization": person.authorization, "Content-Type": kind}
    return requests.post(person.base + path, data=body, headers=headers, timeout=120)


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_another_content_type_is_415(site: Site, path: str, kind: str) -> None:
    with site.unchanged():
        response = post_raw(caller(site, path), path, b'{"slotId": "' + SOME_ID.encode() + b'"}', kind)
        refused(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("path", GOOD)
def test_a_body_beyond_64_kib_is_413(site: Site, path: str) -> None:
    with site.unchanged():
        response = caller(site, path).post(path, GOOD[path][1] | {"reason": "x" * 65_536})
        refused(response, 413, "payload_too_large")
    works_afterwards(site)


def test_half_a_surrogate_pair_is_400(site: Site) -> None:
    body = b'{"bookingId": "' + SOME_ID.encode() + b'", "reason": "\\ud800"}'
    with site.unchanged():
        refused(post_raw(site.new_student(), CANCEL, body), 400, "invalid_request")


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\xe9"])
def test_an_idempotency_key_is_1_to_255_printable_characters(site: Site, key: str) -> None:
    offer = site.offer()
    with site.unchanged():
        response = site.new_student().post(
            CREATE, {"slotId": str(offer.slot)}, headers={"Idempotency-Key": key}
        )
        assert refused(response, 400, "invalid_request")["field"] == "Idempotency-Key"


def test_an_unknown_action_is_the_databases_refusal(site: Site) -> None:
    booking, expert = site.book(site.new_student()), site.person("expert-x", "expert")
    with site.unchanged():
        response = expert.post(CONFIRM, {"bookingId": booking["bookingId"], "action": "maybe"})
        assert refused(response, 400, "invalid_action") == {"field": "action", "action": "maybe"}


def test_unknown_ids_are_404(site: Site) -> None:
    student, expert, unknown = site.new_student(), site.person("e", "expert"), str(uuid.uuid4())
    offer = site.offer()
    with site.unchanged():
        assert refused(student.post(CREATE, {"slotId": unknown}), 404, "slot_not_found") == {
            "slotId": unknown
        }
        send = {"slotId": str(offer.slot), "sessionId": unknown}
        refused(student.post(CREATE, send), 404, "session_not_found")
        refused(student.post(INTENT, {"bookingId": unknown}), 404, "booking_not_found")
        refused(expert.post(CONFIRM, {"bookingId": unknown, "action": "confirm"}), 404, "booking_not_found")
        refused(student.post(CANCEL, {"bookingId": unknown}), 404, "booking_not_found")
        refused(student.get(f"/api/bookings/{unknown}/cancellation-quote"), 404, "booking_not_found")


def test_somebody_elses_booking_is_403(site: Site) -> None:
    booking = {"bookingId": site.book(site.new_student())["bookingId"]}
    stranger, other_expert = site.new_student(), site.person("expert-stranger", "expert")
    with site.unchanged():
        refused(stranger.post(INTENT, booking), 403, "not_your_booking")
        refused(other_expert.post(CONFIRM, booking | {"action": "confirm"}), 403, "not_your_booking")
        refused(stranger.post(CANCEL, booking), 403, "not_your_booking")
        refused(stranger.get(f"/api/bookings/{booking['bookingId']}"), 403, "not_your_booking")


def test_a_past_slot_cannot_be_booked(site: Site) -> None:
    offer = site.offer(hours=-2)
    with site.unchanged():
        details = refused(
            site.new_student().post(CREATE, {"slotId": str(offer.slot)}), 409, "slot_unavailable"
        )
    assert details["reason"] == "started"


def test_a_booking_that_nobody_paid_cannot_be_confirmed(site: Site) -> None:
    offer = site.offer()
    booking = site.book(site.new_student(), offer)
    with site.unchanged():
        response = site.person(offer.expert, "expert").post(
            CONFIRM, {"bookingId": booking["bookingId"], "action": "confirm"}
        )
        assert refused(response, 409, "payment_not_authorized")["paymentStatus"] == "pending"


def test_what_was_decided_cannot_be_decided_again(site: Site) -> None:
    student = site.new_student()
    booking = {"bookingId": site.book(student)["bookingId"]}
    assert student.post(CANCEL, booking).status_code == 200
    with site.unchanged():
        assert refused(student.post(CANCEL, booking), 409, "already_processed")["status"] == "cancelled"
        refused(
            student.get(f"/api/bookings/{booking['bookingId']}/cancellation-quote"), 409, "already_processed"
        )


WRONG_ROLES: list[tuple[str, Any]] = [
    (CREATE, "expert"), (CREATE, "admin"), (INTENT, "expert"), (INTENT, "admin"),
    (CONFIRM, "student"), (CONFIRM, "admin"), (CANCEL, "admin"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "role"), WRONG_ROLES)
def test_a_wrong_role_is_403_whatever_the_body(site: Site, path: str, role: Any) -> None:
    person = site.person("somebody", role)
    with site.unchanged():
        refused(person.post(path, GOOD[path][1]), 403, "forbidden")
        refused(post_raw(person, path, b"{"), 403, "forbidden")


def test_only_an_administrator_sees_the_figures(site: Site) -> None:
    roles: tuple[Any, ...] = ("student", "expert")
    for role in roles:
        refused(site.person("x", role).get("/api/admin/stats"), 403, "forbidden")


PERIOD = {"from": "2026-12-01T00:00:00Z", "to": "2026-12-02T00:00:00Z"}
READS: list[tuple[str, dict[str, str], str]] = [
    ("/api/bookings/7", {}, "id"),
    ("/api/bookings/urn:uuid:" + SOME_ID, {}, "id"),
    ("/api/bookings/x/cancellation-quote", {}, "id"),
    ("/api/bookings", {"status": "paid"}, "status"),
    ("/api/bookings", {"limit": "0"}, "limit"),
    ("/api/bookings", {"limit": "201"}, "limit"),
    ("/api/bookings", {"limit": "9" * 30}, "limit"),
    ("/api/bookings", {"limit": "1_0"}, "limit"),
    ("/api/bookings", {"limit": "\u0665"}, "limit"),
    ("/api/bookings", {"after": "yesterday"}, "after"),
    ("/api/bookings", {"userId": "somebody else"}, "userId"),
    ("/api/slots", {}, "from"),
    ("/api/slots", PERIOD | {"from": "2026-12-01"}, "from"),
    ("/api/slots", PERIOD | {"from": "2026-12-01T00:00:00"}, "from"),
    ("/api/slots", PERIOD | {"from": "1700000000"}, "from"),
    ("/api/slots", PERIOD | {"to": "2026-13-02T00:00:00Z"}, "to"),
    ("/api/slots", PERIOD | {"to": "2026-11-01T00:00:00Z"}, "to"),
    ("/api/slots", PERIOD | {"expertId": ""}, "expertId"),
    ("/api/slots", PERIOD | {"expertId": "\0"}, "expertId"),
    ("/api/slots", PERIOD | {"limit": "501"}, "limit"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "query", "field"), READS)
def test_a_wrong_parameter_of_a_read_is_named(
    site: Site, path: str, query: dict[str, str], field: str
) -> None:
    response = site.new_student().get(path, params=query)
    assert refused(response, 400, "invalid_request")["field"] == field


def test_a_page_after_an_unknown_slot_is_404(site: Site) -> None:
    refused(site.new_student().get("/api/slots", params=PERIOD | {"after": SOME_ID}), 404, "slot_not_found")


def test_what_was_sent_is_never_repeated(site: Site) -> None:
    response = site.new_student().post(CREATE, {"slotId": "4242424242424242", "x" * 500: 1})
    refused(response, 400, "invalid_request")
    assert "4242" not in response.text
    assert "x" * 101 not in response.text


def test_an_unknown_address_is_404_and_a_wrong_method_405(site: Site) -> None:
    student = site.new_student()
    refused(student.get("/api/nothing"), 404, "not_found")
    refused(student.get("/"), 404, "not_found")
    response = student.get(CANCEL + "/x/y")
    refused(response, 404, "not_found")
    response = requests.delete(site.base + CANCEL, timeout=120)
    refused(response, 405, "method_not_allowed")
    for path in (CREATE, CANCEL):
        response = student.get(path)
        refused(response, 405, "method_not_allowed")
        assert set(response.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


def test_a_doubled_slash_leads_to_the_address(site: Site) -> None:
    response = requests.get(site.base + "/api//bookings", timeout=120, allow_redirects=False)
    assert response.status_code == 308
    assert response.headers["Location"].endswith("/api/bookings")
    assert response.headers["X-Request-Id"]


def test_a_server_fault_is_500_without_its_text(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Row:
        raise RuntimeError("secret internals")

    monkeypatch.setattr("glue.db.Database.one", broken)
    response = site.new_student().get(f"/api/bookings/{SOME_ID}")
    refused(response, 500, "internal_error")
    assert "secret internals" not in response.text


def test_a_function_that_gives_no_row_is_500(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glue.db.Database.one", lambda *_: None)
    refused(site.new_student().get(f"/api/bookings/{SOME_ID}"), 500, "internal_error")
