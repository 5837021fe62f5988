"""Every fault at every call: one effect at Stripe, and our books say the same."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import pytest

from glue.stripe_gateway import StripeGateway
from tests.py.mirror.world import KEY, PRICE, Booking, World

pytestmark = pytest.mark.pg18  # what Stripe's faults do to the caller, whatever the database

APPLIED = ("apply_then_drop", "apply_then_500", "apply_then_timeout")
FAULTS = ("drop", "409", "429", "503", "500_before_unsaved", "500_before_saved", "timeout", *APPLIED)
COMMANDS = ("capture", "cancel", "refund")
PATHS = {
    "capture": r"/capture$",
    "cancel": r"/cancel$",
    "refund": r"/refunds$",
    "create": r"^/v1/payment_intents$",
}
EXPECTED = {
    "capture": ("captured", PRICE, 0),
    "cancel": ("cancelled", 0, 0),
    "refund": ("partially_refunded", PRICE, PRICE // 2),
}

# Faults that strike once heal within a call; six times outlast the repeats of two calls.
STRIKES = pytest.mark.parametrize("times", [1, 6])


def decide(here: World, what: str) -> tuple[Booking, UUID]:
    """A decision that Stripe has to be told."""
    if what == "refund":
        booking = here.captured(hours=10)
        return booking, here.cancel(booking)
    booking = here.authorized()
    return booking, here.confirm(booking, "confirm" if what == "capture" else "decline")


def impatient(here: World) -> StripeGateway:
    return here.new_gateway(timeout=0.2)


@STRIKES
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("what", COMMANDS)
def test_a_command_has_one_effect(here: World, what: str, fault: str, times: int) -> None:
    booking, command = decide(here, what)
    mirror = here.new_mirror(impatient(here))
    here.control.fault(fault, times=times, method="POST", path_regex=PATHS[what], seconds=5)
    mirror.run(command)
    here.drain(mirror)

    assert here.effects(PATHS[what]) == 1
    found = here.command(command)
    assert (found["status"], found["outcome"]) == ("done", "applied")
    payment = here.payment(booking)
    assert (payment["status"], payment["amount_captured"], payment["amount_refunded"]) == EXPECTED[what]
    here.assert_books_equal()
    assert here.alerts() == []


@pytest.mark.parametrize("what", COMMANDS)
@pytest.mark.parametrize("fault", ["500_before_saved", "apply_then_500"])
def test_only_a_saved_500_without_effect_takes_a_new_key(here: World, what: str, fault: str) -> None:
    _, command = decide(here, what)
    here.control.fault(fault, method="POST", path_regex=PATHS[what])
    here.mirror.run(command)
    here.drain()
    keys = [row["idempotency_key"] for row in here.control.requests(method="POST", path=PATHS[what])]
    if fault == "apply_then_500":
        assert set(keys) == {str(command)}
    else:
        assert keys[-1] == f"{command}:2"
        assert set(keys[:-1]) == {str(command)}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("what", COMMANDS)
def test_the_looking_itself_may_fail(here: World, what: str, fault: str) -> None:
    """A saved 500, and then every fault at the call that looks what came of it."""
    booking, command = decide(here, what)
    mirror = here.new_mirror(impatient(here))
    here.control.fault("apply_then_500", method="POST", path_regex=PATHS[what])
    here.control.fault(fault, times=3, method="GET", seconds=5)
    mirror.run(command)
    here.drain(mirror)
    assert here.effects(PATHS[what]) == 1
    assert here.command(command)["outcome"] == "applied"
    here.assert_books_equal()
    assert here.payment(booking)["status"] == EXPECTED[what][0]


@pytest.mark.parametrize("what", COMMANDS)
@pytest.mark.parametrize("status", ["401", "403"])
def test_a_refused_key_ends_nobodys_booking_and_raises_an_alert(here: World, what: str, status: str) -> None:
    booking, command = decide(here, what)
    before = here.booking(booking)["status"], here.payment(booking)["status"]
    here.control.fault(status, times=40, method="POST", path_regex=PATHS[what])
    assert here.mirror.run(command) == "pending"
    for _ in range(30):  # more often than a command is tried otherwise
        here.due()
        for claim in here.mirror.claim_due(limit=10, min_age=0):
            here.mirror.run_claimed(claim)
    assert here.command(command)["status"] == "pending"
    assert (here.booking(booking)["status"], here.payment(booking)["status"]) == before
    assert here.alerts() == ["stripe_credentials"]

    here.control.clear_faults()
    here.drain()
    assert here.effects(PATHS[what]) == 1
    assert here.command(command)["outcome"] == "applied"
    here.assert_books_equal()


def test_a_rotated_key_is_noticed_and_the_new_one_finishes_the_work(here: World) -> None:
    booking, command = decide(here, "capture")
    here.control.set_keys("sk_test_new")
    assert here.mirror.run(command) == "pending"
    assert here.booking(booking)["status"] == "confirmed"
    assert here.alerts() == ["stripe_credentials"]
    assert KEY not in str(here.command(command)["last_error"])

    gateway = StripeGateway("sk_test_new", here.stripe_url)
    here.gateways.append(gateway)
    here.drain(here.new_mirror(gateway))
    assert here.effects(PATHS["capture"]) == 1
    here.assert_books_equal()


@STRIKES
@pytest.mark.parametrize("fault", [*FAULTS, "401", "403"])
def test_a_booking_has_one_payment_intent_that_can_be_paid(here: World, fault: str, times: int) -> None:
    booking = here.book()
    here.control.fault(fault, times=times, method="POST", path_regex=PATHS["create"], seconds=5)
    given_out = here.create_intent(booking, impatient(here))
    assert here.create_intent(booking) == given_out
    here.pay(given_out)
    here.deliver()
    here.drain()
    assert here.payment(booking)["status"] == "authorized"
    books = here.control.books()["payment_intents"]
    assert [row["id"] for row in books if row["charges"]] == [given_out]
    # Only an answer that was lost for good leaves another one, which nobody can pay.
    lost = [row for row in books if row["id"] != given_out]
    assert bool(lost) == (fault == "apply_then_500")
    assert all(row["amount_capturable"] == row["captured"] == 0 for row in lost)
    here.assert_books_equal()


def test_two_requests_at_once_get_the_same_payment_intent(here: World) -> None:
    booking = here.book()
    here.control.barrier("create", method="POST", path_regex=PATHS["create"])
    answers: list[Any] = []

    def ask() -> None:
        answers.append(here.create_intent(booking))

    first = threading.Thread(target=ask)
    first.start()
    here.control.wait_barrier("create")
    second = threading.Thread(target=ask)
    second.start()
    here.control.release_barrier("create")
    first.join()
    second.join()
    assert answers[0] == answers[1]
    assert len(here.control.books()["payment_intents"]) == 1


def test_a_second_payment_intent_is_cancelled_and_only_the_recorded_one_counts(here: World) -> None:
    booking = here.book()
    recorded = here.create_intent(booking)
    prepared = {**here.prepare(booking), "idempotency_key": "another"}
    second = here.gateway.create_payment_intent(prepared)["id"]
    assert here.record(booking, second)["is_live"] is False
    here.drain()
    assert here.intent(second)["status"] == "canceled"
    assert here.intent(recorded)["status"] == "requires_payment_method"
    here.assert_books_equal()


def test_a_hold_that_lapsed_cannot_be_captured_and_the_booking_ends(here: World) -> None:
    booking = here.authorized()
    command = here.confirm(booking)
    here.control.lapse(booking.intent, cancel=False)
    assert here.mirror.run(command) == "done"
    assert here.command(command)["outcome"] == "refused"
    row = here.booking(booking)
    assert (row["status"], row["cancelled_by"]) == ("cancelled", "system")
    assert here.payment(booking)["status"] == "cancelled"
    here.drain()
    here.assert_books_equal()


def test_a_release_that_comes_after_somebody_captured_becomes_a_refund(here: World) -> None:
    booking = here.authorized()
    command = here.confirm(booking, "decline")
    here.customer.v1.payment_intents.capture(booking.intent)
    assert here.mirror.run(command) == "done"
    assert here.command(command)["outcome"] == "refused"
    here.drain()
    assert here.payment(booking)["status"] == "refunded"
    here.assert_books_equal()


def test_a_refund_that_somebody_made_before_us_leaves_a_dead_command_and_true_books(here: World) -> None:
    booking = here.captured()
    here.customer.v1.refunds.create({"payment_intent": booking.intent})
    command = here.cancel(booking)
    assert here.mirror.run(command) == "pending"
    assert here.command(command)["status"] == "dead"
    assert here.alerts() == ["command_dead"]
    here.drain()
    assert here.payment(booking)["status"] == "refunded"
    here.assert_books_equal()


def test_capture_in_flight_while_the_student_cancels_ends_in_equal_books(here: World) -> None:
    booking = here.authorized(hours=10)
    command = here.confirm(booking)
    here.control.barrier("capture", when="after", path_regex=PATHS["capture"])
    assert here.mirror.run(command, wait=0) == "pending"
    here.control.wait_barrier("capture")
    here.cancel(booking)
    here.control.release_barrier("capture")
    here.mirror.close()
    here.drain(here.new_mirror())
    payment = here.payment(booking)
    assert (payment["status"], payment["amount_refunded"]) == ("partially_refunded", PRICE // 2)
    assert here.effects(PATHS["refund"]) == 1
    here.assert_books_equal()
