"""Against what people use instead: the same requests, to their servers and to ours, in turns."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import click
import jwt

from bench import floor
from bench.baselines import install, programs
from bench.baselines.install import Missing
from bench.baselines.programs import Program
from bench.drive import Sample
from bench.load import Answered, Server, load, python, request, served
from bench.measure import Row, Size
from bench.site import JWT_SECRET, environment, ours, slot_id, to_floor, webhooks
from bench.stage import Database, Stage

CREATE = "/api/bookings/create"
WEBHOOK = "/api/webhooks/stripe"
CLIENTS = (1, 8, 32)
CLASS = 999_999_999_999
"""The number of the slot that has a seat for everybody who asks."""
SEATS = 10
RUSH = 64
"""After the measuring so many people ask at once for a slot of that many seats."""


def rows(stage: Stage, size: Size) -> Iterator[Row]:
    """Two frameworks that book, two packages that take in webhooks.

    What cannot be installed is left out, and that is said, once more when the run ends."""
    if size.quick:
        yield from _bookings(stage, size, lambda: programs.stand_in(CREATE), 1)
        yield from _webhooks(stage, size, lambda: programs.stand_in("/webhooks"), 1)
        return
    for name, contest in (
        ("Django", partial(_bookings, stage, size, programs.django_rest, 4)),
        ("FastAPI", partial(_bookings, stage, size, programs.fastapi_sqlalchemy, 3)),
        ("stripe-sync-engine", partial(_webhooks, stage, size, programs.sync_engine, 0.8)),
        ("dj-stripe that stores", partial(_webhooks, stage, size, programs.djstripe_that_stores, 4)),
        ("dj-stripe that fetches", partial(_fetching, stage, size)),
    ):
        try:
            yield from contest()
        except Missing as error:
            left_out(name, error)


def left_out(name: str, error: Missing) -> None:
    """Now, and once more when everything else has been said."""
    say = partial(click.secho, f"NOT MEASURED against {name}: {error}", fg="red", bold=True, err=True)
    say()
    context = click.get_current_context(silent=True)
    if context is not None:
        context.call_on_close(say)


@dataclass
class Side:
    """One of the two servers, and what it has said yes to."""

    server: Server
    database: Database
    acknowledged: int = 0

    def send(
        self, requests: Iterable[bytes], clients: int, allowed: tuple[int, ...] = (200, 201)
    ) -> Answered:
        answered = load(self.server, requests, connections=clients, database=self.database, allowed=allowed)
        self.acknowledged += sum(count for status, count in answered.statuses.items() if status < 300)
        return answered


@dataclass(frozen=True)
class Numbers:
    """How much each side does in a round. Who is said to be faster does as many times more."""

    size: Size
    target: float
    share: int = 16

    @property
    def theirs(self) -> int:
        return max(RUSH, self.size.calls // self.share)

    @property
    def ours(self) -> int:
        return int(self.theirs * max(1.0, self.target))

    @property
    def of_a_row(self) -> int:
        return self.ours * (self.size.rounds + 1)


def _bookings(stage: Stage, size: Size, program: Callable[[], Program], target: float) -> Iterator[Row]:
    """Different slots, each booked once; then one slot with seats for all. Each asks for another student."""
    other = program()
    numbers = Numbers(size, target)
    database = stage.database()
    slots = 2 * numbers.of_a_row * len(CLIENTS)
    database.load(
        f"call bench.load_slots(0, {slots})",
        f"call bench.load_slots({slots}, 1, {SEATS})",
        f"call bench.load_class({CLASS}, {slots})",
    )
    other.prepare(database)
    with ExitStack() as stack:
        theirs = Side(stack.enter_context(other.serve(database)), database)
        settings = environment(database)
        mine = Side(stack.enter_context(ours(settings)), database)
        bare = Side(stack.enter_context(floor.bare(settings)), database)

        def check(*, last: bool = False) -> None:
            if last:
                rush(theirs, mine, slots)
            other.require_done(database, theirs.acknowledged)
            programs.require_not_oversold(database)
            acknowledged = mine.acknowledged + bare.acknowledged
            if database.value("select count(*) from booking.bookings") != acknowledged:
                raise RuntimeError(f"we acknowledged {acknowledged} bookings and have another number")
            database.require_sound()

        for place, clients in enumerate(CLIENTS, len(CLIENTS)):
            start = place * numbers.of_a_row
            yield Row(
                name=f"{other.name}-{clients}-bare",
                title=f"bare Flask with create_booking_transaction, {_connections(clients)}, different slots",
                floor_title=other.title,
                floor=partial(_book, theirs, clients, start, numbers.theirs, None, numbers),
                ours=partial(_book, bare, clients, start, numbers.ours, None, numbers, path="/create-stored"),
                target=None,
                check=check,
            )
        for (hot, clients), place in zip(
            itertools.product((False, True), CLIENTS), itertools.cycle(range(3))
        ):
            start = place * numbers.of_a_row
            slot = CLASS if hot else None
            yield Row(
                name=f"{other.name}-{clients}{'-hot' if hot else ''}",
                title=f"POST {CREATE}, {_connections(clients)}, "
                + ("one hot slot" if hot else "different slots"),
                floor_title=other.title,
                floor=partial(_book, theirs, clients, start, numbers.theirs, slot, numbers),
                ours=partial(_book, mine, clients, start, numbers.ours, slot, numbers),
                target=target,
                check=partial(check, last=hot and clients == CLIENTS[-1]),
            )
    database.drop()


def _book(
    side: Side,
    clients: int,
    start: int,
    count: int,
    slot: int | None,
    numbers: Numbers,
    number: int,
    *,
    path: str = "",
) -> Sample:
    first = start + number * numbers.ours
    requests = creations(range(first, first + count), slot)
    return side.send(to_floor(requests, path) if path else requests, clients).sample


def rush(theirs: Side, mine: Side, slot: int) -> None:
    """Raises RuntimeError when more, or fewer, get a seat than there are."""
    for side in (theirs, mine):
        numbers = range(10**9, 10**9 + RUSH)
        statuses = side.send(creations(numbers, slot), CLIENTS[-1], (201, 409)).statuses
        if statuses.get(201) != SEATS:
            raise RuntimeError(f"{SEATS} seats, {RUSH} requests: {statuses}")


def creations(numbers: Iterable[int], slot: int | None = None) -> Iterator[bytes]:
    """Each books the slot of its number, or all the same one; by a student who has not asked before."""
    until = int(time.time()) + 86_400
    for number in numbers:
        claims = {"sub": f"student-{number}", "role": "student", "exp": until}
        token = jwt.encode(claims, JWT_SECRET, algorithm="HS256")
        wanted = {"slotId": slot_id(number if slot is None else slot)}
        yield request(CREATE, wanted, {"Authorization": f"Bearer {token}"})


def _webhooks(stage: Stage, size: Size, program: Callable[[], Program], target: float) -> Iterator[Row]:
    """Signed events, each of another payment and each sent once."""
    other = program()
    numbers = Numbers(size, target, share=4 if target < 1 else 16)
    yield from _intake(stage, other, numbers)


def _fetching(stage: Stage, size: Size) -> Iterator[Row]:
    """The same; what the event tells is asked of Stripe again, which answers at once."""
    install.python()
    with served(lambda port: python("-m", "bench.stripe_stub", str(port), "0"), {}) as stripe:
        yield from _intake(stage, programs.djstripe_that_fetches(stripe.url), Numbers(size, 4, share=64))


def _intake(stage: Stage, other: Program, numbers: Numbers) -> Iterator[Row]:
    database = stage.database()
    total = 2 * numbers.of_a_row
    database.load(
        f"call bench.load_slots(0, {total})",
        f"call bench.load_bookings(0, {total}, 'pending', '1 minute', {total})",
        f"call bench.load_payments(0, {total}, 'pending')",
    )
    empty = stage.database(template="template0")  # stripe-sync-engine takes types of ours for its own
    other.prepare(empty)
    clients = CLIENTS[-1]
    with ExitStack() as stack:
        theirs = Side(stack.enter_context(other.serve(empty)), empty)
        settings = environment(database)
        mine = Side(stack.enter_context(ours(settings)), database)
        bare = Side(stack.enter_context(floor.bare(settings)), database)

        def check() -> None:
            other.require_done(empty, theirs.acknowledged)
            done = database.value("select count(*) from booking.payments p where p.status = 'authorized'")
            acknowledged = mine.acknowledged + bare.acknowledged
            if done != acknowledged:
                raise RuntimeError(f"we acknowledged {acknowledged} events and applied {done}")
            database.require_sound()

        def intake(side: Side, path: str, start: int, count: int, number: int) -> Sample:
            first = start + number * count
            return side.send(webhooks(range(first, first + count), path), clients).sample

        asked = _connections(clients)
        by_bare = f"bare Flask with process_webhook_event, {asked}"
        by_us = f"POST {WEBHOOK}, {asked}, exactly once"
        for side, path, start, suffix, title, target in (
            (bare, "/webhook-stored", numbers.of_a_row, "-bare", by_bare, None),
            (mine, WEBHOOK, 0, "", by_us, numbers.target),
        ):
            yield Row(
                name=f"webhook-{other.name}{suffix}",
                title=title,
                floor_title=other.title,
                floor=partial(intake, theirs, other.path, start, numbers.theirs),
                ours=partial(intake, side, path, start, numbers.ours),
                target=target,
                check=check,
            )
    empty.drop()
    database.drop()


def _connections(clients: int) -> str:
    return f"{clients} connection{'s' if clients > 1 else ''}"
