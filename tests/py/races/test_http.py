"""The same races over HTTP, against the server as it runs in production."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
import requests
from psycopg.rows import dict_row
from pytest_postgresql.executors import NoopExecutor

from glue.sandbox.process import SandboxProcess
from tests.conftest import _clone, _url_of
from tests.py.http.site import PRICE, WEBHOOK_SECRET, WEBHOOKS, Person, Site, as_server, base_env, until
from tests.py.http.test_serve import at, granian
from tests.py.races.helpers import Row

AT_ONCE = 64
"""Requests that the server has in hand at once: so many threads, and a connection for each."""


@pytest.fixture(scope="module")
def site(booking_template: NoopExecutor, sandbox: SandboxProcess) -> Iterator[Site]:
    """One server under granian for all tests; each has slots and bookings of its own."""
    sandbox.control.reset()
    with _clone(booking_template) as janitor, Site(_url_of(janitor), sandbox).open() as opened:
        env = base_env(as_server(opened.db_url), sandbox.url) | {
            "DATABASE_POOL_SIZE": str(AT_ONCE),
            "MAX_CONCURRENT_PAYMENTS": str(AT_ONCE),
            "LOG_LEVEL": "ERROR",  # nobody reads its output: a full pipe would stop the server
        }
        with granian(env, threads=AT_ONCE) as (base, _), at(opened, base):
            yield opened


@contextmanager
def held(site: Site, *queries: str, **params: Any) -> Iterator[Callable[[int], None]]:
    """Rows are locked inside; `wait(n)` until n requests wait for them, and then they are let go."""
    with psycopg.connect(site.db_url, row_factory=dict_row) as gate:
        for query in queries:
            gate.execute(query, params)

        def wait(count: int) -> None:
            waiting = (
                "select count(*) as n from pg_stat_activity where datname = current_database()"
                " and wait_event_type = 'Lock'"
            )
            until(lambda: _one(site, waiting)["n"] == count)

        yield wait
        gate.rollback()


def _one(site: Site, query: Any, **params: Any) -> Row:
    row = site.sql.execute(query, params).fetchone()
    assert row is not None
    return row


LOCK_SEAT = "select from booking.slot_seats where slot_id = %(slot)s for no key update"
LOCK_BOOKING = "select from booking.bookings where id = %(booking)s for no key update"


def codes(running: list[Future[requests.Response]]) -> Counter[tuple[int, str]]:
    answers = [each.result(timeout=120) for each in running]
    return Counter(
        (each.status_code, each.json()["error"]["code"] if each.status_code >= 400 else "ok")
        for each in answers
    )


def assert_sound(site: Site) -> None:
    assert site.sql.execute("select * from booking.check_invariants()").fetchall() == []


@pytest.mark.parametrize("students", [10, AT_ONCE])
def test_one_of_many_students_gets_the_slot_and_the_others_409(site: Site, students: int) -> None:
    offer = site.offer()
    people = [site.new_student() for _ in range(students)]
    with ThreadPoolExecutor(students) as pool:
        with held(site, LOCK_SEAT, slot=offer.slot) as wait:
            running = [
                pool.submit(
                    each.post,
                    "/api/bookings/create",
                    {"slotId": str(offer.slot)},
                    headers={"Idempotency-Key": f"key-of-{each.user}"},
                )
                for each in people
            ]
            wait(students)
        assert codes(running) == {(201, "ok"): 1, (409, "slot_unavailable"): students - 1}
    found = _one(
        site,
        "select (select count(*) from booking.bookings where slot_id = %(slot)s) as bookings,"
        " (select sum(taken) from booking.slot_seats where slot_id = %(slot)s) as seats,"
        " (select count(*) from booking.client_idempotency where user_id = any(%(people)s)) as keys",
        slot=offer.slot,
        people=[each.user for each in people],
    )
    assert found == {"bookings": 1, "seats": 1, "keys": 1}
    assert_sound(site)


def test_two_create_intents_at_once_make_one_payment_intent(site: Site) -> None:
    """The first is held up inside Stripe; Stripe tells the second so until the first is through."""
    student = site.new_student()
    booking = site.book(student)
    ours = {"idempotency_key": _payment_id(site, booking)}
    site.control.barrier("creating", path="/v1/payment_intents", method="POST")
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(site.intent, student, booking)
        site.control.wait_barrier("creating")
        other = pool.submit(site.intent, student, booking)
        until(lambda: any(call["status"] == 409 for call in site.control.requests(**ours)))
        site.control.release_barrier("creating")
        assert one.result() == other.result()
    made = [
        each["id"]
        for each in site.control.books()["payment_intents"]
        if each["metadata"]["booking_id"] == booking["bookingId"]
    ]
    assert made == [one.result()["paymentIntentId"]]
    assert_sound(site)


def _payment_id(site: Site, booking: Row) -> str:
    return str(
        _one(site, "select payment_id from booking.bookings where id = %(b)s", b=booking["bookingId"])[
            "payment_id"
        ]
    )


def test_the_same_event_20_times_at_once_is_answered_2xx_and_has_one_effect(site: Site) -> None:
    student = site.new_student()
    booking = site.book(student)
    intent = site.intent(student, booking)
    site.control.set_webhook(None)
    site.customer.v1.payment_intents.confirm(intent["paymentIntentId"], {"payment_method": "pm_card_visa"})
    (event,) = site.control.events(
        type="payment_intent.amount_capturable_updated", object=intent["paymentIntentId"]
    )
    with ThreadPoolExecutor(20) as pool:
        with held(site, LOCK_BOOKING, booking=booking["bookingId"]) as wait:
            running = [pool.submit(site.deliver, event) for _ in range(20)]
            wait(20)
        answers = [each.result(timeout=120) for each in running]
    assert {each.status_code for each in answers} == {200}
    assert Counter(each.json()["result"] for each in answers) == {"processed": 1, "duplicate": 19}
    assert site.booking(booking)["payment_status"] == "authorized"
    assert_sound(site)


@pytest.mark.parametrize("action", ["confirm", "decline"])
def test_the_expert_decides_while_the_student_cancels(site: Site, action: str) -> None:
    student, offer = site.new_student(), site.offer()
    booking, intent = site.authorized(student, offer)
    expert = site.person(offer.expert, "expert")
    id_ = booking["bookingId"]
    with ThreadPoolExecutor(2) as pool:
        with held(site, LOCK_SEAT, LOCK_BOOKING, slot=offer.slot, booking=id_) as wait:
            deciding = pool.submit(
                expert.post, "/api/bookings/expert/confirm", {"bookingId": id_, "action": action}
            )
            cancelling = pool.submit(student.post, "/api/bookings/cancel", {"bookingId": id_})
            wait(2)
        told = codes([deciding]), codes([cancelling])
    site.control.wait_idle()
    ended = site.booking(booking)
    ok, late = Counter([(200, "ok")]), Counter([(409, "already_processed")])
    if action == "decline":
        assert told in [(ok, late), (late, ok)]
        assert ended["status"] == ("declined" if told[0] == ok else "cancelled")
    else:
        assert told in [(ok, ok), (late, ok)]  # who is confirmed may still cancel
        assert ended["status"] == "cancelled"
    drain(site)
    (theirs,) = [
        each for each in site.control.books()["payment_intents"] if each["id"] == intent["paymentIntentId"]
    ]
    ended = site.booking(booking)
    assert (ended["amount_captured"], ended["amount_refunded"]) == (theirs["captured"], theirs["refunded"])
    assert theirs["amount_capturable"] == 0
    assert theirs["captured"] == theirs["refunded"]
    assert_sound(site)


def test_of_200_students_30_get_into_a_class_of_30_and_nobody_else_is_charged(site: Site) -> None:
    """Every student holds, pays and confirms as a page does; Stripe's events come in at the same time."""
    offer = site.offer(capacity=30, confirmation="instant")
    people = [site.new_student() for _ in range(200)]
    before = {each["id"] for each in site.control.books()["payment_intents"]}
    site.control.set_webhook(site.base + WEBHOOKS, WEBHOOK_SECRET)

    def page(student: Person) -> tuple[int, str]:
        held = student.post("/api/payments/create-intent", {"classId": str(offer.slot), "amount": PRICE})
        if held.status_code != 200:
            return held.status_code, held.json()["error"]["code"]
        intent = held.json()["paymentIntentId"]
        site.customer.v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})
        body = {"classId": str(offer.slot), "paymentIntentId": intent}
        answers = [student.post("/api/bookings/confirm", body).json() for _ in range(2)]
        assert {each["bookingId"] for each in answers} == {held.json()["bookingId"]}
        return 200, answers[0]["status"]

    with ThreadPoolExecutor(len(people)) as pool:
        told = Counter(pool.map(page, people))
    assert told == {(200, "confirmed"): 30, (409, "capacity_full"): 170}
    settle_events(site)
    charged = [each for each in site.control.books()["payment_intents"] if each["id"] not in before]
    assert [(each["captured"], each["refunded"]) for each in charged] == [(PRICE, 0)] * 30
    seated = site.sql.execute(
        "select b.student_id from booking.bookings b join booking.payments p on p.booking_id = b.id"
        " where b.slot_id = %s and b.status = 'confirmed' and p.amount_captured = %s",
        (offer.slot, PRICE),
    ).fetchall()
    assert {each["student_id"] for each in seated} == {each["metadata"]["user_id"] for each in charged}
    assert len(seated) == 30
    assert_sound(site)


def settle_events(site: Site) -> None:
    """Every event has arrived: what the server was too busy for is sent again at once, not after hours."""
    for _ in range(20):
        with suppress(TimeoutError):
            site.control.wait_idle(20, retries=False)
            if site.control.retry_now() == 0:
                return
    raise AssertionError("the events never end")


def drain(site: Site) -> None:
    """What no request carried out, the worker does; then the events arrive."""
    while claims := site.mirror.claim_due(limit=10, min_age=0):
        for claim in claims:
            site.mirror.run_claimed(claim)
    site.control.wait_idle()
