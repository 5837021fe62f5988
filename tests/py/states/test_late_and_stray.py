"""What comes too late, comes twice, comes to nobody or comes broken; and events that meet a lock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.py.states.people import EVENTS, PRICE, Life

Conn = psycopg.Connection[Any]


@pytest.fixture
def conn(pgtap_db_url: str) -> Iterator[Conn]:
    with psycopg.connect(pgtap_db_url, row_factory=dict_row, autocommit=True) as connection:
        yield connection
        assert connection.execute("select * from booking.check_invariants()").fetchall() == []


def lived(conn: Conn, *words: str, **options: Any) -> Life:
    life = Life(conn, **options)
    for word in words:
        assert life.do(word) == "", word
    return life


def alerts(conn: Conn) -> list[str]:
    found = conn.execute("select kind from booking.alerts where resolved_at is null order by kind").fetchall()
    return [row["kind"] for row in found]


def books(life: Life) -> tuple[int, int, int]:
    """Captured, refunded and lines in the ledger."""
    row = life.conn.execute(
        "select p.amount_captured, p.amount_refunded, (select count(*) from booking.transfers t"
        " where t.payment_id = p.id) as lines from booking.payments p where p.booking_id = %s",
        (life.id,),
    ).fetchone()
    assert row is not None
    return row["amount_captured"], row["amount_refunded"], row["lines"]


def send(life: Life, kind: str, thing: Any, event_id: str | None = None) -> str:
    return str(
        life.scalar("select test.event(%(t)s, %(o)s, %(i)s)", t=EVENTS[kind], o=Jsonb(thing), i=event_id)
    )


def of_another_intent(life: Life, kind: str) -> Any:
    """The event's object, of a second PaymentIntent with our metadata."""
    second = f"pi_second_{life.id}"
    return {**life.thing(kind), "id" if kind.startswith("pi.") else "payment_intent": second}


def test_an_authorization_after_the_booking_expired_is_released_by_itself(conn: Conn) -> None:
    life = lived(conn, "prepare", "record", "expire", "pi.capturable", "ch.held")
    assert life.state() == "cancelled/authorized cancel"
    assert life.do("cmd.done") == ""
    assert life.state() == "cancelled/cancelled"
    assert life.do("pi.canceled") == ""
    assert (life.state(), books(life)) == ("cancelled/cancelled", (0, 0, 0))


def test_an_authorization_while_the_release_is_at_stripe_is_released_once(conn: Conn) -> None:
    life = lived(conn, "prepare", "record", "expire", "claim", "pi.capturable")
    assert life.state() == "cancelled/authorized cancel running"
    assert life.do("cmd.done") == ""
    assert life.state() == "cancelled/cancelled"
    count = conn.execute("select count(*) as n from booking.stripe_commands").fetchone()
    assert count is not None
    assert count["n"] == 1


def test_a_capture_after_the_booking_expired_goes_back_once(conn: Conn) -> None:
    life = lived(conn, "prepare", "record", "expire", "pi.succeeded", "ch.captured", "ch.paid")
    assert life.state() == "cancelled/captured refund 5000"
    assert life.do("cmd.done") == ""
    assert life.do("ch.refunded") == ""
    assert (life.state(), books(life)) == ("cancelled/refunded", (5000, 5000, 2))


def test_an_instant_slots_payment_after_the_booking_expired_seats_the_student_again(conn: Conn) -> None:
    life = lived(conn, "prepare", "record", "expire", "ch.paid", "pi.succeeded", confirmation="instant")
    assert life.state() == "cancelled/captured"  # nothing goes back: the payment has moved on
    assert new_booking(life) == "confirmed"


def test_an_instant_slots_payment_after_the_booking_expired_goes_back_when_the_seat_is_gone(
    conn: Conn,
) -> None:
    life = lived(conn, "prepare", "record", "expire", confirmation="instant")
    conn.execute("select test.book((test.booking(%s)).slot_id)", (life.id,))
    for word in ("ch.paid", "pi.succeeded"):
        assert life.do(word) == ""
        assert life.state() == "cancelled/captured refund 5000"
    assert life.do("cmd.done") == ""
    assert (life.state(), books(life)) == ("cancelled/refunded", (5000, 5000, 2))


def test_stripes_refusal_to_cancel_an_expired_hold_that_was_paid_seats_the_student_again(conn: Conn) -> None:
    """The answer to our own command may be the first that we hear of the payment."""
    life = lived(
        conn, "prepare", "record", "expire", "claim", "cmd.refused", "ch.paid", confirmation="instant"
    )
    assert new_booking(life) == "confirmed"
    assert life.state() == "cancelled/captured"
    ledger = conn.execute("select kind, amount from booking.transfers").fetchall()
    assert ledger == [{"kind": "capture", "amount": PRICE}]


def new_booking(life: Life) -> str:
    """The status of the booking that the student's payment has moved on to."""
    status: str = life.scalar(
        "select n.status::text from booking.bookings b join booking.payments p on p.id = b.payment_id"
        " join booking.bookings n on n.id = p.booking_id where b.id = %(b)s and n.id <> b.id",
        b=life.id,
    )
    return status


def test_a_paid_booking_of_an_instant_slot_does_not_expire(conn: Conn) -> None:
    life = lived(conn, "prepare", "record", "pi.succeeded", "expire", confirmation="instant")
    assert life.state() == "confirmed/captured"


@pytest.mark.parametrize("decision", ["decline", "cancel", "withdraw", "expire"])
def test_an_event_of_a_payment_that_was_never_recorded_finds_it_by_metadata(
    conn: Conn, decision: str
) -> None:
    """The server died between Stripe's answer and record_payment_intent()."""
    life = lived(conn, "prepare", decision, "pi.capturable")
    assert life.state().split(" ", 1)[1] == "cancel"
    assert life.do("record") == ""
    assert life.do("cmd.done") == ""
    assert life.state().endswith("/cancelled")
    assert books(life) == (0, 0, 0)


def test_money_after_our_own_cancellation_goes_back_outside_our_books(conn: Conn) -> None:
    life = lived(conn, "prepare", "cancel", "record", "claim")
    assert life.do("cmd.refused") == ""  # it was paid meanwhile
    for word in ("pi.processing", "pi.succeeded", "ch.captured", "pi.action", "expire", "record"):
        assert life.do(word) == ""
        assert life.state() == "cancelled/cancelled refund 5000", word
    assert life.do("cmd.done") == ""
    assert life.do("ch.refunded") == ""
    assert (life.state(), books(life)) == ("cancelled/cancelled", (0, 0, 0))
    assert alerts(conn) == ["stray_payment_intent"]


@pytest.mark.parametrize("kind", ["pi.capturable", "pi.action", "pi.processing", "pi.failed"])
def test_a_second_payment_intent_is_cancelled_and_leaves_our_books_alone(conn: Conn, kind: str) -> None:
    life = lived(conn, "prepare", "record", "pi.capturable")
    for _ in range(2):
        assert send(life, kind, of_another_intent(life, kind)) == "processed"
    assert life.state() == "pending/authorized +stray cancel"
    assert (books(life), alerts(conn)) == ((0, 0, 0), ["stray_payment_intent"])


def test_a_second_payment_intent_that_was_captured_is_refunded_once(conn: Conn) -> None:
    life = lived(conn, "prepare", "record", "pi.capturable", "record-second", "confirm", "cmd.done")
    for kind in ("pi.capturable", "pi.succeeded", "ch.captured", "ch.refunded", "pi.succeeded"):
        assert send(life, kind, of_another_intent(life, kind)) == "processed"
    assert (books(life), alerts(conn)) == ((5000, 0, 1), ["stray_payment_intent"])
    stray = conn.execute(
        "select operation, status::text, outcome::text from booking.stripe_commands"
        " where stripe_id like 'pi_second%' order by id"
    ).fetchall()
    assert [tuple(row.values()) for row in stray] == [
        ("cancel_payment_intent", "done", "superseded"),
        ("create_refund", "pending", None),
    ]


def test_the_end_of_a_second_payment_intent_does_not_end_the_booking(conn: Conn) -> None:
    life = lived(conn, "prepare", "record", "pi.capturable")
    for kind in ("pi.canceled", "ch.expired", "ch.released"):
        assert send(life, kind, of_another_intent(life, kind)) == "processed"
    assert life.state() == "pending/authorized"


def test_events_of_nobody_are_ignored(conn: Conn) -> None:
    life = lived(conn, "prepare", "record")
    for kind in EVENTS:
        thing = {**life.thing(kind), "id": "x_nobody", "payment_intent": "pi_nobody", "metadata": {}}
        assert send(life, kind, thing) == "ignored"
    assert (life.state(), alerts(conn)) == ("pending/pending", [])


def test_a_broken_event_is_recorded_and_holds_nobody_back(conn: Conn) -> None:
    life, other = lived(conn, "prepare", "record"), lived(conn, "prepare", "record")
    broken = {**life.thing("pi.succeeded"), "amount_received": "much"}
    assert send(life, "pi.succeeded", broken, "evt_broken") == "failed"
    foreign = {**other.thing("pi.succeeded"), "currency": "eur"}
    assert send(other, "pi.succeeded", foreign, "evt_foreign") == "failed"
    assert (life.state(), other.state()) == ("pending/pending", "pending/pending")
    assert alerts(conn) == ["webhook_failed", "webhook_failed"]
    assert life.scalar("select booking.is_webhook_processed('evt_broken') as done") is False
    conn.execute(
        "update booking.webhook_events set payload = jsonb_set(payload, '{data,object,currency}', '\"usd\"')"
        " where stripe_event_id = 'evt_foreign'"
    )
    assert life.scalar("select booking.retry_failed_webhooks() as n") == 1
    assert (life.state(), other.state()) == ("pending/pending", "pending/captured")
    row = conn.execute("select status::text, attempts from booking.webhook_events order by 1").fetchall()
    assert [tuple(r.values()) for r in row] == [("failed", 2), ("processed", 2)]
    assert alerts(conn) == ["webhook_failed"]


def _waits(conn: Conn, pid: int) -> None:
    for _ in range(4000):
        if conn.execute("select 1 from pg_locks where pid = %s and not granted", (pid,)).fetchone():
            return
        conn.execute("select pg_sleep(0.005)")
    raise AssertionError(f"{pid} never waited for a lock")


def _payload(life: Life, kind: str, event_id: str) -> Jsonb:
    return Jsonb(
        {"id": event_id, "type": EVENTS[kind], "created": 1790000000, "data": {"object": life.thing(kind)}}
    )


@pytest.mark.parametrize("row", ["bookings", "payments"])
def test_an_event_that_waits_too_long_for_a_lock_is_passed_on_and_writes_nothing(
    conn: Conn, pgtap_db_url: str, row: str
) -> None:
    life = lived(conn, "prepare", "record")
    event = _payload(life, "pi.capturable", "evt_late")
    lock = {
        "bookings": "select from booking.bookings where id = %s for no key update",
        "payments": "select from booking.payments where booking_id = %s for no key update",
    }[row]
    with psycopg.connect(pgtap_db_url) as holder:
        holder.execute(lock, (life.id,))
        conn.execute("set lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            conn.execute("select booking.process_webhook_event(%s)", (event,))
        conn.execute("reset lock_timeout")
        conn.execute("set statement_timeout = '50ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute("select booking.process_webhook_event(%s)", (event,))
        conn.execute("reset statement_timeout")
        holder.rollback()
    assert conn.execute("select from booking.webhook_events").fetchall() == []
    assert (life.state(), alerts(conn)) == ("pending/pending", [])
    assert life.scalar("select booking.process_webhook_event(%(e)s)", e=event) == "processed"
    assert life.state() == "pending/authorized"


def test_an_event_that_loses_a_deadlock_is_passed_on_and_writes_nothing(
    conn: Conn, pgtap_db_url: str
) -> None:
    """Somebody who holds the booking waits for the event's row: against the order that everybody keeps."""
    life = lived(conn, "prepare", "record")
    event = _payload(life, "pi.canceled", "evt_deadlock")
    came: list[BaseException | None] = []
    with (
        psycopg.connect(pgtap_db_url, autocommit=True) as stripe,
        psycopg.connect(pgtap_db_url) as gate,
        psycopg.connect(pgtap_db_url) as holder,
    ):
        stripe.execute("set deadlock_timeout = '10ms'")
        holder.execute("set deadlock_timeout = '10min'")
        gate.execute("select from booking.slot_seats for no key update")
        holder.execute("select from booking.bookings for no key update")

        def deliver() -> None:
            try:
                stripe.execute("select booking.process_webhook_event(%s)", (event,))
                came.append(None)
            except psycopg.Error as error:
                came.append(error)

        def insert() -> None:
            holder.execute(
                "insert into booking.webhook_events (stripe_event_id, event_type, status, payload)"
                " values ('evt_deadlock', 'x', 'ignored', '{}')"
            )

        delivery, insertion = threading.Thread(target=deliver), threading.Thread(target=insert)
        delivery.start()
        _waits(conn, stripe.info.backend_pid)  # it has its row and waits for the seat
        insertion.start()
        _waits(conn, holder.info.backend_pid)
        gate.rollback()  # now it wants the booking and closes the circle
        delivery.join()
        insertion.join()
        holder.rollback()
    assert isinstance(came[0], psycopg.errors.DeadlockDetected)
    assert conn.execute("select from booking.webhook_events").fetchall() == []
    assert (life.state(), alerts(conn)) == ("pending/pending", [])
    assert life.scalar("select booking.process_webhook_event(%(e)s)", e=event) == "processed"


def test_the_same_event_at_once_waits_and_is_a_duplicate(conn: Conn, pgtap_db_url: str) -> None:
    life = lived(conn, "prepare", "record")
    event = _payload(life, "pi.capturable", "evt_twice")
    came: list[Any] = []
    with (
        psycopg.connect(pgtap_db_url) as first,
        psycopg.connect(pgtap_db_url, autocommit=True) as second,
    ):
        first.execute("select booking.process_webhook_event(%s)", (event,))

        def deliver() -> None:
            came.append(second.execute("select booking.process_webhook_event(%s)", (event,)).fetchone())

        thread = threading.Thread(target=deliver)
        thread.start()
        _waits(conn, second.info.backend_pid)
        first.commit()
        thread.join()
    assert came == [("duplicate",)]
    assert life.state() == "pending/authorized"


@pytest.mark.parametrize(
    ("way", "operation"),
    [
        (("confirm",), "select booking.complete_stripe_command(%(c)s, 'w', test.intent(%(b)s, 'canceled'))"),
        (
            ("confirm",),
            "select booking.fail_stripe_command(%(c)s, 'w', jsonb_build_object('code',"
            " 'payment_intent_unexpected_state', 'http_status', 400, 'payment_intent',"
            " test.intent(%(b)s, 'requires_payment_method')), false)",
        ),
        (("decline",), "select booking.complete_stripe_command(%(c)s, 'w', test.intent(%(b)s, 'canceled'))"),
        ((), "select test.event('payment_intent.canceled', test.intent(%(b)s, 'canceled'))"),
        ((), "select test.event('charge.expired', test.charge(%(b)s))"),
    ],
    ids=["capture canceled", "hold lost", "released", "canceled", "expired"],
)
def test_what_may_free_a_seat_locks_the_seat_before_the_booking(
    conn: Conn, pgtap_db_url: str, way: tuple[str, ...], operation: Any
) -> None:
    """It waits for the seat without holding the booking, so that it never meets cleanup in a circle."""
    life = lived(conn, "prepare", "record", "pi.capturable", *way)
    command = life.claim() if way else None
    with (
        psycopg.connect(pgtap_db_url) as holder,
        psycopg.connect(pgtap_db_url, autocommit=True) as worker,
    ):
        holder.execute(
            "select from booking.slot_seats where slot_id = (select slot_id from booking.bookings"
            " where id = %s) for no key update",
            (life.id,),
        )
        thread = threading.Thread(
            target=lambda: worker.execute(operation, {"b": life.id, "c": command}), daemon=True
        )
        thread.start()
        _waits(conn, worker.info.backend_pid)
        holder.execute("select from booking.bookings where id = %s for no key update nowait", (life.id,))
        holder.execute(
            "select from booking.payments where booking_id = %s for no key update nowait", (life.id,)
        )
        holder.rollback()
        thread.join()
    assert life.state().split("/")[0] in ("cancelled", "declined")
