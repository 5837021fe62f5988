"""Take a guard away, and the race that shows it must fail: else the race shows nothing.

Each control breaks a function (or an index, a constraint) in a database of its own and runs the race there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import LiteralString

import psycopg
import pytest

from tests.py.mirror.world import World
from tests.py.races import (
    test_checkout,
    test_class_seats,
    test_events,
    test_lock_order,
    test_one_slot,
    test_outbox,
    test_pairs,
    test_publish,
    test_refunds,
    test_stripe,
)
from tests.py.races.helpers import ROOT, Arena, Sessions, mutate

CREATE = "bookings/create_booking_transaction.sql"
SEAT = "bookings/take_class_seat.sql"
LOCK = "bookings/lock_booking.sql"
CONFIRM = "bookings/confirm_booking_transaction.sql"
CANCEL = "bookings/cancel_booking_transaction.sql"
CLEANUP = "maintenance/cleanup_expired_bookings.sql"
SETTLE = "payments/settle_payment.sql"
REVIVE = "payments/retry_stripe_command.sql"
DECIDE = "refunds/decide_refund_request.sql"

NO_CHECK: LiteralString = "alter table booking.slot_seats drop constraint seats_within_capacity"
NO_STUDENT: LiteralString = "drop index booking.bookings_one_live_per_student"
NO_OVERLAP: LiteralString = "alter table booking.slots drop constraint slots_no_overlap"
NO_OPEN: LiteralString = "drop index booking.stripe_commands_one_open"

WAIT = "perform from booking.slot_seats q where q.slot_id = p_slot_id and q.part = v_part for no key update;"
CONFLICT = "on conflict (slot_id, student_id) where b.status in ('pending', 'confirmed') do nothing"
ONE_EVENT = "on conflict (stripe_event_id) do nothing"


@dataclass(frozen=True)
class Control:
    """A guard: how it is taken away, and the race that must notice."""

    guard: str
    race: Callable[[Arena], None]
    edits: tuple[tuple[str, str, str], ...] = ()
    """Function file, what stands there, what is to stand there."""
    sql: tuple[LiteralString, ...] = ()
    tries: int = 1
    """Where it is up to the operating system who goes on first after a wait, a race may miss once what it
    sees the next time."""


def sessions_of(arena: Arena) -> Sessions:
    return {role: arena.sessions(3, role) for role in ("booking_app", "booking_cron", None)}


def pair(start: str, one: str, two: str, arena: Arena) -> None:
    test_pairs.race(arena, sessions_of(arena), start, one, two, True)


def lock_order(name: str, lock: str, arena: Arena) -> None:
    """The step of a function at which somebody else holds this lock."""
    (function,) = [each for each in test_lock_order.FUNCTIONS if str(each) == name]
    test_lock_order.test_a_function_waits_for_a_lock_with_all_earlier_and_no_later_ones(
        arena, sessions_of(arena), function, function.order.index(lock)
    )


def _between(file: str, begin: str, end: str) -> str:
    """A piece of a function's text: from one line's beginning to another's."""
    text = (ROOT / file).read_text()
    return text[text.index(begin) : text.index(end)]


def refund_pair(start: str, one: str, two: str, arena: Arena) -> None:
    test_refunds.race(arena, sessions_of(arena), start, one, two, True)


def refund_winner(start: str, one: str, two: str, arena: Arena) -> None:
    (known,) = [each for each in test_refunds.WINNERS if each[:3] == (start, one, two)]
    test_refunds.test_who_comes_second_finds_what_the_first_has_made(arena, sessions_of(arena), *known)


one_of_ten = partial(test_one_slot.test_one_of_many_students_gets_the_slot, students=10)
FULL_COUNTER = (CREATE, "q.parts = 1 and q.taken < q.capacity", "q.parts = 1")
NO_QUALIFICATION = (SEAT, "and q.part = v_part and q.taken < q.capacity", "and q.part = v_part")
TWO_SEATS = partial(test_one_slot.test_the_same_student_without_a_key_holds_one_seat, capacity=64)
OVERLAP = partial(test_publish.test_the_second_waits_for_the_first, known=True, first_commits=True)
REVIVED = partial(
    test_outbox.test_of_two_commands_of_one_payment_revived_at_once_one_is_open, first_commits=True
)
NO_PAYMENT_LOCK = (
    REVIVE,
    "perform booking.lock_payment((select c.payment_id from booking.stripe_commands c"
    " where c.id = p_command_id), false);",
    "",
)

BUY = "checkout/begin_checkout.sql"
NO_LOCKS: LiteralString = "alter table booking.concurrency_locks drop constraint concurrency_locks_pkey"
ONE_LOCK = ("checkout/try_acquire_lock.sql", "  on conflict (lock_key) do nothing;", ";")

CHECKOUT = [
    Control(
        "a lock is taken once",
        test_checkout.test_of_many_that_want_a_lock_one_gets_it,
        (ONE_LOCK,),
        (NO_LOCKS,),
    ),
    Control(
        "a lapsed lock is taken over once",
        test_checkout.test_of_many_that_find_a_lapsed_lock_one_takes_it_over,
        (ONE_LOCK,),
        (NO_LOCKS,),
    ),
    Control(
        "a lapsed lock is taken over at all",
        test_checkout.test_of_many_that_find_a_lapsed_lock_one_takes_it_over,
        (("checkout/try_acquire_lock.sql", "l.expires_at <= booking.clock()", "false"),),
    ),
    Control(
        "a key waits for the request that has it",
        test_checkout.test_of_many_with_one_key_one_begins,
        ((BUY, "    on conflict (scope, user_id, idempotency_key) do nothing;", "    ;"),),
    ),
    Control(
        "a purchase is locked, whatever the key",
        test_checkout.test_of_many_with_keys_of_their_own_one_begins,
        ((BUY, "if not booking.try_acquire_lock(", "if false and not booking.try_acquire_lock("),),
    ),
    Control(
        "... and so is one that goes on",
        test_checkout.test_of_many_that_find_a_key_whose_server_died_one_goes_on,
        ((BUY, "if not booking.try_acquire_lock(", "if false and not booking.try_acquire_lock("),),
    ),
    Control(
        "whoever has waited for the lock looks at the order again",
        test_checkout.test_whoever_waited_for_the_lock_sees_the_session_that_was_recorded_meanwhile,
        (
            (
                BUY,
                "select o.* into v_order from booking.orders o"
                " where o.id = v_key.result_id for no key update;",
                "",
            ),
        ),
    ),
    Control(
        "orders that superseded one another are locked together",
        test_checkout.test_of_two_orders_that_are_paid_at_once_the_second_is_an_alert,
        (("checkout/lock_order.sql", "where o.id = any (v_kin)", "where o.id = p_order_id"),),
    ),
    Control(
        "an older order is locked before it is superseded",
        test_checkout.test_an_order_that_is_being_paid_is_not_superseded,
        ((BUY, "    order by o.id\n    for no key update\n", "    order by o.id\n"),),
    ),
    Control(
        "a session that has ended needs no end",
        test_checkout.test_an_order_that_is_being_superseded_is_paid_all_the_same,
        (
            (
                "checkout/apply_checkout_session.sql",
                "perform booking.close_expiry_commands(v_order.id);",
                "null;",
            ),
        ),
    ),
    Control(
        "a failed event waits for nobody who works on its orders",
        test_checkout.test_a_failed_event_of_an_order_that_somebody_works_on_is_left_for_later,
        (
            (
                "webhooks/retry_failed_webhooks.sql",
                "o.id = any (v_orders) order by o.id for no key update skip locked",
                "o.id = any (v_orders[:1]) order by o.id for no key update skip locked",
            ),
        ),
    ),
]

CONTROLS = [
    *CHECKOUT,
    Control("a seat is taken under a condition", one_of_ten, (FULL_COUNTER,)),
    Control("... and the check behind it", one_of_ten, (FULL_COUNTER,), (NO_CHECK,)),
    Control(
        "a seat of a class that one waited for is taken under a condition",
        test_class_seats.test_whoever_waits_for_the_last_counter_is_refused_when_the_holder_commits,
        (NO_QUALIFICATION,),
        (NO_CHECK,),
    ),
    Control(
        "a buyer waits while a seat may come free",
        test_class_seats.test_whoever_waits_for_the_last_counter_gets_its_seat_when_the_holder_rolls_back,
        ((SEAT, WAIT, "return null;"),),
    ),
    Control(
        "a buyer who waited in vain looks again",
        test_class_seats.test_whoever_waited_in_vain_gets_a_seat_that_came_free_elsewhere_meanwhile,
        (
            (
                SEAT,
                "      return v_part;\n    end if;\n",
                "      return v_part;\n    end if;\n    return null;\n",
            ),
        ),
    ),
    Control(
        "a cleanup waits for no counter",
        test_class_seats.test_a_buyer_who_waited_in_vain_and_a_cleanup_do_not_wait_for_each_other,
        (
            (
                CLEANUP,
                "order by q.slot_id, q.part\n    for no key update skip locked",
                "order by 1, 2 for no key update",
            ),
        ),
    ),
    Control(
        "a cleanup waits for no booking",
        partial(pair, "authorized", "confirm", "cleanup"),
        ((CLEANUP, "order by b.id\n    for no key update skip locked", "order by b.id for no key update"),),
    ),
    Control("one live booking of a student per slot", TWO_SEATS, ((CREATE, CONFLICT, ""),), (NO_STUDENT,)),
    Control("... whose index alone is a bare error", TWO_SEATS, ((CREATE, CONFLICT, ""),)),
    Control(
        "a key is the first request's until it expires",
        partial(test_one_slot.test_the_same_student_with_the_same_key_gets_the_same_booking, capacity=64),
        ((CREATE, "where k.expires_at <= excluded.created_at", ""),),
    ),
    Control(
        "a booking is locked before it is looked at",
        partial(pair, "authorized", "confirm", "cancel"),
        (
            (CONFIRM, "where b.id = p_booking_id for no key update;", "where b.id = p_booking_id;"),
            (CANCEL, "for no key update of q, b;", ";"),
        ),
    ),
    Control(
        "the seat is locked before the booking",
        partial(lock_order, "cancel_booking_transaction", "seat"),
        ((CANCEL, "for no key update of q, b;", "for no key update of b, q;"),),
    ),
    Control(
        "the payment is locked before it is read",
        partial(lock_order, "confirm_booking_transaction-confirm", "payment"),
        (
            (
                CONFIRM,
                "where p.id = v_payment_id for no key update;",
                "where p.id = v_payment_id;",
            ),
        ),
    ),
    Control(
        "the expert is locked before the slots are looked at",
        OVERLAP,
        (
            (
                "bookings/publish_slot.sql",
                "where e.expert_id = p_expert_id for no key update",
                "where e.expert_id = p_expert_id",
            ),
        ),
    ),
    Control(
        "... and the constraint behind it",
        OVERLAP,
        (
            (
                "bookings/publish_slot.sql",
                "where e.expert_id = p_expert_id for no key update",
                "where e.expert_id = p_expert_id",
            ),
        ),
        (NO_OVERLAP,),
    ),
    Control(
        "a slot is published at a price that nobody is changing",
        partial(test_publish.test_a_price_that_changes_meanwhile_reaches_the_new_slot, first="price"),
        (
            (
                "bookings/publish_slot.sql",
                "where x.id = p_session_id for share;",
                "where x.id = p_session_id;",
            ),
        ),
    ),
    Control(
        "an event is claimed by its id",
        partial(
            test_events.test_the_same_event_20_times_at_once_has_one_effect,
            kind="succeeded",
            status="succeeded",
        ),
        (
            (
                "webhooks/process_webhook_event.sql",
                ONE_EVENT,
                "on conflict (stripe_event_id) do update set updated_at = excluded.updated_at",
            ),
        ),
    ),
    Control(
        "failed events are tried again with all locks in order",
        test_events.test_repeating_failed_events_and_a_cancellation_do_not_wait_for_each_other,
        (
            (
                "webhooks/retry_failed_webhooks.sql",
                "    if found then\n      -- a lapsed hold",
                "    if false then\n      -- a lapsed hold",
            ),
        ),
    ),
    Control(
        "... and without waiting",
        partial(lock_order, "retry_failed_webhooks", "booking"),
        (("webhooks/retry_failed_webhooks.sql", " skip locked;", ";"),),
    ),
    Control(
        "a worker does not wait for a command that another one claims",
        partial(
            test_outbox.test_a_command_that_one_is_claiming_is_not_waited_for,
            first_is="server",
            first_commits=True,
        ),
        (("payments/claim_stripe_commands.sql", "      for no key update skip locked\n", ""),),
    ),
    Control(
        "an outcome is recorded by the holder of the lease",
        test_outbox.test_the_answer_of_a_lost_lease_counts_and_the_next_holder_finishes,
        (("payments/complete_stripe_command.sql", " and c.locked_by = p_worker", ""),),
    ),
    Control(
        "whoever decides on a request holds it",
        partial(refund_pair, "asked", "approve", "approve too"),
        (
            (
                DECIDE,
                _between("db/functions/refunds/decide_refund_request.sql", "  v_booking :=", "  v_now :="),
                "select b.* into v_booking from booking.bookings b join booking.refund_requests q"
                " on q.booking_id = b.id where q.id = p_request_id;"
                " select q.* into v_request from booking.refund_requests q where q.id = p_request_id;\n",
            ),
        ),
    ),
    Control(
        "an approval looks whether the money is still there",
        partial(refund_winner, "asked", "by hand", "approve"),
        ((DECIDE, "if v_request.amount > v_refundable then", "if false then"),),
    ),
    Control(
        "... and sending looks again",
        partial(refund_winner, "asked", "approve", "by hand"),
        (
            (
                SETTLE,
                "exit when not v_is_lost and booking.refunds_promised(v_payment.id) - v_own"
                " <= v_payment.amount_captured;",
                "exit when not v_is_lost;",
            ),
        ),
        tries=5,
    ),
    Control(
        "... without which more is sent than was captured",
        test_refunds.test_many_approvals_beside_a_cancellation_and_a_refund_by_hand_never_exceed,
        (
            (
                SETTLE,
                "exit when not v_is_lost and booking.refunds_promised(v_payment.id) - v_own"
                " <= v_payment.amount_captured;",
                "exit when not v_is_lost;",
            ),
        ),
        tries=5,
    ),
    Control(
        "a request asks for no more than others leave",
        test_refunds.test_many_requests_at_once_never_ask_for_more_than_was_captured,
        (("refunds/refundable_amount.sql", "q.status = 'pending'", "false"),),
    ),
    Control(
        "a dispute is looked for when a request is approved",
        partial(refund_winner, "asked", "dispute", "approve"),
        (
            (DECIDE, "if booking.is_refund_held(v_request.payment_id) then", "if false then"),
            ("refunds/refundable_amount.sql", "booking.is_refund_held(p.id)", "false"),
        ),
    ),
    Control(
        "what failed is not taken for refunded",
        partial(refund_winner, "sent", "done", "failed"),
        (
            (
                "refunds/follow_refund.sql",
                "if v_request.command_id = v_refund.command_id then",
                "if false then",
            ),
        ),
    ),
    Control("whoever opens a command holds the payment", REVIVED, (NO_PAYMENT_LOCK,)),
    Control("... and the one open command behind it", REVIVED, (NO_PAYMENT_LOCK,), (NO_OPEN,)),
]


def take_away(arena: Arena, control: Control) -> None:
    arena.harmed = True
    arena.patience = 400
    arena.run("alter database " + arena.watch.conn.info.dbname + " set lock_timeout = '1s'")
    for file, old, new in control.edits:
        mutate(arena.watch.conn, file, old, new)
    for statement in control.sql:
        arena.run(statement)


def race(arena: Arena, control: Control) -> None:
    for _ in range(control.tries):
        control.race(arena)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda each: each.guard)
def test_without_its_guard_the_race_fails(arena: Arena, control: Control) -> None:
    take_away(arena, control)
    with pytest.raises(AssertionError) as failure:
        race(arena, control)
    print(failure.value)


def test_a_command_that_was_sent_must_be_known_first(here: World) -> None:
    """Else a capture in flight is forgotten, and the hold is let go that it takes."""
    mutate(here.sql, SETTLE, "if v_open.attempts > 0\n      or ", "if ")
    with pytest.raises((AssertionError, psycopg.errors.CheckViolation)):
        test_stripe.test_a_student_cancels_while_the_capture_is_in_flight(here, "before", 48, 100)
