"""A decision and the claim of its command in one commit, and what follows at Stripe."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import psycopg
import pytest

from glue.mirror import Mirror, Mirrored
from tests.py.mirror.world import Booking, World

CAPTURE = r"/capture$"
CONFIRM = (
    "select * from booking.confirm_booking_transaction(p_expert_id => %(expert)s,"
    " p_booking_id => %(booking)s, p_action => %(action)s)"
)
CANCEL = (
    "select * from booking.cancel_booking_transaction(p_actor_id => %(student)s, p_booking_id => %(booking)s)"
)


def confirm(
    mirror: Mirror, booking: Booking, action: str = "confirm", **options: Any
) -> tuple[dict[str, Any], Mirrored]:
    about = {"expert": booking.expert, "booking": booking.id, "action": action}
    return mirror.decide(CONFIRM, about, **options)


def test_a_decision_is_carried_out_and_what_followed_is_told(here: World) -> None:
    booking = here.authorized()
    row, mirrored = confirm(here.mirror, booking)
    assert isinstance(row["command_id"], UUID)
    assert row == {
        "booking_id": booking.id,
        "status": "confirmed",
        "payment_status": "authorized",
        "command_id": row["command_id"],
    }
    assert mirrored == Mirrored(
        "done", {"booking_id": booking.id, "status": "confirmed", "payment_status": "captured"}
    )
    [request] = here.control.requests(path=CAPTURE)
    assert request["idempotency_key"] == str(row["command_id"])
    assert here.command(row["command_id"])["attempts"] == 1
    here.assert_books_equal()


def test_the_command_is_claimed_in_the_commit_of_the_decision(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    booking = here.authorized()
    other = here.new_mirror()
    one = here.db.one
    claims, states = [], []

    def spied(query: Any, params: Any = None) -> Any:
        row = one(query, params)
        if "confirm_booking_transaction" in query:
            claims.extend(other.claim_due(limit=10, min_age=0))
            states.extend(here.sql.execute("select status from booking.stripe_commands").fetchall())
        return row

    monkeypatch.setattr(here.db, "one", spied)
    assert confirm(here.mirror, booking)[1].state == "done"
    assert (claims, states) == ([], [{"status": "running"}])


def test_no_transaction_is_open_while_stripe_is_called(here: World) -> None:
    booking = here.authorized()
    here.control.barrier("capture", path_regex=CAPTURE)
    assert confirm(here.mirror, booking, wait=0)[1] == Mirrored("pending")
    here.control.wait_barrier("capture")
    rows = here.sql.execute(
        "select state, xact_start from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
    ).fetchall()
    assert {(row["state"], row["xact_start"]) for row in rows} == {("idle", None)}
    here.control.release_barrier("capture")


def test_what_is_refused_raises_and_takes_no_thread(here: World) -> None:
    booking = here.authorized()
    narrow = here.new_mirror(threads=1)
    for _ in range(2):
        with pytest.raises(psycopg.Error) as refused:
            confirm(narrow, booking, "perhaps")
        assert refused.value.sqlstate == "PT400"
    assert confirm(narrow, booking)[1].state == "done"


def test_a_decision_without_a_command_is_done_and_takes_no_thread(here: World) -> None:
    narrow = here.new_mirror(threads=1)
    for _ in range(2):
        row, mirrored = confirm(narrow, here.book(), "decline")
        assert (row["command_id"], mirrored) == (None, Mirrored("done"))
    assert confirm(narrow, here.authorized())[1].state == "done"


def test_with_every_thread_taken_it_is_decided_all_the_same_and_left_to_the_worker(here: World) -> None:
    first, second = here.authorized(), here.authorized()
    narrow = here.new_mirror(threads=1)
    here.control.barrier("capture", path_regex=CAPTURE)
    confirm(narrow, first, wait=0)
    here.control.wait_barrier("capture")
    row, mirrored = confirm(narrow, second)
    assert (row["status"], mirrored) == ("confirmed", Mirrored("pending"))
    assert (here.command(row["command_id"])["status"], here.command(row["command_id"])["attempts"]) == (
        "pending",
        0,
    )
    here.control.release_barrier("capture")
    narrow.close()
    here.drain()
    assert here.effects(CAPTURE) == 2


def test_what_a_process_has_claimed_when_it_dies_is_done_when_the_lease_has_run_out(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    booking = here.authorized()
    with monkeypatch.context() as patch:
        patch.setattr(here.mirror, "_carry_out", lambda _: Mirrored("pending"))  # it gets no further
        row, mirrored = confirm(here.mirror, booking)
    assert (row["status"], mirrored) == ("confirmed", Mirrored("pending"))
    other = here.new_mirror()
    here.drain(other)
    assert here.effects(CAPTURE) == 0
    here.lapse_leases()
    here.drain(other)
    assert here.effects(CAPTURE) == 1
    assert here.command(row["command_id"])["outcome"] == "applied"
    here.assert_books_equal()


def test_what_a_closing_process_has_claimed_is_given_back(here: World) -> None:
    booking = here.authorized()
    here.mirror.close()
    row, mirrored = confirm(here.mirror, booking)
    assert (row["status"], mirrored) == ("confirmed", Mirrored("pending"))
    command = here.command(row["command_id"])
    assert (command["status"], command["attempts"], command["locked_by"]) == ("pending", 0, None)
    here.drain(here.new_mirror())
    assert here.effects(CAPTURE) == 1
    here.assert_books_equal()


def test_what_cannot_be_given_back_waits_for_the_lease(
    here: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise psycopg.OperationalError

    booking = here.authorized()
    here.mirror.close()
    with monkeypatch.context() as patch:
        patch.setattr(here.mirror, "_fail", away)
        row, mirrored = confirm(here.mirror, booking)
    assert mirrored == Mirrored("pending")
    assert "a command was not given back" in caplog.messages
    assert here.command(row["command_id"])["status"] == "running"


def test_an_orders_command_tells_of_no_booking(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one = here.db.one

    def no_booking(query: Any, params: Any = None) -> Any:
        row = one(query, params)
        if "get_command_booking" in query and row:
            row = {**row, "booking_id": None, "status": None, "payment_status": None}
        return row

    monkeypatch.setattr(here.db, "one", no_booking)
    assert confirm(here.mirror, here.authorized())[1] == Mirrored("done")


def test_a_command_of_before_that_somebody_has_is_left_to_him(here: World) -> None:
    """The capture is under way when the booking is cancelled: what then has to be known is the capture."""
    booking = here.authorized()
    here.control.barrier("capture", path_regex=CAPTURE)
    row, _ = confirm(here.mirror, booking, wait=0)
    here.control.wait_barrier("capture")
    narrow = here.new_mirror(threads=1)
    cancelled, mirrored = narrow.decide(CANCEL, {"student": booking.student, "booking": booking.id})
    assert (cancelled["command_id"], mirrored) == (row["command_id"], Mirrored("pending"))
    here.control.release_barrier("capture")
    here.mirror.close()
    here.drain(narrow)
    assert here.payment(booking)["status"] == "refunded"
    here.assert_books_equal()


def test_whoever_lost_the_lease_tells_no_statuses_but_that_it_is_done(here: World) -> None:
    booking = here.authorized()
    here.control.barrier("capture", when="after", path_regex=CAPTURE)
    answers: list[Mirrored] = []
    thread = threading.Thread(target=lambda: answers.append(confirm(here.mirror, booking, wait=30)[1]))
    thread.start()
    here.control.wait_barrier("capture")
    here.lapse_leases()
    other = here.new_mirror()
    here.drain(other)
    here.control.release_barrier("capture")
    thread.join()
    assert answers == [Mirrored("done")]
    assert here.effects(CAPTURE) == 1
