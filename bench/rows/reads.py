"""Statistics and lists: flat, however many bookings there are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.drive import Sample, pgbench
from bench.measure import Row, Size
from bench.plans import require_plans
from bench.stage import Database, Stage

STUDENTS = 20_000
STATS = "select * from booking.get_booking_stats()"
LOOK_UP = "select * from booking.bookings b where b.id = bench.booking_id(:n)"
BOOKINGS = "select * from booking.list_bookings('student-' || (:n::bigint % :students::bigint))"
BOOKINGS_FLOOR = """select * from booking.bookings b
  where b.student_id = 'student-' || (:n::bigint % :students::bigint)
  order by b.id desc limit 50"""
SLOTS = "select * from booking.list_open_slots(now(), now() + interval '29 days')"
SLOTS_FLOOR = """select * from booking.slots s where s.starts_at >= now()
  and s.starts_at < now() + interval '29 days' order by s.starts_at, s.id limit 100"""


def rows(stage: Stage, size: Size) -> Iterator[Row]:
    """At a thousandth, a tenth and all of the largest number of bookings."""
    smallest, middle, largest = (
        stage.shop(bookings, pending=size.group * size.groups, groups=size.groups)
        for bookings in (size.smallest, size.largest // 10, size.largest)
    )
    calls = max(64, size.calls // 4)
    for database in (middle, largest):
        yield Row(
            name=f"stats-{_count(database)}",
            title=f"get_booking_stats() at {_count(database):,} bookings",
            floor_title=f"the same at {_count(smallest):,}",
            floor=partial(_read, smallest, STATS, calls, "booking_dba"),
            ours=partial(_read, database, STATS, calls, "booking_dba"),
            target=0.67,
        )
    yield Row(
        name="stats-look-up",
        title=f"get_booking_stats() at {_count(largest):,} bookings",
        floor_title="a look-up by the primary key",
        floor=partial(_read, largest, LOOK_UP, calls, "booking_owner"),
        ours=partial(_read, largest, STATS, calls, "booking_dba"),
        target=None,
    )
    for name, script, floor in (("bookings", BOOKINGS, BOOKINGS_FLOOR), ("open_slots", SLOTS, SLOTS_FLOOR)):
        yield Row(
            name=f"list-{name}",
            title=f"list_{name} at {_count(largest):,} bookings",
            floor_title="an index scan of the same page",
            floor=partial(_read, largest, floor, calls, "booking_owner"),
            ours=partial(_read, largest, script, calls, "booking_app"),
            target=0.50,
            check=partial(require_plans, largest, few_rows=size.largest < 1_000_000),
        )


def _count(database: Database) -> int:
    return int(database.value("select sum(h.quantity) from booking.stat_hours h where h.metric = 'booked'"))


def _read(database: Database, script: str, calls: int, role: str, _number: int) -> Sample:
    return pgbench(database, script, clients=8, calls=calls, variables={"students": STUDENTS}, role=role)
