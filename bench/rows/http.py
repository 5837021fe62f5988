"""Our server against a bare Flask that does one insert and, where it matters, asks Stripe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial

from bench import floor, stripe_stub
from bench.drive import Sample
from bench.load import Server, load, served
from bench.measure import Row, Size
from bench.site import confirmations, creations, environment, intents, ours, to_floor, webhooks
from bench.stage import Database, Stage

CONNECTIONS = 32
WORKERS = 2
PAYMENTS = CONNECTIONS
"""Of each process: nobody is sent away because others ask Stripe."""
CALLS = 12_000
"""A round, at most."""
REQUESTS, GROWTH_MB = 20_000, 50
"""So many requests to each worker process may make it grow by less than this."""

Requests = Callable[[Iterable[int]], Iterable[bytes]]


def rows(stage: Stage, size: Size) -> Iterator[Row]:
    """One request for each number, which is a slot's, a booking's, or an event's."""
    calls = min(size.calls, CALLS)
    total = calls * (size.rounds + 1)
    with ExitStack() as stack:
        database = stage.database()
        stack.callback(database.drop)
        database.load(
            f"call bench.load_slots(0, {6 * total})",
            f"call bench.load_bookings(0, {4 * total}, 'pending', '1 minute', 1000)",
            f"call bench.load_payments(0, {total}, 'pending')",
            f"call bench.load_payments({total}, {total}, 'authorized')",
            f"call bench.load_payments({3 * total}, {total}, 'pending')",
        )
        stripe = stack.enter_context(served(stripe_stub.command, {}))
        settings = environment(database, payments=PAYMENTS, stripe_url=stripe.url)
        site = stack.enter_context(ours(settings, workers=WORKERS))
        bare = stack.enter_context(floor.bare(settings, workers=WORKERS))
        small = max(site.memory_mb())

        def row(
            name: str,
            title: str,
            floor_title: str,
            requests: Requests,
            first: int,
            check: Callable[[], None] = database.require_sound,
            *,
            stored: bool = False,
        ) -> Row:
            """`stored`: bare Flask on both sides, of ours with the stored function in place of the insert. No
            server of ours can do more."""

            def sample(server: Server, path: str, number: int) -> Sample:
                begin = first + number * calls
                wanted = requests(range(begin, begin + calls))
                asked = to_floor(wanted, path) if path else wanted
                return load(server, asked, connections=CONNECTIONS, database=database).sample

            return Row(
                name=f"http-{name}{'-stored' if stored else ''}",
                title=f"HTTP {title}, {CONNECTIONS} connections",
                floor_title=f"bare Flask: {floor_title}",
                floor=partial(sample, bare, f"/{name}"),
                ours=partial(sample, bare, f"/{name}-stored") if stored else partial(sample, site, ""),
                target=None if stored else 0.75,
                check=check,
            )

        for is_stored, of_create, of_webhook in ((False, 4, 0), (True, 5, 3)):
            title = "create by bare Flask" if is_stored else "create"
            yield row("create", title, "one insert", creations, of_create * total, stored=is_stored)
            title = "webhook by bare Flask" if is_stored else "webhook"
            asked = "signature check, one insert"
            yield row("webhook", title, asked, webhooks, of_webhook * total, stored=is_stored)
        asked = "one insert, one call with stripe-python"
        yield row("intent", "payment intent", asked, intents, 2 * total)
        yield row("confirm", "confirm", asked, confirmations, total, partial(_require_mirrored, database))
        yield _memory(site, small, calls, size)


def _memory(site: Server, small: float, calls: int, size: Size) -> Row:
    """Refusals, of a slot that is taken: what a server keeps does not depend on what it is asked."""
    each = min(REQUESTS, calls) * WORKERS // (size.rounds + 1) + 1

    def grown(number: int) -> Sample:
        asked = creations(range(number * each, (number + 1) * each), slot=0)
        load(site, asked, connections=CONNECTIONS, allowed=(404, 409))
        return Sample(max(site.memory_mb()))

    def check() -> None:
        if max(site.memory_mb()) - small >= GROWTH_MB:
            raise RuntimeError(f"a worker process grew from {small:.0f} MB to {max(site.memory_mb()):.0f} MB")

    return Row(
        name="http-memory",
        title=f"MB of a worker process after more than {REQUESTS:,} requests (of all rows)",
        floor_title=f"at start; a run that grows by {GROWTH_MB} MB stops",
        floor=lambda _: Sample(small),
        ours=grown,
        target=None,
        check=check,
    )


def _require_mirrored(database: Database) -> None:
    """A confirmation that left Stripe to the worker would be a fast one."""
    left = database.value("select count(*) from booking.stripe_commands c where c.status <> 'done'")
    if left:
        raise RuntimeError(f"{left} commands were not carried out within their request")
    database.require_sound()
