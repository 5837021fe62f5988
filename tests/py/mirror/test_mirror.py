"""Who runs a command, who waits for it, and what happens when one of them goes away."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from glue.mirror import Mirror
from tests.py.mirror.world import PRICE, World

CAPTURE = r"/capture$"
REFUND = r"/refunds$"
DROPS = 4
"""Our three tries, and libcurl's second one where it had kept a connection."""


def decided(here: World) -> UUID:
    """A capture that Stripe has to be told of."""
    return here.confirm(here.authorized())


def test_without_a_command_there_is_nothing_to_wait_for(here: World) -> None:
    assert here.mirror.run(None) == "done"


def test_a_command_is_carried_out_while_the_caller_waits(here: World) -> None:
    booking = here.authorized()
    command = here.confirm(booking)
    assert here.mirror.run(str(command)) == "done"
    assert here.payment(booking)["status"] == "captured"
    here.assert_books_equal()


def test_a_command_that_is_done_is_not_run_again(here: World) -> None:
    command = decided(here)
    assert here.mirror.run(command) == "done"
    assert here.mirror.run(command) == "done"
    assert here.effects(CAPTURE) == 1


def test_an_unknown_command_is_pending(here: World) -> None:
    assert here.mirror.run(uuid4()) == "pending"


def test_a_caller_who_does_not_wait_gets_pending_and_the_result_is_recorded_all_the_same(here: World) -> None:
    command = decided(here)
    here.control.barrier("capture", path_regex=CAPTURE)
    assert here.mirror.run(command, wait=0) == "pending"
    here.control.wait_barrier("capture")
    assert here.command(command)["status"] == "running"
    here.control.release_barrier("capture")
    here.mirror.close()
    assert here.command(command)["status"] == "done"
    here.assert_books_equal()


def test_no_transaction_is_open_while_stripe_is_called(here: World) -> None:
    command = decided(here)
    here.control.barrier("capture", path_regex=CAPTURE)
    here.mirror.run(command, wait=0)
    here.control.wait_barrier("capture")
    rows = here.sql.execute(
        "select state, xact_start from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
    ).fetchall()
    assert rows
    assert {(row["state"], row["xact_start"]) for row in rows} == {("idle", None)}
    here.control.release_barrier("capture")


def test_worker_and_server_at_the_same_command_run_it_once(here: World) -> None:
    command = decided(here)
    here.control.barrier("capture", path_regex=CAPTURE)
    assert here.mirror.run(command, wait=0) == "pending"
    here.control.wait_barrier("capture")
    other = here.new_mirror()
    assert other.claim_due(limit=10, min_age=0) == []
    assert other.run(command) == "pending"
    here.control.release_barrier("capture")
    here.mirror.close()
    assert other.run(command) == "done"
    assert [row["applied"] for row in here.control.requests(path=CAPTURE)] == [True]
    here.assert_books_equal()


def test_when_everybody_runs_a_command_at_once_it_runs_once(here: World) -> None:
    command = decided(here)
    mirrors = [here.new_mirror() for _ in range(8)]
    start = threading.Barrier(8)

    def go(mirror: Mirror) -> None:
        start.wait()
        mirror.run(command)

    threads = [threading.Thread(target=go, args=(mirror,)) for mirror in mirrors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    here.drain()
    assert len(here.control.requests(path=CAPTURE)) == 1
    assert here.command(command)["attempts"] == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lease_that_is_lost_during_the_call_leaves_one_effect(here: World, when: str) -> None:
    """The second one sends the same key while the first waits for its answer, before or after the effect."""
    command = decided(here)
    here.control.barrier("capture", when=when, path_regex=CAPTURE)
    assert here.mirror.run(command, wait=0) == "pending"
    here.control.wait_barrier("capture")
    here.lapse_leases()
    second = here.new_mirror()
    assert second.run(command) == ("pending" if when == "before" else "done")
    here.control.release_barrier("capture")
    here.mirror.close()
    here.drain(second)
    assert here.effects(CAPTURE) == 1
    assert here.command(command)["outcome"] == "applied"
    keys = {row["idempotency_key"] for row in here.control.requests(path=CAPTURE)}
    assert keys == {str(command)}
    here.assert_books_equal()


def test_whoever_lost_the_lease_says_done_when_another_one_did_it(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    command = decided(here)
    (claim,) = here.mirror.claim_due(limit=1, min_age=0)
    here.lapse_leases()
    assert here.new_mirror().run(command) == "done"
    with caplog.at_level(logging.WARNING):
        assert here.mirror.run_claimed(claim) == "done"
    assert "the lease of a command was lost before its outcome was recorded" in caplog.messages
    assert here.effects(CAPTURE) == 1


def test_with_every_thread_taken_a_command_is_left_to_the_worker(here: World) -> None:
    first, second = decided(here), decided(here)
    narrow = here.new_mirror(threads=1)
    here.control.barrier("capture", path_regex=CAPTURE)
    assert narrow.run(first, wait=0) == "pending"
    here.control.wait_barrier("capture")
    assert narrow.run(second) == "pending"
    assert here.command(second)["attempts"] == 0
    here.control.release_barrier("capture")
    narrow.close()
    here.drain()
    assert here.effects(CAPTURE) == 2


def test_after_closing_nothing_new_is_begun(here: World) -> None:
    command = decided(here)
    here.mirror.close()
    assert here.mirror.run(command) == "pending"
    assert here.command(command)["status"] == "pending"


def test_a_busy_gateway_gives_the_claim_back(here: World) -> None:
    first, second = decided(here), decided(here)
    mirror = here.new_mirror(here.new_gateway(max_concurrent=1))
    here.control.barrier("capture", path_regex=CAPTURE)
    assert mirror.run(first, wait=0) == "pending"
    here.control.wait_barrier("capture")
    assert mirror.run(second) == "pending"
    row = here.command(second)
    assert (row["status"], row["attempts"], row["key_generation"]) == ("pending", 0, 1)
    here.control.release_barrier("capture")
    mirror.close()
    here.drain()
    assert here.effects(CAPTURE) == 2
    here.assert_books_equal()


def test_a_fault_of_ours_is_logged_and_the_same_key_is_kept(
    here: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = decided(here)

    def broken(command: Any) -> Any:
        raise KeyError("oops")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(here.gateway, "execute", broken)
        assert here.mirror.run(command) == "pending"
    assert caplog.records[0].exc_info
    row = here.command(command)
    assert (row["status"], row["key_generation"]) == ("pending", 1)
    assert row["last_error"] == {"type": "internal_error", "message": "KeyError"}
    here.drain()
    assert here.effects(CAPTURE) == 1


def test_a_database_that_is_away_while_recording_leaves_it_to_the_lease(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    command = decided(here)
    mirror = here.new_mirror(db=here.new_db(acquire_timeout=0.5))
    here.control.barrier("capture", when="after", path_regex=CAPTURE)
    with caplog.at_level(logging.ERROR), here.away() as back:
        assert mirror.run(command, wait=0) == "pending"
        here.control.wait_barrier("capture")
        back.cut()
        here.control.release_barrier("capture")
        mirror.close()
    assert "the outcome of a command could not be recorded" in caplog.messages
    assert here.command(command)["status"] == "running"
    here.lapse_leases()
    here.drain(here.new_mirror())
    assert here.command(command)["outcome"] == "applied"
    assert here.effects(CAPTURE) == 1
    assert {row["idempotency_key"] for row in here.control.requests(path=CAPTURE)} == {str(command)}
    here.assert_books_equal()


def test_a_database_that_is_away_while_claiming_is_pending(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    command = decided(here)
    db = here.new_db(acquire_timeout=0.5)
    db.scalar("select * from booking.clock()", {})
    mirror = here.new_mirror(db=db)
    with caplog.at_level(logging.ERROR), here.away() as back:
        back.cut()
        assert mirror.run(command, wait=30) == "pending"
    assert "a command could not be claimed, left to the worker" in caplog.messages
    here.drain()
    assert here.effects(CAPTURE) == 1


def test_recording_that_meets_a_lock_is_tried_again(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    command = decided(here)
    one = here.db.one
    failures = [psycopg.errors.DeadlockDetected(), psycopg.errors.LockNotAvailable()]

    def sometimes(query: Any, params: Any = None) -> Any:
        if "complete_stripe_command" in query and failures:
            raise failures.pop()
        return one(query, params)

    monkeypatch.setattr(here.db, "one", sometimes)
    assert here.mirror.run(command) == "done"
    assert failures == []


def test_a_lease_must_outlast_a_call(here: World) -> None:
    with pytest.raises(ValueError, match="lease"):
        here.new_mirror(lease=timedelta(seconds=30))


class TestOlderThanADay:
    """Stripe has forgotten the key, so the same key would act a second time."""

    def lost_refund(self, here: World) -> UUID:
        """Half of the money was given back, the answer was lost, and nobody looked for a day."""
        command = here.cancel(here.captured(hours=10))
        here.control.fault("apply_then_drop", times=DROPS, path_regex=REFUND, method="POST")
        assert here.mirror.run(command) == "pending"
        assert here.effects(REFUND) == 1
        here.sql.execute(
            "update booking.stripe_commands set created_at = created_at - interval '25 hours' where id = %s",
            (command,),
        )
        here.control.advance(hours=25)
        here.delivered = 10_000  # the event does not help either
        return command

    def test_a_refund_is_looked_for_by_its_command_id_before_it_is_sent_again(self, here: World) -> None:
        command = self.lost_refund(here)
        here.drain()
        assert here.effects(REFUND) == 1
        assert here.command(command)["outcome"] == "applied"
        here.assert_books_equal()

    def test_without_that_look_the_money_would_be_given_back_twice(self, here: World) -> None:
        """The negative control: a gateway whose clock says that the command is young."""
        self.lost_refund(here)
        young = here.new_gateway(now=lambda: datetime.now(UTC) - timedelta(hours=25))
        here.drain(here.new_mirror(young))
        assert here.effects(REFUND) == 2

    def test_so_is_one_that_a_restored_database_takes_for_never_sent(self, here: World) -> None:
        command = self.lost_refund(here)
        here.sql.execute("update booking.stripe_commands set attempts = 0, last_error = null")
        here.drain()
        assert here.effects(REFUND) == 1
        assert here.command(command)["outcome"] == "applied"
        here.assert_books_equal()

    def test_a_command_without_effect_is_sent_and_has_one(self, here: World) -> None:
        booking = here.captured(hours=10)
        command = here.cancel(booking)
        here.control.fault("drop", times=DROPS, path_regex=REFUND, method="POST")
        assert here.mirror.run(command) == "pending"
        here.sql.execute("update booking.stripe_commands set created_at = created_at - interval '25 hours'")
        here.control.advance(hours=25)
        here.drain()
        assert here.effects(REFUND) == 1
        assert here.payment(booking)["amount_refunded"] == PRICE // 2
        here.assert_books_equal()


def test_a_refund_that_was_lost_is_found_among_others(here: World) -> None:
    booking = here.captured(hours=10)
    here.customer.v1.refunds.create({"payment_intent": booking.intent, "amount": 100})
    here.deliver()
    command = here.cancel(booking)
    here.control.fault("apply_then_500", path_regex=REFUND, method="POST")
    here.mirror.run(command)
    here.drain()
    assert here.command(command)["outcome"] == "applied"
    assert here.payment(booking)["amount_refunded"] == PRICE // 2
    assert len(here.intent(booking.intent)["refunds"]) == 2
    here.assert_books_equal()


def test_without_the_look_at_its_metadata_a_lost_refund_would_be_made_twice(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the one before."""
    command = here.cancel(here.captured(hours=10))
    monkeypatch.setattr(here.gateway, "_find_refund", lambda command: None)
    here.control.fault("apply_then_500", path_regex=REFUND, method="POST")
    here.mirror.run(command)
    here.drain()
    assert here.effects(REFUND) == 2


def test_stripes_retry_after_is_kept_by_the_outbox(here: World) -> None:
    command = decided(here)
    here.control.fault("429", path_regex=CAPTURE, retry_after=300)
    assert here.mirror.run(command) == "pending"
    row = here.sql.execute(
        "select run_at - now() > interval '290 s' as later from booking.stripe_commands"
    ).fetchone()
    assert row == {"later": True}
    assert len(here.control.requests(path=CAPTURE)) == 1


def test_a_command_that_a_webhook_looks_at_is_claimed_a_moment_later(here: World) -> None:
    command = decided(here)
    asked = []
    with psycopg.connect(here.url) as looking:
        looking.execute("select from booking.stripe_commands where id = %s for no key update", [command])

        class Letting(Mirror):
            """The webhook's transaction ends after our first claim."""

            def _status(self, command_id: str) -> str | None:
                looking.commit()
                asked.append(command_id)
                return super()._status(command_id)

        mirror = Letting(here.db, here.gateway, "hasty")
        assert mirror.run(command, wait=30) == "done"
        mirror.close()
    assert asked == [str(command)]
    assert here.effects(CAPTURE) == 1
