"""The same event at once has one effect, and repeating failed events keeps the order of locks."""

from __future__ import annotations

from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from tests.py.races.helpers import CANCEL, Arena, Outcome, Row, Session, new_name, results

PROCESS = "select booking.process_webhook_event(p_event => %(event)s)"


def booked(arena: Arena) -> UUID:
    """A booking whose PaymentIntent is recorded and not paid yet."""
    booking: UUID = arena.value("select test.book()")
    arena.value("select test.prepare(%(b)s)", {"b": booking})
    return booking


def event(arena: Arena, booking: UUID, kind: str, status: str, name: str | None = None) -> Row:
    """An event of Stripe about the booking's PaymentIntent."""
    found = arena.value("select test.intent(%(b)s, %(s)s)", {"b": booking, "s": status})
    return {
        "id": name or new_name("evt"),
        "object": "event",
        "type": f"payment_intent.{kind}",
        "created": 1_800_000_000,
        "data": {"object": found},
    }


def deliver_at_once(arena: Arena, sent: Row, copies: int) -> list[Outcome]:
    """One holds the event open until all the others are seen waiting for it."""
    sessions = arena.sessions(copies)
    first, others = sessions[0], sessions[1:]
    one = first.hold(PROCESS, {"event": Jsonb(sent)})
    running = [each.start(PROCESS, {"event": Jsonb(sent)}) for each in others]
    arena.wait_all_waiting(others)
    first.commit()
    return [one, *results(running)]


@pytest.mark.parametrize(
    ("kind", "status"),
    [("amount_capturable_updated", "requires_capture"), ("succeeded", "succeeded"), ("canceled", "canceled")],
)
def test_the_same_event_20_times_at_once_has_one_effect(arena: Arena, kind: str, status: str) -> None:
    booking = booked(arena)
    found = deliver_at_once(arena, event(arena, booking, kind, status), 20)
    assert sorted(each.value for each in found) == ["duplicate"] * 19 + ["processed"]
    assert arena.value("select count(*) from booking.webhook_events") == 1
    assert arena.value("select sum(quantity) from booking.stat_deltas where metric = 'webhooks'") == 1
    transfers = arena.value("select count(*) from booking.transfers")
    assert transfers == (1 if kind == "succeeded" else 0)
    arena.assert_sound()


def test_an_event_whose_first_delivery_rolled_back_is_processed_by_the_next(arena: Arena) -> None:
    booking = booked(arena)
    sent = event(arena, booking, "amount_capturable_updated", "requires_capture")
    first, second = arena.sessions(2)
    assert first.hold(PROCESS, {"event": Jsonb(sent)}).value == "processed"
    running = second.start(PROCESS, {"event": Jsonb(sent)})
    arena.wait_blocked(second, first, running)
    first.rollback()
    assert running.result().value == "processed"
    assert arena.value("select test.state(%(b)s)", {"b": booking}) == "pending/authorized"
    arena.assert_sound()


def failed(arena: Arena, *events: Row) -> None:
    """Events that could not be applied when they came, oldest first."""
    for number, each in enumerate(events):
        arena.run(
            "insert into booking.webhook_events (stripe_event_id, event_type, status, payload, received_at)"
            " values (%(id)s, %(type)s, 'failed', %(payload)s,"
            " now() - interval '1 hour' + %(n)s * interval '1 s')",
            {"id": each["id"], "type": each["type"], "payload": Jsonb(each), "n": number},
        )
        arena.run("insert into booking.stat_deltas values ('webhooks', date_trunc('hour', now()), '', 1, 0)")


def test_repeating_failed_events_and_a_cancellation_do_not_wait_for_each_other(arena: Arena) -> None:
    """Two events of one booking, the second of which frees its seat, with another booking between them."""
    one, other = booked(arena), booked(arena)
    failed(
        arena,
        event(arena, one, "amount_capturable_updated", "requires_capture"),
        event(arena, other, "amount_capturable_updated", "requires_capture"),
        event(arena, one, "canceled", "canceled"),
    )
    gate, keeper, student = arena.session(None), arena.session("booking_cron"), arena.session()
    gate.hold("select from booking.bookings where id = %(b)s for no key update", {"b": other})
    repeating = keeper.start("select booking.retry_failed_webhooks()")
    arena.settle(keeper, repeating)
    who = arena.value("select test.student(%(b)s)", {"b": one})
    cancelling = student.start(CANCEL, {"who": who, "booking": one})
    arena.settle(student, cancelling)
    gate.rollback()
    assert cancelling.result().code in ("ok", "PT409 already_processed")
    assert repeating.result().code == "ok"
    arena.watch.call("select booking.retry_failed_webhooks()")
    assert arena.value("select test.state(%(b)s)", {"b": one}) == "cancelled/cancelled"
    arena.assert_sound()


def keepers_at_once(arena: Arena, count: int) -> list[Session]:
    return arena.sessions(count, "booking_cron")


def test_several_repeats_at_once_apply_each_event_once(arena: Arena) -> None:
    bookings = [booked(arena) for _ in range(12)]
    failed(arena, *(event(arena, each, "amount_capturable_updated", "requires_capture") for each in bookings))
    running = [each.start("select booking.retry_failed_webhooks()") for each in keepers_at_once(arena, 4)]
    assert sum(each.value for each in results(running)) == 12
    arena.assert_sound()
