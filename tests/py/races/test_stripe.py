"""People and workers meet while Stripe is being called: its books and ours agree when all is quiet again."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.types.json import Jsonb

from glue.mirror import Mirror
from glue.worker import Worker
from tests.py.mirror.world import PRICE, Booking, World, wait_until

CAPTURE = r"/capture$"
CANCEL = r"/cancel$"
REFUND = r"/v1/refunds$"

POLICY = [(48, 100), (10, 50), (1, 0)]
"""Hours ahead, and what a student who cancels then gets back in percent."""


def assert_refunded(here: World, booking: Booking, percent: int) -> None:
    """Captured whole and given back by the policy, here and at Stripe."""
    here.assert_books_equal()
    found = here.payment(booking)
    assert (found["amount_captured"], found["amount_refunded"]) == (PRICE, PRICE * percent // 100)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("hours", "percent"), POLICY)
def test_a_student_cancels_while_the_capture_is_in_flight(
    here: World, when: str, hours: int, percent: int
) -> None:
    """The capture goes on, since nobody knows its outcome; then the rest is given back."""
    booking = here.authorized(hours=hours)
    capture = here.confirm(booking)
    here.control.barrier("capture", when=when, path_regex=CAPTURE)
    assert here.mirror.run(capture, wait=0) == "pending"
    here.control.wait_barrier("capture")
    assert here.cancel(booking) == capture
    here.control.release_barrier("capture")
    here.mirror.close()
    assert here.command(capture)["outcome"] == "applied"
    here.drain(here.new_mirror())
    assert_refunded(here, booking, percent)
    assert here.effects(CAPTURE) == 1
    assert here.effects(REFUND) == (1 if percent else 0)


@pytest.mark.parametrize(("hours", "percent"), POLICY)
def test_a_student_cancels_after_a_capture_whose_answer_was_lost(
    here: World, hours: int, percent: int
) -> None:
    booking = here.authorized(hours=hours)
    capture = here.confirm(booking)
    here.control.fault("apply_then_drop", times=10, path_regex=CAPTURE)
    assert here.mirror.run(capture) == "pending"
    here.cancel(booking)
    here.control.clear_faults()
    here.drain()
    assert_refunded(here, booking, percent)


@pytest.mark.parametrize(("hours", "percent"), POLICY)
def test_a_student_cancels_before_the_capture_is_sent(here: World, hours: int, percent: int) -> None:
    """Whole: the hold is let go and no money moves. In part: the capture is needed to keep the rest."""
    booking = here.authorized(hours=hours)
    capture = here.confirm(booking)
    here.cancel(booking)
    here.drain()
    if percent == 100:
        here.assert_books_equal()
        assert here.command(capture)["outcome"] == "superseded"
        assert here.payment(booking)["status"] == "cancelled"
        assert (here.effects(CAPTURE), here.effects(CANCEL)) == (0, 1)
    else:
        assert_refunded(here, booking, percent)


def test_a_release_in_flight_and_the_event_of_it(here: World) -> None:
    """Stripe's event is faster than the answer to the call that brought it about."""
    booking = here.authorized()
    command = here.cancel(booking)
    here.control.barrier("cancel", when="after", path_regex=CANCEL)
    assert here.mirror.run(command, wait=0) == "pending"
    here.control.wait_barrier("cancel")
    assert "processed" in here.deliver()
    assert here.payment(booking)["status"] == "cancelled"
    here.control.release_barrier("cancel")
    here.mirror.close()
    assert here.command(command)["status"] == "done"
    here.assert_books_equal()


@pytest.mark.parametrize("workers", [2, 8])
def test_the_server_and_workers_at_the_same_commands_run_each_once(here: World, workers: int) -> None:
    """The server has begun half of them and is held up at Stripe; the workers find the other half only."""
    bookings = [here.authorized() for _ in range(12)]
    commands = [here.confirm(booking) for booking in bookings]
    held, left = commands[:6], commands[6:]
    here.control.barrier("capture", times=6, path_regex=CAPTURE)
    assert {here.mirror.run(command, wait=0) for command in held} == {"pending"}
    here.control.wait_barrier("capture", count=6)
    stop = threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        for _ in range(workers):
            worker = Worker(here.db, here.new_mirror(), poll=0.01, batch=2, min_age=0)
            pool.submit(worker.run, stop)
        try:
            wait_until(
                here.sql,
                "select from booking.stripe_commands where status = 'done' having count(*) = 6",
            )
            assert {here.command(command)["status"] for command in held} == {"running"}
            assert {here.mirror.run(command) for command in left} == {"done"}
            here.control.release_barrier("capture")
            wait_until(here.sql, "select from booking.stripe_commands having bool_and(status = 'done')")
        finally:
            stop.set()
            here.control.release_barrier("capture")
    assert len(here.control.requests(path=CAPTURE)) == 12
    assert here.effects(CAPTURE) == 12
    assert {row["attempts"] for row in here.commands()} == {1}
    here.deliver()
    here.assert_books_equal()


def act(here: World, rng: random.Random, booking: Booking, mirror: Mirror) -> str | None:
    """Something that one of the people of a booking, or a machine, does; the SQLSTATE when it is refused."""
    people = {"booking": booking.id, "student": booking.student, "expert": booking.expert}
    try:
        match rng.choice(["confirm", "confirm", "decline", "cancel", "clean up", "outbox", "deliver"]):
            case "confirm" | "decline" as action:
                row = here.db.one(
                    "select * from booking.confirm_booking_transaction(p_expert_id => %(expert)s,"
                    " p_booking_id => %(booking)s, p_action => %(action)s)",
                    {**people, "action": action},
                )
                mirror.run(row["command_id"] if row else None)
            case "cancel":
                row = here.db.one(
                    "select * from booking.cancel_booking_transaction(p_actor_id => %(student)s,"
                    " p_booking_id => %(booking)s)",
                    people,
                )
                mirror.run(row["command_id"] if row else None)
            case "clean up":
                with psycopg.connect(here.url, autocommit=True) as keeper:
                    keeper.execute(
                        "select booking.cleanup_expired_bookings(p_batch_size => 1, p_timeout => '0')"
                    )
            case "outbox":
                for claim in mirror.claim_due(limit=2, min_age=0):
                    mirror.run_claimed(claim)
            case "deliver":
                here.db.scalar(
                    "select * from booking.process_webhook_event(p_event => %(e)s)",
                    {"e": Jsonb(rng.choice(here.control.events()))},
                )
    except psycopg.Error as error:
        return error.sqlstate
    return None


@pytest.mark.parametrize("seed", [1, 2])
def test_everything_at_once_leaves_both_books_equal(here: World, seed: int) -> None:
    """Decisions, cancellations, cleanups, deliveries and workers in six threads on eight bookings."""
    print(f"seed {seed}")
    bookings = [here.authorized(hours=hours) for hours in (48, 48, 48, 10, 10, 10, 1, 1)]
    here.control.fault("apply_then_500", times=2, skip=1, path_regex=CAPTURE)
    here.control.fault("drop", times=2, skip=1, path_regex=REFUND)

    def somebody(number: int) -> set[str | None]:
        rng = random.Random(seed * 100 + number)
        mirror = here.new_mirror()
        return {act(here, rng, rng.choice(bookings), mirror) for _ in range(15)}

    with ThreadPoolExecutor(6) as pool:
        told = set().union(*pool.map(somebody, range(6)))
    assert told <= {None, "PT409"}
    here.control.clear_faults()
    here.drain()
    here.assert_books_equal()
