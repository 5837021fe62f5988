"""Buying a product: one key, one order, one Checkout Session, over real HTTP with the sandbox."""

from __future__ import annotations

import itertools
import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests

from glue.sandbox.process import SandboxProcess
from tests.py.http.site import (
    WEBHOOK_SECRET,
    WEBHOOKS,
    Person,
    Row,
    Site,
    as_server,
    base_env,
    refused,
)
from tests.py.http.test_serve import granian

CREATE = "/api/checkout/create-session"
SESSIONS = "/v1/checkout/sessions"
PRICE = 1900
_numbers = itertools.count(1)


def product(site: Site, name: str = "course", amount: int = PRICE) -> str:
    return str(
        site.db.scalar(
            "select * from booking.create_product(p_product_id => %(id)s, p_name => 'A course',"
            " p_amount => %(amount)s, p_currency => 'eur')",
            {"id": name, "amount": amount},
        )
    )


def buy(person: Person, key: str = "key-1", product_id: str = "course") -> requests.Response:
    return person.post(CREATE, {"productId": product_id, "idempotencyKey": key})


def bought(response: requests.Response) -> Row:
    """Asserts success in its envelope; the data."""
    assert response.status_code == 200, response.text
    body = response.json()
    assert set(body) == {"status_code", "message", "request_id", "data"}
    assert body["status_code"] == 200
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert set(body["data"]) == {"order_id", "session_id", "checkout_url"}
    return dict(body["data"])


def turned_away(response: requests.Response, key: str = "key-1") -> None:
    """Asserts the conflict, word for word."""
    assert response.status_code == 409, response.text
    message = "Payment is already in progress. Please wait."
    assert response.json() == {
        "status_code": 409,
        "message": message,
        "request_id": response.headers["X-Request-Id"],
        "data": {"idempotency_key": key, "retry_after": 5},
        "error": {
            "code": "payment_in_progress",
            "message": message,
            "details": {"idempotencyKey": key, "retryAfter": 5},
        },
    }
    assert response.headers["Retry-After"] == "5"


def order(site: Site, data: Row) -> Row:
    row = site.sql.execute(
        "select o.*, o.status::text as status from booking.orders o where o.id = %s", (data["order_id"],)
    ).fetchone()
    assert row is not None
    return row


def orders(site: Site) -> list[Row]:
    return site.sql.execute("select o.* from booking.orders o order by o.created_at, o.id").fetchall()


def sessions(site: Site) -> list[Any]:
    return list(site.customer.v1.checkout.sessions.list().data)


def alerts(site: Site) -> list[str]:
    return [row["kind"] for row in site.sql.execute("select kind from booking.list_alerts()")]


def let_pass(site: Site, seconds: int) -> None:
    """The database's clock goes ahead."""
    site.sql.execute(
        "create or replace function booking.clock() returns timestamptz language sql volatile parallel safe"
        f" as $$ select pg_catalog.clock_timestamp() + interval '{seconds} seconds' $$"
    )


def listen(site: Site) -> None:
    site.control.set_webhook(site.base + WEBHOOKS, WEBHOOK_SECRET)


def pay(site: Site, data: Row) -> None:
    """The customer pays on Stripe's page, and the events arrive."""
    listen(site)
    site.control.pay_session(data["session_id"])
    site.control.wait_idle()


def run_outbox(site: Site) -> None:
    for claim in site.mirror.claim_due(limit=10, min_age=0):
        site.mirror.run_claimed(claim)


@contextmanager
def held_at_stripe(site: Site, person: Person, key: str = "key-1") -> Iterator[Future[requests.Response]]:
    """A purchase whose request to Stripe is under way."""
    site.control.barrier("stripe", when="before", path=SESSIONS, method="POST")
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(1))
        stack.callback(site.control.release_barrier, "stripe")
        answer = pool.submit(buy, person, key)
        site.control.wait_barrier("stripe")
        yield answer


def test_of_three_at_once_one_is_served_and_two_shall_wait(site: Site) -> None:
    product(site)
    person = site.new_student()
    with held_at_stripe(site, person) as first:
        with ThreadPoolExecutor(2) as pool:
            for other in [pool.submit(buy, person), pool.submit(buy, person)]:
                turned_away(other.result())
        site.control.release_barrier("stripe")
        data = bought(first.result())
    assert [session.id for session in sessions(site)] == [data["session_id"]]
    assert [str(each["id"]) for each in orders(site)] == [data["order_id"]]
    assert bought(buy(person)) == data
    stats = site.sql.execute("select * from booking.get_checkout_stats()").fetchone()
    assert stats is not None
    assert (stats["locks_taken"], stats["locks_refused"], stats["keys_repeated"]) == (1, 2, 1)


def test_what_stripe_is_asked_for(site: Site) -> None:
    product(site)
    person = site.new_student()
    data = bought(buy(person))
    [session] = sessions(site)
    assert (session.id, session.url) == (data["session_id"], data["checkout_url"])
    assert (session.amount_total, session.currency) == (PRICE, "eur")
    assert session.metadata.to_dict() == {"order_id": data["order_id"]}
    assert session.success_url == site.base + "/"
    [call] = site.control.requests(method="POST", path=SESSIONS)
    assert call["idempotency_key"] == data["order_id"]
    # neither who buys nor the key that he chose
    assert person.user not in json.dumps(site.control.requests())
    pay(site, data)
    [intent] = site.control.books()["payment_intents"]
    assert intent["metadata"] == {"order_id": data["order_id"]}


def test_the_addresses_after_paying_are_settings(db_url: str, sandbox: SandboxProcess) -> None:
    with Site(
        db_url,
        sandbox,
        checkout_success_url="https://shop.example/thanks?session={CHECKOUT_SESSION_ID}",
        checkout_cancel_url="https://shop.example/cart",
    ).open() as site:
        product(site)
        bought(buy(site.new_student()))
        [session] = sessions(site)
        assert session.success_url == "https://shop.example/thanks?session={CHECKOUT_SESSION_ID}"
        assert session.cancel_url == "https://shop.example/cart"


def test_another_key_for_the_same_purchase_shall_wait(site: Site) -> None:
    product(site)
    product(site, "book")
    person, other = site.new_student(), site.new_student()
    with held_at_stripe(site, person) as first:
        turned_away(buy(person, "key-2"), "key-2")
        bought(buy(other, "key-1"))
        bought(buy(person, "key-3", "book"))
        site.control.release_barrier("stripe")
        bought(first.result())


def test_a_key_with_another_body_is_refused(site: Site) -> None:
    product(site)
    product(site, "book")
    person = site.new_student()
    bought(buy(person))
    for other in ("book", "nothing that is sold"):
        with site.unchanged():
            response = buy(person, product_id=other)
        assert response.status_code == 409
        message = "This key was used for another product: use a new key for a new purchase."
        assert response.json() == {
            "status_code": 409,
            "message": message,
            "request_id": response.headers["X-Request-Id"],
            "data": {"idempotency_key": "key-1", "retry_after": None},
            "error": {
                "code": "idempotency_key_reused",
                "message": message,
                "details": {"idempotencyKey": "key-1"},
            },
        }
        assert "Retry-After" not in response.headers


def test_a_product_that_does_not_exist(site: Site) -> None:
    with site.unchanged():
        assert refused(buy(site.new_student()), 404, "product_not_found") == {"productId": "course"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"productId": "course"}, "idempotencyKey"),
        ({"idempotencyKey": "k"}, "productId"),
        ({"productId": "", "idempotencyKey": "k"}, "productId"),
        ({"productId": "x" * 256, "idempotencyKey": "k"}, "productId"),
        ({"productId": "a\nb", "idempotencyKey": "k"}, "productId"),
        ({"productId": 7, "idempotencyKey": "k"}, "productId"),
        ({"productId": "course", "idempotencyKey": "a b"}, "idempotencyKey"),
        ({"productId": "course", "idempotencyKey": "a\nb"}, "idempotencyKey"),
        ({"productId": "course", "idempotencyKey": "k" * 256}, "idempotencyKey"),
        ({"productId": "course", "idempotencyKey": "k", "amount": 1}, "amount"),
    ],
)
def test_a_body_that_is_not_right(lasting_site: Site, body: Row, field: str) -> None:
    with lasting_site.unchanged():
        assert (
            refused(lasting_site.new_student().post(CREATE, body), 400, "invalid_request")["field"] == field
        )


def test_everybody_with_a_token_may_buy_and_nobody_else(site: Site) -> None:
    product(site)
    refused(buy(site.nobody()), 401, "missing_token")
    for role in ("student", "expert", "admin"):
        bought(buy(site.person(f"somebody-{role}", role)))


def test_it_is_limited_like_every_payment(db_url: str, sandbox: SandboxProcess) -> None:
    with Site(db_url, sandbox, rate_limit_max_requests=20).open() as site:
        product(site)
        person = site.new_student()
        for _ in range(2):
            bought(buy(person))
        refused(buy(person), 429, "rate_limited")


# what Stripe says of it


def test_a_session_that_is_paid_pays_the_order(site: Site) -> None:
    product(site)
    data = bought(buy(site.new_student()))
    pay(site, data)
    row = order(site, data)
    assert row["status"] == "paid"
    [intent] = site.control.books()["payment_intents"]
    assert row["stripe_payment_intent_id"] == intent["id"]
    [event] = site.control.events(type="checkout.session.completed")
    site.control.redeliver(event["id"], copies=3)
    site.control.wait_idle()
    assert order(site, data) == row
    assert alerts(site) == []


def test_a_session_that_runs_out_ends_the_order(site: Site) -> None:
    product(site)
    data = bought(buy(site.new_student()))
    listen(site)
    site.control.advance(hours=25)
    site.control.wait_idle()
    assert order(site, data)["status"] == "expired"


@pytest.mark.parametrize("seed", range(3))
def test_events_in_any_order_come_to_the_same(site: Site, seed: int) -> None:
    product(site)
    data = bought(buy(site.new_student()))
    listen(site)
    site.control.hold()
    site.control.pay_session(data["session_id"])
    site.control.release(shuffle_seed=seed)
    site.control.wait_idle()
    assert order(site, data)["status"] == "paid"


@pytest.mark.parametrize("change", [{"amount_total": PRICE - 1}, {"currency": "usd"}])
def test_another_amount_is_told_to_a_person(site: Site, change: Row) -> None:
    product(site)
    data = bought(buy(site.new_student()))
    site.control.pay_session(data["session_id"])
    [event] = site.control.events(type="checkout.session.completed")
    event["data"]["object"].update(change)
    event["created"] = int(time.time())
    assert site.deliver(event).json()["result"] == "processed"
    assert order(site, data)["status"] == "pending"
    assert alerts(site) == ["order_amount_mismatch"]


# a newer order


def test_a_newer_order_ends_the_session_of_the_older(site: Site) -> None:
    product(site)
    person = site.new_student()
    old, new = bought(buy(person, "key-1")), bought(buy(person, "key-2"))
    assert old["order_id"] != new["order_id"]
    run_outbox(site)
    assert {session.id: session.status for session in sessions(site)} == {
        old["session_id"]: "expired",
        new["session_id"]: "open",
    }
    assert order(site, old)["status"] == "expired"
    pay(site, new)
    assert order(site, new)["status"] == "paid"
    assert alerts(site) == []
    assert site.sql.execute("select * from booking.check_invariants()").fetchall() == []


def test_an_older_order_that_was_paid_before_its_end_counts(site: Site) -> None:
    product(site)
    person = site.new_student()
    old, new = bought(buy(person, "key-1")), bought(buy(person, "key-2"))
    site.control.pay_session(old["session_id"])  # nobody has heard of it yet
    run_outbox(site)
    assert order(site, old)["status"] == "paid"
    [done] = site.sql.execute(
        "select c.status::text, c.outcome::text from booking.stripe_commands c where c.order_id = %s",
        (old["order_id"],),
    ).fetchall()
    assert done == {"status": "done", "outcome": "refused"}
    run_outbox(site)  # the newer one shall not be paid as well
    assert order(site, new)["status"] == "expired"
    assert alerts(site) == []
    assert site.sql.execute("select * from booking.check_invariants()").fetchall() == []


def test_two_orders_that_are_both_paid_are_told_to_a_person(site: Site) -> None:
    product(site)
    person = site.new_student()
    old, new = bought(buy(person, "key-1")), bought(buy(person, "key-2"))
    pay(site, old)
    pay(site, new)
    assert [order(site, each)["status"] for each in (old, new)] == ["paid", "paid"]
    assert alerts(site) == ["order_paid_twice"]


def test_a_request_that_was_overtaken_gives_no_address_out(site: Site) -> None:
    """Stripe took longer than the lock lived, and the customer began anew."""
    product(site)
    person = site.new_student()
    with held_at_stripe(site, person) as slow:
        let_pass(site, 10)
        new = bought(buy(person, "key-2"))
        site.control.release_barrier("stripe")
        turned_away(slow.result())
    run_outbox(site)
    assert {session.id: session.status for session in sessions(site)}[new["session_id"]] == "open"
    assert sorted(session.status for session in sessions(site)) == ["expired", "open"]


# when something breaks


def test_an_outcome_that_nobody_knows_goes_on_with_the_same_key(site: Site) -> None:
    product(site)
    person = site.new_student()
    site.control.fault("apply_then_drop", times=3, path=SESSIONS, method="POST")
    refused(buy(person), 503, "stripe_unavailable")
    [row] = orders(site)
    assert (row["status"], row["last_error"]) == ("pending", "unknown: api_connection_error")
    data = bought(buy(person))
    assert data["order_id"] == str(row["id"])
    assert [session.id for session in sessions(site)] == [data["session_id"]]


def test_after_a_refusal_for_good_the_key_is_used_anew(site: Site) -> None:
    product(site)
    person = site.new_student()
    error = {"type": "invalid_request_error", "code": "amount_too_small", "message": "too small"}
    site.control.fault("error", status=400, error=error, path=SESSIONS, method="POST")
    refused(buy(person), 502, "stripe_refused")
    [row] = orders(site)
    assert (row["status"], row["last_error"]) == ("failed", "refused: amount_too_small")
    assert bought(buy(person))["order_id"] != str(row["id"])


def test_a_refused_key_is_told_to_a_person(site: Site) -> None:
    product(site)
    site.control.set_keys("sk_test_rotated")
    refused(buy(site.new_student()), 503, "stripe_unavailable")
    assert alerts(site) == ["stripe_credentials"]
    assert [row["status"] for row in orders(site)] == ["pending"]


def test_nobody_is_told_of_a_session_that_is_not_recorded(site: Site) -> None:
    product(site)
    person = site.new_student()
    site.sql.execute("revoke execute on function booking.finish_checkout from booking_app")
    refused(buy(person), 500, "internal_error")
    site.sql.execute("grant execute on function booking.finish_checkout to booking_app")
    turned_away(buy(person))
    let_pass(site, 10)
    data = bought(buy(person))
    assert [session.id for session in sessions(site)] == [data["session_id"]]


def test_a_killed_server_blocks_nobody_for_longer_than_the_lock(db_url: str, sandbox: SandboxProcess) -> None:
    thanks = "https://shop.example/thanks"
    env = base_env(as_server(db_url), sandbox.url) | {"CHECKOUT_SUCCESS_URL": thanks}
    with Site(db_url, sandbox, checkout_success_url=thanks).open() as site:
        product(site)
        person = site.new_student()
        with granian(env) as (base, process):
            site.control.barrier("killed", when="after", path=SESSIONS, method="POST")
            with ThreadPoolExecutor(1) as pool:
                lost = pool.submit(buy, Person(base, person.user, person.authorization))
                site.control.wait_barrier("killed")
                for pid in (process.pid, *process_children(process.pid)):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                with pytest.raises(requests.ConnectionError):
                    lost.result()
        site.control.release_barrier("killed")
        turned_away(buy(person))
        turned_away(buy(person, "key-2"), "key-2")
        let_pass(site, 10)
        data = bought(buy(person))
        assert [str(row["id"]) for row in orders(site)] == [data["order_id"]]
        assert [session.id for session in sessions(site)] == [data["session_id"]]
        stats = site.sql.execute("select * from booking.get_checkout_stats()").fetchone()
        assert stats is not None
        assert (stats["locks_lapsed"], stats["locks_released"]) == (1, 1)


def process_children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# what is written down


def test_the_log_names_the_purchase(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    product(site)
    person = site.new_student()
    caplog.set_level(logging.INFO, logger="glue.routes.checkout")
    with held_at_stripe(site, person) as first:
        turned_away(buy(person))
        site.control.release_barrier("stripe")
        data = bought(first.result())
    records = [record for record in caplog.records if record.name == "glue.routes.checkout"]
    said = {record.getMessage(): record for record in records}
    session = data["session_id"]
    name = f"[payment-service] idempotencyKey=key-1 user={person.user} product=course session={session}"
    assert set(said) == {
        name,
        "Idempotency check passed: session created successfully",
        "Idempotency conflict detected - returning 409 status",
    }
    fields = {"idempotency_key": "key-1", "user": person.user, "product": "course"}
    for record in said.values():
        assert fields.items() <= record.__dict__.items()
    assert said[name].__dict__["session"] == session


def test_the_audit_trail_says_who_bought(site: Site) -> None:
    product(site)
    person = site.new_student()
    response = person.post(
        CREATE, {"productId": "course", "idempotencyKey": "k"}, headers={"X-Request-Id": "request-of-test"}
    )
    data = bought(response)
    pay(site, data)
    rows = site.sql.execute(
        "select action, actor, request_id from booking.audit_trail(p_subject => %s)", (data["order_id"],)
    ).fetchall()
    [event] = site.control.events(type="checkout.session.completed")
    assert [tuple(row.values()) for row in rows] == [
        ("order.pending", person.user, "request-of-test"),
        ("order.pending", person.user, "request-of-test"),
        ("order.paid", "stripe", event["id"]),
    ]
    assert UUID(data["order_id"]).version == 7
