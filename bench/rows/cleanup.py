"""cleanup_expired_bookings, committing between batches: its speed, and how long who books meanwhile waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import psycopg

from bench.drive import Sample, pgbench
from bench.measure import Row, Size
from bench.stage import Database, Stage

BATCH = 100
"""What run_maintenance() takes."""
CLASS = 999_999_999_999
"""Its number."""
LIMIT_MS = 20
RATE = 400
"""Bookings a second that are made meanwhile."""
CREATE = "select * from booking.create_booking_transaction('student-' || :n, bench.slot_id({}))"
BARE = """
with cancelled as (
  update booking.bookings b
  set status = 'cancelled', cancelled_by = 'system', cancellation_reason = 'expired', refund_percent = 100,
    closed_at = now()
  where b.status = 'pending' and b.created_at <= now() - interval '30 minutes'
  returning b.id, b.slot_id, b.seat_part, b.created_at, b.scheduled_at
), freed as (
  update booking.slot_seats q set taken = q.taken - 1, is_open = true
  from cancelled c where q.slot_id = c.slot_id and q.part = c.seat_part
), audited as (
  insert into booking.booking_events (booking_id, from_status, to_status, actor, reason)
  select c.id, 'pending', 'cancelled', 'system', 'expired' from cancelled c
)
insert into booking.stat_deltas (metric, at, quantity, amount)
select 'expired'::booking.stat_metric, date_trunc('hour', c.created_at, 'UTC'), count(*), 0
from cancelled c group by 2
union all
select 'seats', date_trunc('hour', c.scheduled_at, 'UTC'), -count(*), count(*) from cancelled c group by 2"""


def rows(stage: Stage, size: Size) -> Iterator[Row]:
    """A tenth of the bookings has expired; then the same number of rows in a small and a large table."""
    expired = size.bookings // 10
    database = stage.database()
    database.load_shop(size.bookings, pending=expired)
    yield Row(
        name="cleanup",
        title=f"cleanup of {expired:,} expired among {size.bookings:,}, in batches of {BATCH}",
        floor_title="one bare statement with the same writes",
        floor=lambda _: _timed(stage, database, expired, bare=True),
        ours=lambda _: _timed(stage, database, expired, bare=False),
        target=0.30,
    )
    database.drop()
    yield from _meanwhile(stage, size)
    yield _flat(stage, size)


def _flat(stage: Stage, size: Size) -> Row:
    """As many rows a round among ten thousand bookings as among all: a group of them has expired by then."""
    small, large = (
        stage.shop(bookings, pending=size.group * size.groups, groups=size.groups)
        for bookings in (size.smallest, size.largest)
    )
    return Row(
        name="cleanup-flat",
        title=f"cleanup of {size.group:,} expired among {size.largest:,}",
        floor_title=f"the same among {size.smallest:,}",
        floor=lambda number: _clean_group(small, number, size.groups, size.group),
        ours=lambda number: _clean_group(large, number, size.groups, size.group),
        target=0.83,
        check=small.require_sound,
    )


def _meanwhile(stage: Stage, size: Size) -> Iterator[Row]:
    """The rate is one booking after another, each waiting as long as the hundredth of all that waits longest:
    20 ms are 50 a second. Holds of slots expire and other slots are booked, then holds of the same class."""
    groups = size.rounds + 1
    each = max(100, size.bookings // 40)
    slots = stage.database()
    slots.load_shop(2 * each * groups, pending=each * groups, groups=groups)
    popular = stage.database()
    popular.load(
        f"call bench.load_class({CLASS}, {min(1_000_000, 4 * each * groups)})",
        f"call bench.load_class_holds({CLASS}, now(), {each * groups}, {groups})",
    )
    for name, title, database, script in (
        ("slots", "other slots are booked", slots, CREATE.format(":n")),
        ("class", "the same class is booked", popular, CREATE.format(CLASS)),
    ):
        yield Row(
            name=f"cleanup-meanwhile-{name}",
            title=f"1 s / p99 of a booking, {RATE} a second, while cleanup runs: {title}",
            floor_title=f"1 s / {LIMIT_MS} ms",
            floor=lambda _: Sample(1000 / LIMIT_MS),
            ours=partial(_booked_meanwhile, database, script, each, groups),
            target=1.0,
            check=database.require_sound,
        )
    slots.drop()
    popular.drop()


def _booked_meanwhile(database: Database, script: str, each: int, groups: int, number: int) -> Sample:
    """What was booked after the cleanup's end does not count."""
    cleaned_at: list[float] = []

    def clean() -> None:
        _clean_group(database, number, groups, each)
        cleaned_at.append(time.time())

    calls = max(64, each // 8)
    with ThreadPoolExecutor(1) as pool:
        cleaning = pool.submit(clean)
        sample = pgbench(
            database,
            script,
            clients=8,
            calls=calls,
            variables={"first": each * groups + number * calls},
            rate=RATE,
            keep=lambda at: not cleaned_at or at <= cleaned_at[0],
            wait=cleaning.result,
        )
    return replace(sample, rate=1000 / sample.p99_ms)


def _clean_group(database: Database, number: int, groups: int, each: int) -> Sample:
    """The group of this round; those before have gone."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("set role booking_owner")
        begin = time.perf_counter()
        _clean(connection, f"{(groups - number) * 24 - 12} hours", each)
        return Sample(each / (time.perf_counter() - begin))


def _timed(stage: Stage, loaded: Database, expired: int, *, bare: bool) -> Sample:
    """On a copy: every round cleans the same."""
    database = stage.database(template=loaded.name)
    try:
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute("checkpoint")
            connection.execute("set role booking_owner")
            begin = time.perf_counter()
            if bare:
                connection.execute(BARE.encode())
            else:
                _clean(connection, "30 minutes", expired)
            seconds = time.perf_counter() - begin
        left = database.value("select count(*) from booking.bookings b where b.status = 'pending'")
        if left:
            raise RuntimeError(f"{left} bookings were left")
        return Sample(expired / seconds)
    finally:
        database.drop()


def _clean(connection: psycopg.Connection[tuple[object, ...]], timeout: str, expired: int) -> None:
    """Until so many are cancelled: what somebody was working on is left to a later batch."""
    cleaned, deadline = 0, time.monotonic() + 600
    while cleaned < expired:
        row = connection.execute(
            "select booking.cleanup_expired_bookings(%s, %s)", [BATCH, timeout]
        ).fetchone()
        cleaned += int(str(row[0])) if row else 0
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {cleaned} of {expired} expired bookings were cleaned")
