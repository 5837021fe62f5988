"""Worker processes, requests at once, connections: each other way against the one that is chosen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from bench.drive import Sample
from bench.load import Server, load
from bench.measure import Row, Size
from bench.site import creations, environment, ours
from bench.stage import Database, Stage

CONNECTIONS = 32
CALLS = 8_000
"""A round, at most."""


@dataclass(frozen=True)
class Shape:
    """Of a server; `turns` and `pool` of each process."""

    workers: int
    turns: int
    pool: int

    def __str__(self) -> str:
        processes = "1 process" if self.workers == 1 else f"{self.workers} processes"
        return f"{processes}, {self.turns} requests at once, {self.pool} connections"


CHOSEN = Shape(2, 8, 8)
OTHERS = (Shape(1, 8, 8), Shape(3, 8, 8), Shape(2, 4, 4), Shape(4, 4, 4), Shape(2, 16, 16), Shape(2, 32, 8))


def rows(stage: Stage, size: Size) -> Iterator[Row]:
    """Bookings of different slots over HTTP; two servers run at a time."""
    calls = min(size.calls, CALLS)
    total = calls * (size.rounds + 1)
    others = OTHERS[:1] if size.quick else OTHERS
    database = stage.database()
    database.load(f"call bench.load_slots(0, {2 * total * len(others)})")
    for place, shape in enumerate(others):
        with ExitStack() as stack:
            chosen, other = (
                stack.enter_context(
                    ours(environment(database, pool=each.pool), workers=each.workers, threads=each.turns)
                )
                for each in (CHOSEN, shape)
            )
            start = 2 * place * total
            yield Row(
                name=f"server-{shape.workers}-{shape.turns}-{shape.pool}",
                title=f"HTTP create, {CONNECTIONS} connections: {shape}",
                floor_title=str(CHOSEN),
                floor=partial(_book, chosen, database, start, calls),
                ours=partial(_book, other, database, start + total, calls),
                target=None,
                check=database.require_sound,
            )
    database.drop()


def _book(server: Server, database: Database, start: int, calls: int, number: int) -> Sample:
    first = start + number * calls
    return load(
        server, creations(range(first, first + calls)), connections=CONNECTIONS, database=database
    ).sample
