"""Classes: holds, lapsed holds whose money arrives, and everybody else who wants the seat. Each guard is also
taken away once, and the race that shows it must fail then.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from tests.py.races.helpers import BOOK, CANCEL, CLEANUP, Arena, Outcome, Row, mutate, new_name, results

PREPARE = "select * from booking.prepare_class_payment(p_user_id => %(student)s, p_class_id => %(slot)s)"
CONFIRM = (
    "select * from booking.confirm_class_booking(p_user_id => %(student)s, p_class_id => %(slot)s,"
    " p_intent => %(intent)s)"
)
PROCESS = "select booking.process_webhook_event(%(event)s)"
FAIL = "select booking.fail_stripe_command(%(command)s, 'me', %(error)s, false)"
LOCK_SEATS = "select from booking.slot_seats where slot_id = %(slot)s for no key update"
LOCK_BOOKING = "select from booking.bookings where id = %(booking)s for no key update"


def a_class(arena: Arena, capacity: int = 1) -> UUID:
    return arena.slot(capacity=capacity, confirmation="instant")


def a_hold(arena: Arena, slot: UUID, student: str | None = None, *, lapsed: bool = False) -> Row:
    """A hold with its PaymentIntent: the parameters of everything that is called about it."""
    student = student or new_name("student")
    made: Row = {"slot": slot, "student": student, "who": student}
    made["booking"] = arena.value("select test.hold_seat(%(slot)s, %(student)s)", made)
    if lapsed:
        arena.run("select test.lapse(%(booking)s)", made)
    made["intent"] = Jsonb(arena.value("select test.paid_intent(%(booking)s)", made))
    made["event"] = an_event(made, "payment_intent.succeeded", made["intent"].obj)
    return made


def an_event(made: Row, kind: str, thing: Row) -> Jsonb:
    """A new event about an object."""
    return Jsonb({"id": new_name("evt"), "type": kind, "created": 1_800_000_000, "data": {"object": thing}})


def states(arena: Arena, slot: UUID) -> Counter[tuple[str, str]]:
    """Booking and payment statuses of a class; a payment counts for the booking that it belongs to."""
    return Counter(
        (row["status"], row["payment"])
        for row in arena.all(
            "select b.status::text, coalesce(p.status::text, '-') as payment from booking.bookings b"
            " left join booking.payments p on p.booking_id = b.id where b.slot_id = %(slot)s",
            {"slot": slot},
        )
    )


def refunds(arena: Arena, made: Row) -> int:
    return int(
        arena.value(
            "select count(*) from booking.stripe_commands c join booking.bookings b"
            " on b.payment_id = c.payment_id where b.id = %(booking)s and c.operation = 'create_refund'",
            made,
        )
    )


# -- holds


def test_a_second_window_waits_for_the_first_and_gets_its_hold(arena: Arena) -> None:
    slot, student = a_class(arena, 40), new_name("student")
    one, two, probe = arena.sessions(3, None)
    wish = {"slot": slot, "student": student}
    first = one.hold(PREPARE, wish)
    asking = two.start(PREPARE, wish)
    arena.wait_blocked(two, one, asking)
    part = one.call("select seat_part from booking.bookings where slot_id = %(slot)s", wish).value
    free = probe.call(
        "select part from booking.slot_seats where slot_id = %(slot)s and part <> %(part)s"
        " for no key update nowait",
        {**wish, "part": part},
    )
    assert not free.refused, "it took a seat before it waited"
    one.commit()
    assert asking.result().row == first.row
    assert arena.seats_taken(slot) == 1
    arena.assert_sound()


@pytest.mark.parametrize("capacity", [1, 40])
def test_a_student_in_many_windows_has_one_hold(arena: Arena, capacity: int) -> None:
    slot, student = a_class(arena, capacity), new_name("student")
    windows = arena.sessions(12)
    gate = arena.session(None)
    gate.hold(LOCK_SEATS, {"slot": slot})
    asking = [each.start(PREPARE, {"slot": slot, "student": student}) for each in windows]
    arena.wait_all_waiting(windows)
    gate.rollback()
    found = [each.row for each in results(asking)]
    assert all(each == found[0] for each in found)
    assert arena.seats_taken(slot) == 1
    arena.assert_sound()


def test_a_hold_that_ends_while_it_is_asked_for_is_replaced_by_a_new_one(arena: Arena) -> None:
    slot = a_class(arena, 40)
    held = a_hold(arena, slot)
    arena.run(
        "update booking.bookings set created_at = created_at - interval '1 hour' where id = %(booking)s", held
    )
    sweeper, student = arena.session("booking_cron"), arena.session()
    assert sweeper.hold(CLEANUP).value == 1
    asking = student.start(PREPARE, held)
    arena.wait_blocked(student, sweeper, asking)
    sweeper.commit()
    assert asking.result().row["booking_id"] != held["booking"]
    assert arena.seats_taken(slot) == 1
    arena.assert_sound()


def slow_down(arena: Arena, *, before: bool) -> None:
    """Whoever takes a seat stops before or after that, while a session holds the advisory lock 1."""
    steps = ["perform pg_advisory_xact_lock_shared(1);", "p_wish := booking.seat_student_at_once(p_wish);"]
    body = " ".join(steps if before else reversed(steps))
    arena.run(
        "alter function booking.seat_student(booking.bookings) rename to seat_student_at_once;"
        "create function booking.seat_student(p_wish booking.bookings) returns booking.bookings"
        f" language plpgsql security definer as $$ begin {body} return p_wish; end $$"
    )


def test_a_hold_that_ends_in_a_full_class_waits_for_no_seat_that_comes_free_at_that_moment(
    arena: Arena,
) -> None:
    slot = a_class(arena)
    held = a_hold(arena, slot)
    slow_down(arena, before=True)
    ender, gate, student = arena.session(None), arena.session(None), arena.session()
    ender.hold(
        "update booking.bookings set status = 'cancelled', cancelled_by = 'system',"
        " cancellation_reason = 'expired', refund_percent = 100, closed_at = now() where id = %(booking)s",
        held,
    )
    gate.hold("select pg_advisory_xact_lock(1)")
    asking = student.start(PREPARE, held)
    arena.wait_blocked(student, ender, asking)
    ender.commit()  # and the seat counter says still that the class is full
    assert not arena.settle(student, asking), "it wants a seat, and has its booking locked"
    assert asking.result().code == "PT409 capacity_full"


def test_a_hold_that_ends_while_every_free_seat_is_being_written_is_to_be_asked_for_again(
    arena: Arena,
) -> None:
    """A booking is locked by then: whoever has the seat may be waiting for it."""
    slot = a_class(arena, 2)
    held = a_hold(arena, slot)
    ender, gate, student = arena.session(None), arena.session(None), arena.session()
    ender.hold(
        "update booking.bookings set status = 'cancelled', cancelled_by = 'system',"
        " cancellation_reason = 'expired', refund_percent = 100, closed_at = now() where id = %(booking)s",
        held,
    )
    gate.hold(LOCK_SEATS, held)
    asking = student.start(PREPARE, held)
    arena.wait_blocked(student, ender, asking)
    ender.commit()
    assert asking.result(timeout=120).sqlstate == "40001"
    gate.rollback()
    assert student.call(PREPARE, held).code == "ok"


def test_a_seat_is_not_refused_because_of_another_booking_of_the_student_that_has_ended(arena: Arena) -> None:
    """What the hold ran into is gone when it is looked for: every seat but that one was free all the time."""
    slot, student = a_class(arena, 40), new_name("student")
    slow_down(arena, before=False)
    other, asker, gate = arena.sessions(2) + arena.sessions(1, None)
    wish = {"slot": slot, "student": student, "who": student}
    made = other.hold(BOOK, wish)
    gate.hold("select pg_advisory_xact_lock(1)")
    asking = asker.start(PREPARE, wish)
    arena.wait_blocked(asker, other, asking)  # its own booking collides with the one that is being written
    other.commit()
    arena.wait_blocked(asker, gate, asking)  # and was not written
    arena.run(
        "update booking.bookings set status = 'cancelled', cancelled_by = 'student', refund_percent = 100,"
        " closed_at = now() where id = %(b)s",
        {"b": made.row["booking_id"]},
    )
    gate.rollback()
    assert asking.result().row["booking_id"] != made.row["booking_id"]


def test_a_hold_is_paid_or_lapses_but_not_both(arena: Arena) -> None:
    """The event of the payment waits for the cleanup, and finds the hold gone: a seat is taken again."""
    slot = a_class(arena)
    held = a_hold(arena, slot)
    arena.run(
        "update booking.bookings set created_at = created_at - interval '1 hour' where id = %(booking)s", held
    )
    sweeper, stripe = arena.session("booking_cron"), arena.session()
    assert sweeper.hold(CLEANUP).value == 1
    telling = stripe.start(PROCESS, held)
    arena.wait_blocked(stripe, sweeper, telling)
    sweeper.commit()
    assert telling.result().value == "processed"
    assert states(arena, slot) == {("cancelled", "-"): 1, ("confirmed", "captured"): 1}
    assert refunds(arena, held) == 0
    arena.assert_sound()


# -- lapsed holds


def test_money_for_a_lapsed_hold_waits_for_the_seat_before_it_locks_the_booking(arena: Arena) -> None:
    slot = a_class(arena)
    held = a_hold(arena, slot, lapsed=True)
    gate, probe, stripe = *arena.sessions(2, None), arena.session()
    gate.hold(LOCK_SEATS, held)
    telling = stripe.start(PROCESS, held)
    arena.wait_blocked(stripe, gate, telling)
    assert not probe.call(LOCK_BOOKING + " nowait", held).refused, "it waits with the booking locked"
    gate.rollback()
    assert telling.result().value == "processed"
    assert states(arena, slot) == {("cancelled", "-"): 1, ("confirmed", "captured"): 1}
    arena.assert_sound()


def test_stripes_refusal_to_cancel_waits_for_the_seat_before_it_locks_the_booking(arena: Arena) -> None:
    """The answer to the cancelling of the lapsed hold is the first that we hear of its payment."""
    slot = a_class(arena)
    held = a_hold(arena, slot, lapsed=True)
    held["command"] = arena.value("select test.open_command(%(booking)s)", held)
    arena.run("select from booking.claim_stripe_command(%(command)s, 'me')", held)
    error = {"code": "payment_intent_unexpected_state", "http_status": 400}
    held["error"] = Jsonb({**error, "payment_intent": held["intent"].obj})
    gate, probe, worker = *arena.sessions(2, None), arena.session()
    gate.hold(LOCK_SEATS, held)
    recording = worker.start(FAIL, held)
    arena.wait_blocked(worker, gate, recording)
    assert not probe.call(LOCK_BOOKING + " nowait", held).refused, "it waits with the booking locked"
    gate.rollback()
    assert recording.result().value is True
    assert states(arena, slot) == {("cancelled", "-"): 1, ("confirmed", "captured"): 1}
    assert refunds(arena, held) == 0, "the old booking has nothing to give back"
    arena.assert_sound()


@pytest.mark.parametrize("call", [CONFIRM, PROCESS], ids=["the page", "the webhook"])
def test_money_for_a_hold_that_ends_while_free_seats_are_being_written_is_to_be_told_again(
    arena: Arena, call: str
) -> None:
    """Booking and payment are locked by then, so no seat is waited for; but seats are free: no refund."""
    slot = a_class(arena, 40)
    held = a_hold(arena, slot)
    ender, gate, teller = arena.session(None), arena.session(None), arena.session()
    ender.hold(
        "update booking.bookings set status = 'cancelled', cancelled_by = 'system',"
        " cancellation_reason = 'expired', refund_percent = 100, closed_at = now() where id = %(booking)s",
        held,
    )
    gate.hold(LOCK_SEATS, held)
    telling = teller.start(call, held)
    arena.wait_blocked(teller, ender, telling)
    ender.commit()
    assert telling.result(timeout=30).sqlstate == "40001"
    gate.rollback()
    assert teller.call(call, held).code == "ok"
    assert states(arena, slot) == {("cancelled", "-"): 1, ("confirmed", "captured"): 1}
    assert refunds(arena, held) == 0


@pytest.mark.parametrize("first", ["the page", "the webhook"])
def test_page_and_webhook_at_once_seat_a_lapsed_hold_once(arena: Arena, first: str) -> None:
    slot = a_class(arena, 40)
    held = a_hold(arena, slot, lapsed=True)
    one, two, probe = arena.session(), arena.session(), arena.session(None)
    calls = [CONFIRM, PROCESS] if first == "the page" else [PROCESS, CONFIRM]
    done = one.hold(calls[0], held)
    assert done.code == "ok"
    doing = two.do(lambda: two.hold(calls[1], held))
    arena.wait_blocked(two, one)
    one.commit()
    second = doing.result(timeout=120)
    # the second has followed the payment to the new booking, and holds that one
    new = arena.value(
        "select id from booking.bookings where slot_id = %(slot)s and status = 'confirmed'", held
    )
    assert probe.call(LOCK_BOOKING + " nowait", {"booking": new}).sqlstate == "55P03"
    two.commit()
    if first == "the page":
        assert (done.row["booking_id"], done.row["was_changed"]) == (new, True)
        assert second.value == "processed"
    else:
        assert (second.row["booking_id"], second.row["was_changed"]) == (new, False)
    assert states(arena, slot) == {("cancelled", "-"): 1, ("confirmed", "captured"): 1}
    assert arena.seats_taken(slot) == 1
    arena.assert_sound()


def test_many_pages_at_once_are_told_the_same_and_one_made_it_so(arena: Arena) -> None:
    slot = a_class(arena, 40)
    held = a_hold(arena, slot, lapsed=True)
    pages = arena.sessions(12)
    gate = arena.session(None)
    gate.hold(LOCK_BOOKING, held)
    telling = [each.start(CONFIRM, held) for each in pages]
    arena.wait_all_waiting(pages)
    gate.rollback()
    found = [each.row for each in results(telling)]
    assert len({(each["booking_id"], each["status"], each["refusal"]) for each in found}) == 1
    assert [each["was_changed"] for each in found].count(True) == 1
    assert states(arena, slot) == {("cancelled", "-"): 1, ("confirmed", "captured"): 1}
    arena.assert_sound()


def test_of_two_lapsed_holds_one_gets_the_last_seat_and_the_other_all_its_money(arena: Arena) -> None:
    slot = a_class(arena)
    holds = []
    for _ in range(2):
        holds.append(a_hold(arena, slot, lapsed=True))
    one, two = arena.sessions(2)
    assert one.hold(PROCESS, holds[0]).value == "processed"
    telling = two.start(PROCESS, holds[1])
    arena.wait_blocked(two, one, telling)
    one.commit()
    assert telling.result().value == "processed"
    assert states(arena, slot) == {
        ("cancelled", "-"): 1, ("confirmed", "captured"): 1, ("cancelled", "captured"): 1
    }  # fmt: skip
    assert [refunds(arena, each) for each in holds] == [0, 1]
    assert arena.seats_taken(slot) == 1
    arena.assert_sound()


@pytest.mark.parametrize("first", ["the buyer", "the money"])
@pytest.mark.parametrize("commits", [True, False])
def test_a_buyer_and_the_money_of_a_lapsed_hold_want_the_last_seat(
    arena: Arena, first: str, commits: bool
) -> None:
    slot = a_class(arena)
    held = a_hold(arena, slot, lapsed=True)
    buy = (PREPARE, {"slot": slot, "student": new_name("student")})
    calls = [buy, (PROCESS, held)] if first == "the buyer" else [(PROCESS, held), buy]
    one, two = arena.sessions(2)
    assert one.hold(*calls[0]).code == "ok"
    other = two.start(*calls[1])
    arena.wait_blocked(two, one, other)
    if commits:
        one.commit()
    else:
        one.rollback()
    outcome = other.result()
    if first == "the buyer":
        assert outcome.value == "processed"
        assert refunds(arena, held) == int(commits)
    else:
        assert outcome.code == ("PT409 capacity_full" if commits else "ok")
    assert arena.seats_taken(slot) == 1
    arena.assert_sound()


@pytest.mark.parametrize("first", ["the new hold", "the money"])
def test_a_student_who_asks_anew_while_the_old_money_arrives_has_one_seat(arena: Arena, first: str) -> None:
    slot = a_class(arena, 40)
    held = a_hold(arena, slot, lapsed=True)
    calls = [(PREPARE, held), (PROCESS, held)]
    if first == "the money":
        calls.reverse()
    one, two = arena.sessions(2)
    assert one.hold(*calls[0]).code == "ok"
    other = two.start(*calls[1])
    arena.wait_blocked(two, one, other)
    one.commit()
    outcome = other.result()
    assert arena.seats_taken(slot) == 1
    if first == "the money":
        assert outcome.code == "PT409 duplicate_booking"
        assert refunds(arena, held) == 0
    else:
        assert outcome.value == "processed"
        assert refunds(arena, held) == 1, "the new hold has the seat: the old money goes back"
    arena.assert_sound()


def test_two_lapsed_holds_of_one_student_paid_at_once_have_one_seat(arena: Arena) -> None:
    slot, student = a_class(arena, 40), new_name("student")
    holds = [a_hold(arena, slot, student, lapsed=True) for _ in range(2)]
    one, two = arena.sessions(2)
    assert one.hold(PROCESS, holds[0]).value == "processed"
    telling = two.start(PROCESS, holds[1])
    arena.wait_blocked(two, one, telling)
    one.commit()
    assert telling.result().value == "processed"
    assert [refunds(arena, each) for each in holds] == [0, 1]
    assert arena.seats_taken(slot) == 1
    arena.assert_sound()


def test_retried_events_of_a_lapsed_hold_wait_for_no_seat(arena: Arena) -> None:
    """Many events are retried in one transaction: none may wait with the locks of those before it."""
    slot = a_class(arena, 40)
    held = a_hold(arena, slot, lapsed=True)
    arena.run(
        "insert into booking.webhook_events (stripe_event_id, event_type, status, payload)"
        " values ('evt_retried', 'payment_intent.succeeded', 'failed',"
        ' %(event)s::jsonb || \'{"id": "evt_retried"}\')',
        held,
    )
    gate, sweeper = arena.session(None), arena.session("booking_cron")
    gate.hold(LOCK_SEATS + " ", held)
    retry = "select booking.retry_failed_webhooks() as count"
    sweeping = sweeper.start(retry)
    assert not arena.settle(sweeper, sweeping), "it waits"
    assert sweeping.result().value == 0
    gate.rollback()
    gate.hold("select from booking.slot_seats where slot_id = %(slot)s and part = 1 for update", held)
    sweeping = sweeper.start(retry)
    assert not arena.settle(sweeper, sweeping), "it waits"
    assert sweeping.result().value == 0
    gate.rollback()
    assert sweeper.call(retry).value == 1
    assert states(arena, slot) == {("cancelled", "-"): 1, ("confirmed", "captured"): 1}
    arena.assert_sound()


def test_a_crowded_class_keeps_its_books(arena: Arena) -> None:
    """Students hold, pay in time or too late, ask twice and cancel, while three cleanups sweep."""
    slot = a_class(arena, 33)
    count, seed = 24, 11
    people, hands = arena.sessions(count), arena.sessions(count, None)
    sweepers = arena.sessions(3, "booking_cron")

    def student(number: int) -> list[Outcome]:
        rng, session, hand = random.Random(seed + number), people[number], hands[number]
        found = []
        for _ in range(6):
            made: Row = {"slot": slot, "student": new_name("student")}
            found.append(session.call(PREPARE, made))
            if found[-1].refused:
                continue
            row = found[-1].row
            made |= {"booking": row["booking_id"], "payment": row["payment_id"], "who": made["student"]}
            session.call(
                "select from booking.record_payment_intent(%(payment)s,"
                " 'pi_' || replace(%(payment)s::text, '-', ''))",
                made,
            )
            made["intent"] = Jsonb(hand.call("select test.paid_intent(%(booking)s) as i", made).row["i"])
            if rng.random() < 0.6:
                hand.call(
                    "update booking.bookings set created_at = created_at - interval '1 hour'"
                    " where id = %(booking)s and status = 'pending'",
                    made,
                )
                found.append(hand.call(CLEANUP))
            intent = made["intent"].obj
            events = [{**made, "event": an_event(made, "payment_intent.succeeded", intent)} for _ in range(2)]
            calls = [(CONFIRM, made), *((PROCESS, each) for each in events), (PREPARE, made)]
            rng.shuffle(calls)
            found += [session.call(*each) for each in calls]
            if rng.random() < 0.4:
                found.append(session.call(CANCEL, made))
        return found

    def sweep(session: object) -> list[Outcome]:
        return [session.call(CLEANUP) for _ in range(30)]  # type: ignore[attr-defined]

    with ThreadPoolExecutor(count + 3) as pool:
        sweeping = [pool.submit(sweep, each) for each in sweepers]
        found = [outcome for each in pool.map(student, range(count)) for outcome in each]
        found += [outcome for each in sweeping for outcome in each.result()]
    # 40001: a hold ended at the moment it was asked for again, and the free seats were being written
    assert {each.code.partition(" could not take a seat")[0] for each in found} <= {
        "ok", "PT409 capacity_full", "PT409 duplicate_booking", "PT409 already_processed", "40001",
    }, Counter(each.code for each in found)  # fmt: skip
    arena.assert_sound()
    assert arena.seats_taken(slot) <= 33
    # whoever has paid has a seat, or gets it all back (or what the policy says, who cancelled)
    lost = arena.all(
        "select p.id from booking.payments p join booking.bookings b on b.id = p.booking_id"
        " where b.slot_id = %(slot)s and p.amount_captured > 0 and b.status = 'cancelled'"
        " and not exists (select from booking.stripe_commands c where c.payment_id = p.id"
        "   and c.operation = 'create_refund' and (c.params ->> 'amount')::bigint = p.amount)",
        {"slot": slot},
    )
    assert lost == []


# -- without the guards


@dataclass(frozen=True)
class Control:
    """A guard: the file and text that is taken away, and the race that must notice."""

    guard: str
    race: Callable[[Arena], None]
    edits: tuple[tuple[str, str, str], ...] = ()
    sql: tuple[LiteralString, ...] = ()


CONTROLS = [
    Control(
        "a student's windows wait for each other before they take a seat",
        test_a_second_window_waits_for_the_first_and_gets_its_hold,
        (("payments/prepare_class_payment.sql", "perform pg_advisory_xact_lock(", "perform abs("),),
    ),
    Control(
        "a seat is not waited for with a booking locked",
        test_a_hold_that_ends_while_every_free_seat_is_being_written_is_to_be_asked_for_again,
        (("payments/prepare_class_payment.sql", "    if v_keeps_locks then\n", "    if false then\n"),),
    ),
    Control(
        "... and is not refused either",
        lambda arena: test_money_for_a_hold_that_ends_while_free_seats_are_being_written_is_to_be_told_again(
            arena, PROCESS
        ),
        (
            (
                "bookings/reseat_booking.sql",
                "if found and p_booking.scheduled_at > booking.clock() then",
                "if false then",
            ),
        ),
    ),
    Control(
        "... nor asked for where there is none",
        test_a_hold_that_ends_in_a_full_class_waits_for_no_seat_that_comes_free_at_that_moment,
        (("payments/prepare_class_payment.sql", "      v_may_ask := found;\n", ""),),
    ),
    Control(
        "a seat is looked for again when what stood in its way has ended",
        test_a_seat_is_not_refused_because_of_another_booking_of_the_student_that_has_ended,
        (("payments/prepare_class_payment.sql", "continue when found;", ""),),
    ),
    Control(
        "the seat comes before the booking",
        test_money_for_a_lapsed_hold_waits_for_the_seat_before_it_locks_the_booking,
        (("payments/apply_stripe_object.sql", "perform booking.lock_free_seat(v_payment_id);", ""),),
    ),
    Control(
        "... also for an answer of Stripe",
        test_stripes_refusal_to_cancel_waits_for_the_seat_before_it_locks_the_booking,
        (("payments/fail_stripe_command.sql", "perform booking.lock_free_seat(v_command.payment_id);", ""),),
    ),
    Control(
        "whoever waits for a lapsed hold follows its payment",
        lambda arena: test_page_and_webhook_at_once_seat_a_lapsed_hold_once(arena, "the page"),
        (
            (
                "payments/lock_payment.sql",
                "v_booking_id is not distinct from v_booking.id;",
                "v_booking.id is not null;",
            ),
        ),
    ),
    Control(
        "a seat is taken only while one is free",
        test_of_two_lapsed_holds_one_gets_the_last_seat_and_the_other_all_its_money,
        (("bookings/reseat_booking.sql", "q.slot_id = p_booking.slot_id and q.taken < q.capacity", "true"),
         ("bookings/seat_student.sql", "and q.part = 0 and q.taken < q.capacity", "and q.part = 0")),
        ("alter table booking.slot_seats drop constraint seats_within_capacity",),
    ),
    Control(
        "retried events skip what is locked",
        test_retried_events_of_a_lapsed_hold_wait_for_no_seat,
        (("webhooks/retry_failed_webhooks.sql", "      continue when v_locked < v_seats;\n", ""),),
    ),
]  # fmt: skip


@pytest.mark.parametrize("control", CONTROLS, ids=lambda each: each.guard)
def test_without_its_guard_the_race_fails(arena: Arena, control: Control) -> None:
    arena.harmed = True
    arena.patience = 400
    arena.run("alter database " + arena.watch.conn.info.dbname + " set lock_timeout = '1s'")
    for file, old, new in control.edits:
        mutate(arena.watch.conn, file, old, new)
    for statement in control.sql:
        arena.run(statement)
    with pytest.raises((AssertionError, TimeoutError)) as failure:
        control.race(arena)
    print(failure.value)
