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
TIMEOUT = "30 minutes"
LIMIT_MS = 20
RATE = 400
"""Bookings a second that are made meanwhile."""
CREATE = "select * from booking.create_booking_transaction('student-' || :n, bench.slot_id({}))"
BARE = """
with cancelled as (
  update booking.bookings b
  set status = 'cancelled', cancelled_by = 'system', cancellation_reason = 'expired', refund_percent = 100,
    closed_at = now()
  where b.status = 'pending' and b.closed_at is null
    and case when b.confirmed_at is not null then b.ends_at else b.created_at end <= now() - %s::interval
  returning b.id, b.slot_id, b.seat_part, b.created_at, b.scheduled_at
), freed as (
  update booking.slot_seats q set taken = q.taken - 1, is_open = true
  from cancelled c where q.slot_id = c.slot_id and q.part = c.seat_part
), audited as (
  insert into booking.booking_events (booking_id, from_status, to_status, actor, reason)
  select c.id, 'pending', 'cancelled', 'system', 'expired' from cancelled c
), counted as (
  insert into booking.stat_deltas (metric, at, quantity, amount)
  select 'expired'::booking.stat_metric, date_trunc('hour', c.created_at, 'UTC'), count(*), 0
  from cancelled c group by 2
  union all
  select 'seats', date_trunc('hour', c.scheduled_at, 'UTC'), -count(*), count(*) from cancelled c group by 2
)
select count(*) from cancelled"""


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
    yield from _flat(stage, size)


def _flat(stage: Stage, size: Size) -> Iterator[Row]:
    """As many rows a round among ten thousand bookings as among all: a group of them has expired by then. And
    the same of the bare statement, which says how flat it can be. Both begin after a checkpoint, so that each
    page is written to the log as a whole once."""
    groups, each = size.groups, size.group
    small, large = (
        stage.shop(bookings, pending=each * groups, groups=groups)
        for bookings in (size.smallest, size.largest)
    )
    for is_bare in (False, True):
        what = "one bare statement for the cleanup" if is_bare else "cleanup"

        def clean(database: Database, first: int, number: int, *, bare: bool) -> Sample:
            return _clean_group(database, first + number, groups, each, bare=bare)

        first = groups // 2 if is_bare else 0
        large.run("checkpoint")
        yield Row(
            name="cleanup-flat-bare" if is_bare else "cleanup-flat",
            title=f"{what} of {each:,} expired among {size.largest:,}",
            floor_title=f"the same among {size.smallest:,}",
            floor=partial(clean, small, first, bare=is_bare),
            ours=partial(clean, large, first, bare=is_bare),
            target=None if is_bare else 0.83,
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


def _clean_group(database: Database, number: int, groups: int, each: int, *, bare: bool = False) -> Sample:
    """The group of this round; those before have gone. What a connection does once in its life is not
    timed."""
    timeout = f"{(groups - number) * 24 - 12} hours"
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("set role booking_owner")
        if bare:
            connection.execute(b"explain " + BARE.encode(), [timeout])
        else:
            first = min(BATCH, each // 4)
            each -= _clean(connection, timeout, first, batch=first)
        begin = time.perf_counter()
        cleaned = _clean_bare(connection, timeout) if bare else _clean(connection, timeout, each)
        return Sample(cleaned / (time.perf_counter() - begin))


def _timed(stage: Stage, loaded: Database, expired: int, *, bare: bool) -> Sample:
    """On a copy: every round cleans the same."""
    database = stage.database(template=loaded.name)
    try:
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute("checkpoint")
            connection.execute("set role booking_owner")
            begin = time.perf_counter()
            if bare:
                _clean_bare(connection, TIMEOUT)
            else:
                _clean(connection, TIMEOUT, expired)
            seconds = time.perf_counter() - begin
        left = database.value("select count(*) from booking.bookings b where b.status = 'pending'")
        if left:
            raise RuntimeError(f"{left} bookings were left")
        return Sample(expired / seconds)
    finally:
        database.drop()


def _clean_bare(connection: psycopg.Connection[tuple[object, ...]], timeout: str) -> int:
    """All that has expired, in one transaction; how many."""
    row = connection.execute(BARE.encode(), [timeout]).fetchone()
    return int(str(row[0])) if row else 0


def _clean(
    connection: psycopg.Connection[tuple[object, ...]], timeout: str, expired: int, *, batch: int = BATCH
) -> int:
    """Until so many are cancelled: what somebody was working on is left to a later batch. How many."""
    cleaned, deadline = 0, time.monotonic() + 600
    while cleaned < expired:
        row = connection.execute(
            "select booking.cleanup_expired_bookings(%s, %s)", [batch, timeout]
        ).fetchone()
        cleaned += int(str(row[0])) if row else 0
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {cleaned} of {expired} expired bookings were cleaned")
    return cleaned
