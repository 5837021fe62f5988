"""booking.run_maintenance(): everything in batches, committing between them, whatever fails."""

from __future__ import annotations

import json
import re
from typing import Any

import psycopg
import pytest

from tests.conftest import Connect

Connection = psycopg.Connection[Any]

MAINTENANCE_REQUEST = r"maintenance-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"

OVERDUE = """
insert into booking.bookings (id, slot_id, session_id, student_id, expert_id, payment_id, seat_part,
  confirmation, currency, amount, scheduled_at, ends_at, created_at)
select booking.new_id(p_near => s.id), s.id, s.session_id, 'student-' || n, s.expert_id,
  booking.new_id(p_near => s.id), 0, 'expert',
  'usd', 5000, s.starts_at, s.ends_at, now() - interval '1 hour'
from booking.slots s, generate_series(1, %(n)s) n
"""


def one(conn: Connection, query: str) -> Any:
    row = conn.execute(query).fetchone()
    return next(iter(row.values())) if row else None


def overdue_bookings(conn: Connection, n: int) -> None:
    """n pending bookings of one big slot, an hour old, with the books in order."""
    conn.execute("insert into booking.experts (expert_id) values ('expert')")
    conn.execute(
        "select booking.publish_slot('expert', booking.create_session('expert', 'x', 5000, 'usd'),"
        " now() + interval '3 days', now() + interval '4 days', 16)"
    )
    conn.execute("set session_replication_role = replica")
    conn.execute("update booking.slot_seats set capacity = %(n)s, taken = %(n)s, is_open = false", {"n": n})
    conn.execute("update booking.slots set capacity = %(n)s", {"n": n})
    conn.execute(OVERDUE, {"n": n})
    conn.execute("delete from booking.stat_deltas")
    conn.execute(
        "insert into booking.stat_deltas (metric, at, quantity)"
        " select m::booking.stat_metric, date_trunc('hour', now()), %(n)s"
        " from unnest(array['booked', 'seats', 'slots']) m",
        {"n": n},
    )
    conn.execute("set session_replication_role = origin")
    assert conn.execute("select * from booking.check_invariants()").fetchall() == []


def break_part(conn: Connection, name: str, message: str) -> None:
    """Replace the body of a part by one that fails."""
    definition = one(conn, f"select pg_get_functiondef('booking.{name}'::regproc)")
    head, _, _ = definition.partition("AS $function$")
    conn.execute(head + f"AS $function$ begin raise exception '{message}'; end $function$")


def test_it_does_every_part(connect: Connect) -> None:
    owner, cron = connect(), connect("booking_cron")
    overdue_bookings(owner, 3)
    owner.execute(
        "insert into booking.client_idempotency"
        " (scope, user_id, idempotency_key, request_hash, result_id, expires_at)"
        " values ('booking', 'anna', 'old', '\\x', gen_random_uuid(), '2020-01-01')"
    )
    owner.execute(
        "insert into booking.webhook_events (stripe_event_id, event_type, status, payload, received_at)"
        " values ('evt_1', 'x', 'ignored', '{}', now() - interval '8 days')"
    )
    orphan = one(
        owner,
        "select booking.publish_slot('other', null, now() + interval '1 day', now() + interval '2 days')",
    )
    owner.execute("update booking.slot_seats set taken = 1 where slot_id = %s", (orphan,))

    cron.execute("call booking.run_maintenance()")

    assert one(owner, "select count(*) from booking.bookings where cancellation_reason = 'expired'") == 3
    assert one(owner, "select sum(taken) from booking.slot_seats") == 0
    assert one(owner, "select count(*) from booking.client_idempotency") == 0
    assert one(owner, "select count(*) from booking.webhook_events") == 0
    assert one(owner, "select count(*) from booking.webhook_events_archive") == 1
    assert one(owner, "select count(*) from booking.stat_deltas") == 0


@pytest.mark.parametrize("given", [None, "job-7"])
def test_what_one_run_did_is_under_one_request_id_in_the_audit_trail(
    connect: Connect, given: str | None
) -> None:
    owner, cron = connect(), connect("booking_cron")
    overdue_bookings(owner, 150)
    if given:
        cron.execute("select set_config('booking.request_id', %s, false)", (given,))

    cron.execute("call booking.run_maintenance()")

    [row] = owner.execute(
        "select e.request_id, count(*) from booking.booking_events e"
        " where e.to_status = 'cancelled' group by 1"
    ).fetchall()
    assert row["count"] == 150
    assert row["request_id"] == given if given else re.fullmatch(MAINTENANCE_REQUEST, row["request_id"])
    assert one(cron, "select current_setting('booking.request_id', true)") == (given or "")


def test_it_leaves_the_books_in_order(connect: Connect) -> None:
    owner, cron = connect(), connect("booking_cron")
    overdue_bookings(owner, 250)

    cron.execute("call booking.run_maintenance()")

    assert owner.execute("select * from booking.check_invariants()").fetchall() == []
    assert one(owner, "select sum(taken) from booking.slot_seats") == 0


def test_bookings_expire_after_the_time_that_the_installation_has_set(connect: Connect) -> None:
    owner, cron = connect(), connect("booking_cron")
    overdue_bookings(owner, 3)
    owner.execute("update booking.settings set booking_timeout = '2 hours'")

    cron.execute("call booking.run_maintenance()")
    assert one(owner, "select count(*) from booking.bookings where cancellation_reason = 'expired'") == 0

    owner.execute("update booking.settings set booking_timeout = '1 hour'")
    cron.execute("call booking.run_maintenance()")
    assert one(owner, "select count(*) from booking.bookings where cancellation_reason = 'expired'") == 3


def test_each_batch_is_a_commit_of_its_own(connect: Connect) -> None:
    owner, cron = connect(), connect("booking_cron")
    overdue_bookings(owner, 250)

    cron.execute("call booking.run_maintenance()")

    batches = owner.execute(
        "select xmin::text, count(*) as n from booking.booking_events group by 1 order by 2"
    ).fetchall()
    assert [batch["n"] for batch in batches] == [50, 100, 100]


def test_what_was_done_before_a_kill_stays(connect: Connect) -> None:
    """The second part waits for a lock; by then the first has committed."""
    owner, blocker, cron = connect(), connect(autocommit=False), connect("booking_cron")
    overdue_bookings(owner, 3)
    blocker.execute("lock table booking.client_idempotency in access exclusive mode")
    cron.execute("set lock_timeout = '100ms'")

    with pytest.raises(psycopg.Error) as refused:
        cron.execute("call booking.run_maintenance()")

    assert refused.value.sqlstate == "PT500"
    assert one(owner, "select count(*) from booking.bookings where cancellation_reason = 'expired'") == 3
    assert json.loads(refused.value.diag.message_detail or "") == {
        "clean_expired_idempotency_keys": "canceling statement due to lock timeout"
    }
    blocker.rollback()


@pytest.mark.parametrize(
    "part",
    [
        "cleanup_expired_bookings",
        "complete_past_bookings",
        "cleanup_orphaned_slots",
        "retry_failed_webhooks",
        "cleanup_old_webhook_events",
        "archive_old_bookings",
        "clean_expired_idempotency_keys",
        "clean_expired_locks",
        "expire_lost_orders",
        "roll_up_stats",
    ],
)
def test_a_part_that_fails_does_not_stop_the_others(connect: Connect, part: str) -> None:
    owner, cron = connect(), connect("booking_cron")
    overdue_bookings(owner, 3)
    break_part(owner, part, "broken on purpose")

    with pytest.raises(psycopg.Error) as failed:
        cron.execute("call booking.run_maintenance()")

    assert failed.value.sqlstate == "PT500"
    assert failed.value.diag.message_primary == "maintenance_failed"
    assert json.loads(failed.value.diag.message_detail or "") == {part: "broken on purpose"}
    assert failed.value.diag.message_hint
    expired = one(owner, "select count(*) from booking.bookings where cancellation_reason = 'expired'")
    assert expired == (0 if part == "cleanup_expired_bookings" else 3)
    left = one(owner, "select count(*) from booking.stat_deltas")
    assert (left == 0) == (part != "roll_up_stats")


def test_all_failures_are_reported_together(connect: Connect) -> None:
    owner, cron = connect(), connect("booking_cron")
    for part in ("archive_old_bookings", "complete_past_bookings"):
        break_part(owner, part, f"no {part}")

    with pytest.raises(psycopg.Error) as failed:
        cron.execute("call booking.run_maintenance()")

    assert json.loads(failed.value.diag.message_detail or "") == {
        "archive_old_bookings": "no archive_old_bookings",
        "complete_past_bookings": "no complete_past_bookings",
    }


def test_inside_a_transaction_it_refuses_to_work(connect: Connect) -> None:
    cron = connect("booking_cron")
    with pytest.raises(psycopg.errors.InvalidTransactionTermination), cron.transaction():
        cron.execute("call booking.run_maintenance()")
