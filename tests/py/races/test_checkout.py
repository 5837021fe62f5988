"""Purchases that meet: one key, one lock, one order, and money that comes in meanwhile."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from psycopg.types.json import Jsonb

from tests.py.races.helpers import Arena, Outcome, Row, new_name, results

BEGIN = "select * from booking.begin_checkout(%(user)s, %(product)s, %(key)s, %(request)s)"
FINISH = "select * from booking.finish_checkout(%(order)s, %(request)s, %(session)s, 'https://checkout.test')"
LOCK = "select booking.try_acquire_lock('the lock', 'anna', 'course', %(request)s)"
PROCESS = "select booking.process_webhook_event(%(event)s)"
BUSY = "PT409 payment_in_progress"
LAPSE = "update booking.concurrency_locks set acquired_at = now() - interval '1 min', expires_at = now()"
MANY = 8


def purchase(arena: Arena) -> Row:
    return {
        "user": new_name("user"),
        "product": arena.value("select test.make_product()"),
        "key": "k1",
        "request": "r1",
    }


def at_once(arena: Arena, queries: list[tuple[str, Row]], table: str) -> list[Outcome]:
    """All of them have begun and stand before this table when it is opened."""
    gate, sessions = arena.session(None), arena.sessions(len(queries))
    gate.hold(f"lock table booking.{table} in access exclusive mode")
    running = [each.start(*query) for each, query in zip(sessions, queries, strict=True)]
    arena.wait_all_waiting(sessions)
    gate.rollback()
    return results(running)


def order(arena: Arena, id: UUID) -> Row:
    return arena.one(
        "select o.*, o.status::text as status from booking.orders o where o.id = %(id)s", {"id": id}
    )


def paid(arena: Arena, id: UUID) -> Row:
    """The parameters of the event that the order's session was paid."""
    return {
        "event": Jsonb(
            {
                "id": new_name("evt"),
                "type": "checkout.session.completed",
                "data": {"object": arena.value("select test.checkout_session(%(id)s)", {"id": id})},
            }
        )
    }


def alerts(arena: Arena) -> list[str]:
    return [row["kind"] for row in arena.all("select kind from booking.alerts order by 1")]


def test_of_many_that_want_a_lock_one_gets_it(arena: Arena) -> None:
    asked = [(LOCK, {"request": f"r{n}"}) for n in range(MANY)]
    found = at_once(arena, asked, "concurrency_locks")
    assert Counter(each.value for each in found) == {True: 1, False: MANY - 1}


def test_of_many_that_find_a_lapsed_lock_one_takes_it_over(arena: Arena) -> None:
    arena.run(
        "insert into booking.concurrency_locks values"
        " ('the lock', 'anna', 'course', 'dead', now() - interval '1 min', now() - interval '50 s')"
    )
    asked = [(LOCK, {"request": f"r{n}"}) for n in range(MANY)]
    found = at_once(arena, asked, "concurrency_locks")
    assert Counter(each.value for each in found) == {True: 1, False: MANY - 1}
    kinds = arena.all("select kind, count(*) as n from booking.checkout_events group by 1 order by 1")
    assert kinds == [{"kind": "lapsed", "n": 1}, {"kind": "refused", "n": MANY - 1}]


def test_of_many_with_one_key_one_begins(arena: Arena) -> None:
    made = purchase(arena)
    found = at_once(arena, [(BEGIN, {**made, "request": f"r{n}"}) for n in range(MANY)], "client_idempotency")
    assert Counter(each.code for each in found) == {"ok": 1, BUSY: MANY - 1}
    assert [each.row["was_created"] for each in found if not each.refused] == [True]
    assert arena.value("select count(*) from booking.orders") == 1
    arena.assert_sound()


def test_of_many_with_keys_of_their_own_one_begins(arena: Arena) -> None:
    made = purchase(arena)
    asked = [(BEGIN, {**made, "key": f"k{n}", "request": f"r{n}"}) for n in range(MANY)]
    found = at_once(arena, asked, "concurrency_locks")
    assert Counter(each.code for each in found) == {"ok": 1, BUSY: MANY - 1}
    assert arena.value("select count(*) from booking.orders") == 1
    assert arena.value("select count(*) from booking.client_idempotency") == 1
    arena.assert_sound()


def test_of_many_that_find_a_key_whose_server_died_one_goes_on(arena: Arena) -> None:
    made = purchase(arena)
    first = arena.session().call(BEGIN, made).row
    arena.run(
        "update booking.concurrency_locks set acquired_at = now() - interval '1 min', expires_at = now()"
    )
    found = at_once(arena, [(BEGIN, {**made, "request": f"s{n}"}) for n in range(MANY)], "client_idempotency")
    assert Counter(each.code for each in found) == {"ok": 1, BUSY: MANY - 1}
    [(row,)] = [each.rows for each in found if not each.refused]
    assert (row["order_id"], row["was_created"]) == (first["order_id"], False)
    arena.assert_sound()


def test_whoever_waited_for_the_lock_sees_the_session_that_was_recorded_meanwhile(arena: Arena) -> None:
    """Its first request was slow, its lock had lapsed; it finishes while the retry already waits."""
    made = purchase(arena)
    slow, retry = arena.sessions(2)
    begun = slow.call(BEGIN, made).row
    arena.run(
        "update booking.concurrency_locks set acquired_at = now() - interval '1 min', expires_at = now()"
    )
    slow.hold(FINISH, {"order": begun["order_id"], "request": "r1", "session": "cs_1"})
    running = retry.start(BEGIN, {**made, "request": "r2"})
    arena.wait_blocked(retry, slow, running)
    slow.commit()
    assert running.result(timeout=120).row["stripe_session_id"] == "cs_1"
    assert arena.value("select count(*) from booking.concurrency_locks") == 0
    arena.assert_sound()


def superseded(arena: Arena) -> tuple[UUID, UUID]:
    """An order, and the newer one that replaced it; both have sessions."""
    made = purchase(arena)
    make = "select test.open_order(%(user)s, %(product)s)"
    return arena.value(make, made), arena.value(make, made)


def test_of_two_orders_that_are_paid_at_once_the_second_is_an_alert(arena: Arena) -> None:
    old, new = superseded(arena)
    one, other = arena.sessions(2)
    assert one.hold(PROCESS, paid(arena, old)).value == "processed"
    running = other.start(PROCESS, paid(arena, new))
    arena.settle(other, running)
    one.commit()
    assert running.result(timeout=120).value == "processed"
    assert [order(arena, each)["status"] for each in (old, new)] == ["paid", "paid"]
    assert alerts(arena) == ["order_paid_twice"]
    arena.assert_sound()


def test_an_order_that_is_being_paid_is_not_superseded(arena: Arena) -> None:
    made = purchase(arena)
    old = arena.value("select test.open_order(%(user)s, %(product)s)", made)
    customer, buyer = arena.sessions(2)
    customer.hold(PROCESS, paid(arena, old))
    running = buyer.start(BEGIN, {**made, "key": "k2"})
    arena.wait_blocked(buyer, customer, running)
    customer.commit()
    assert running.result(timeout=120).row["was_created"] is True
    found = order(arena, old)
    assert (found["status"], found["superseded_by"]) == ("paid", None)
    assert arena.all("select * from booking.stripe_commands") == []
    arena.assert_sound()


def test_an_order_that_is_being_superseded_is_paid_all_the_same(arena: Arena) -> None:
    made = purchase(arena)
    old = arena.value("select test.open_order(%(user)s, %(product)s)", made)
    customer, buyer = arena.sessions(2)
    new = buyer.hold(BEGIN, {**made, "key": "k2"}).row["order_id"]
    running = customer.start(PROCESS, paid(arena, old))
    arena.wait_blocked(customer, buyer, running)
    buyer.commit()
    assert running.result(timeout=120).value == "processed"
    assert (order(arena, old)["status"], order(arena, old)["superseded_by"]) == ("paid", new)
    commands = arena.all("select order_id, outcome::text from booking.stripe_commands")
    assert commands == [{"order_id": old, "outcome": "superseded"}]
    assert alerts(arena) == []
    arena.assert_sound()


def test_the_answer_of_a_worker_and_the_payment_meet(arena: Arena) -> None:
    """Stripe ends the session; the event that it had been paid before arrives at the same time."""
    old, _ = superseded(arena)
    command = arena.value("select id from booking.stripe_commands where order_id = %(o)s", {"o": old})
    worker, customer = arena.sessions(2)
    worker.call("select * from booking.claim_stripe_command(%(c)s, 'w')", {"c": command})
    refusal = {
        "http_status": 400,
        "checkout_session": arena.value("select test.checkout_session(%(o)s)", {"o": old}),
    }
    customer.hold(PROCESS, paid(arena, old))
    running = worker.start(
        "select booking.fail_stripe_command(%(c)s, 'w', %(e)s, false)", {"c": command, "e": Jsonb(refusal)}
    )
    arena.wait_blocked(worker, customer, running)
    customer.commit()
    assert running.result(timeout=120).value is True
    assert order(arena, old)["status"] == "paid"
    row = arena.one(
        "select status::text, outcome::text from booking.stripe_commands where id = %(c)s", {"c": command}
    )
    assert row == {"status": "done", "outcome": "refused"}
    assert alerts(arena) == []
    arena.assert_sound()


def test_a_failed_event_of_an_order_that_somebody_works_on_is_left_for_later(arena: Arena) -> None:
    old, _ = superseded(arena)
    event = paid(arena, old)["event"]
    arena.run(
        "insert into booking.webhook_events (stripe_event_id, event_type, status, payload)"
        " values (%(id)s, 'checkout.session.completed', 'failed', %(event)s)",
        {"id": event.obj["id"], "event": event},
    )
    holder, maintenance = arena.session(None), arena.session("booking_cron")
    holder.hold("select from booking.orders where superseded_by is null for no key update")
    assert maintenance.call("select booking.retry_failed_webhooks()").value == 0
    holder.rollback()
    assert maintenance.call("select booking.retry_failed_webhooks()").value == 1
    assert order(arena, old)["status"] == "paid"
