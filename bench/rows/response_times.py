"""Response times under 50 users, each of whom asks again as soon as he is answered, beside those of the
system that pgbooking replaces. The ratio is how often ours fits into its average.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial

from bench import stripe_stub
from bench.drive import Sample, pgbench
from bench.load import Server, load, served
from bench.measure import Row, Size
from bench.rows.create import CREATE
from bench.site import cleanup, confirmations, creations, environment, intents, ours, webhooks
from bench.stage import Database, Stage

USERS = 50
EXPIRED = 1000
"""Bookings that a run of the cleanup job finds."""
STRIPE_SECONDS = 0.2
TENTH = 10.0
FLUSHED = 30.0
"""Seconds after which every connection has told what it did: one that rests does within ten, but for the time
of its last statement, which it tells with its next one."""


def rows(stage: Stage, size: Size) -> Iterator[Row]:
    """As in rows/http.py; each user is a connection of his own."""
    calls = max(USERS, min(size.calls // 8, 4000))
    total = calls * (size.rounds + 1)
    jobs = (size.rounds + 1) * EXPIRED
    with ExitStack() as stack:
        database = stage.database()
        stack.callback(database.drop)
        database.load(
            f"call bench.load_slots(0, {6 * total + jobs})",
            f"call bench.load_bookings(0, {3 * total}, 'pending', '1 minute', 1000)",
            f"call bench.load_payments(0, {total}, 'pending')",
            f"call bench.load_payments({total}, {total}, 'authorized')",
        )
        stripe = stack.enter_context(served(partial(stripe_stub.command, delay=STRIPE_SECONDS), {}))
        settings = environment(database, payments=USERS, stripe_url=stripe.url)
        site = stack.enter_context(ours(settings, workers=2))

        def ask(server: Server, requests: Iterable[bytes], connections: int = USERS) -> Sample:
            return load(server, requests, connections=connections, database=database).sample

        def of(first: int, number: int) -> range:
            return range(first + number * calls, first + (number + 1) * calls)

        def cleaned(number: int) -> Sample:
            first = 6 * total + number * EXPIRED
            database.load(f"call bench.load_bookings({first}, {EXPIRED}, 'pending', '1 hour', 1000)")
            return ask(site, [cleanup()], 1)

        def direct(number: int) -> Sample:
            variables = {"first": 5 * total + number * calls}
            sample = pgbench(database, CREATE, clients=USERS, calls=calls, variables=variables)
            return Sample(sample.rate, sample.p95_ms, mean_ms=USERS / sample.rate * 1000)

        def within(number: int) -> Sample:
            booked, busy = _booked(database), _busy_ms(database)
            ask(site, creations(of(4 * total, number)))
            until = time.monotonic() + FLUSHED
            while _booked(database) < booked + calls:
                if time.monotonic() > until:
                    raise RuntimeError("the database does not tell what its connections did")
                time.sleep(0.1)
            mean = (_busy_ms(database) - busy) / calls
            return Sample(1000 / mean, mean_ms=mean)

        def row(
            name: str, title: str, mean: float, p95: float, target: float, asked: str, side: object
        ) -> Row:
            assert callable(side)
            users = 1 if name in ("within", "cleanup") else USERS
            return Row(
                name=f"users-{name}",
                title=f"{USERS} users: {title}",
                floor_title=asked,
                floor=lambda _: Sample(users / mean * 1000, p95, mean_ms=mean),
                ours=side,
                target=target,
                check=database.require_sound,
            )

        yield row(
            "create", "booking creation", 245, 450, TENTH, "reference: 245 ms, p95 450 ms",
            lambda number: ask(site, creations(of(3 * total, number))),
        )  # fmt: skip
        yield row(
            "webhook", "webhook", 45, 85, TENTH, "reference: 45 ms, p95 85 ms",
            lambda number: ask(site, webhooks(of(0, number))),
        )  # fmt: skip
        yield row(
            "intent", "payment intent, Stripe takes 200 ms", 250, 750, 1.0,
            "Stripe's 200 ms and 50 of ours; reference: 520 ms, p95 750 ms",
            lambda number: ask(site, intents(of(2 * total, number))),
        )  # fmt: skip
        yield row(
            "confirm", "expert confirmation, Stripe takes 200 ms", 250, 950, 1.0,
            "Stripe's 200 ms and 50 of ours; reference: 680 ms, p95 950 ms",
            lambda number: ask(site, confirmations(of(total, number))),
        )  # fmt: skip
        yield row(
            "within", "time in the database of a booking over HTTP (1 s / average)", 35, 35, TENTH,
            "reference: 35 ms", within,
        )  # fmt: skip
        yield row(
            "transaction", "create_booking_transaction, all at once in the database", 35, 35, TENTH,
            "reference: 35 ms", direct,
        )  # fmt: skip
        yield row(
            "cleanup", f"cleanup job, {EXPIRED:,} expired bookings", 2100, 8500, TENTH,
            "reference: 2.1 s, p95 8.5 s", cleaned,
        )  # fmt: skip


def _booked(database: Database) -> int:
    """Bookings ever written, as far as the database's statistics know."""
    return int(
        database.value(
            "select s.n_tup_ins from pg_stat_user_tables s where s.relid = 'booking.bookings'::regclass"
        )
    )


def _busy_ms(database: Database) -> float:
    """For how long its connections have carried out statements, commits included."""
    return float(
        database.value("select d.active_time from pg_stat_database d where d.datname = current_database()")
    )
