"""The questions of the hot paths, and the index each must be answered by, however many rows there are."""

from __future__ import annotations

import psycopg

from bench.stage import Database

SLOT = "bench.slot_id(7)"
DUE = "case when b.confirmed_at is not null then b.ends_at else b.created_at end"
QUESTIONS = {
    "slot_seats_pkey": f"select from booking.slot_seats q where q.slot_id = {SLOT} and q.part = 0"
    " for no key update",
    "slots_pkey": f"select s.starts_at from booking.slots s where s.id = {SLOT}",
    "bookings_pkey": "select b.id from booking.bookings b where b.id = bench.booking_id(7) for no key update",
    "bookings_one_live_per_student": f"select b.id from booking.bookings b where b.slot_id = {SLOT}"
    " and b.student_id = 'student-7' and b.status in ('pending', 'confirmed')",
    "bookings_by_student": "select b.* from booking.bookings b where b.student_id = 'student-7'"
    " and b.id < bench.booking_id(999999999999) order by b.id desc limit 50",
    "bookings_by_expert": "select b.* from booking.bookings b where b.expert_id = 'expert-7'"
    " and b.id < bench.booking_id(999999999999) order by b.id desc limit 50",
    "bookings_due": "select b.id from booking.bookings b where b.status = 'pending' and b.closed_at is null"
    f" and {DUE} <= now() order by {DUE} limit 100",
    "stat_hours_by_hour": "select h.metric, h.quantity from booking.stat_hours h"
    " where h.hour >= now() and h.hour < now() + interval '5 hours'",
    "slot_seats_open": "select distinct on (o.starts_at, o.slot_id) o.* from booking.slot_seats o"
    f" where o.is_open and (o.starts_at, o.slot_id) > (now(), {SLOT})"
    " and o.starts_at < now() + interval '40 days' order by o.starts_at, o.slot_id limit 100",
    "slot_seats_open_by_expert": "select distinct on (o.starts_at, o.slot_id) o.* from booking.slot_seats o"
    f" where o.is_open and o.expert_id = 'expert-7' and (o.starts_at, o.slot_id) > (now(), {SLOT})"
    " and o.starts_at < now() + interval '40 days' order by o.starts_at, o.slot_id limit 100",
}


def require_plans(database: Database, *, few_rows: bool) -> None:
    """Raises when a question is not answered by its index. `few_rows`: where reading the whole table or
    sorting would be right, the planner is told not to."""
    wrong = []
    with psycopg.connect(database.url) as connection:
        if few_rows:
            for way in ("seqscan", "bitmapscan", "sort"):
                connection.execute(f"set enable_{way} = off".encode())
        for index, question in QUESTIONS.items():
            lines = connection.execute(b"explain (costs off) " + question.encode()).fetchall()
            plan = "\n".join(str(line[0]) for line in lines)
            if f"using {index} " not in plan or "Sort" in plan.replace("Incremental Sort", ""):
                wrong.append(f"{index}:\n{plan}")
    if wrong:
        raise RuntimeError("not answered by its index: " + "\n".join(wrong))
