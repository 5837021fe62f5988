"""create_booking_transaction: different slots, one class, one seat for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.drive import Sample, pgbench, psql, quantile
from bench.measure import Row, Size
from bench.stage import Database, Stage

FLOOR = "select floor.book('student-' || :n, bench.slot_id(:n))"
CREATE = "select * from booking.create_booking_transaction('student-' || :n, bench.slot_id(:n))"
CLIENTS = (1, 8, 32)
CLASS = 999_999_999_999
"""Its number; of 32 seat counters."""


def rows(stage: Stage, size: Size) -> Iterator[Row]:
    """Every slot has one seat and is booked once."""
    database = stage.database()
    slots = size.loaded * (len(CLIENTS) + 1)
    database.load(
        f"call bench.load_slots(0, {slots})",
        "insert into floor.slots (id, capacity) select s.id, 1 from booking.slots s order by s.id",
    )
    for place, clients in enumerate(CLIENTS):
        start = place * size.loaded
        yield Row(
            name=f"create-{clients}",
            title=f"create_booking_transaction, {_connections(clients)}, different slots",
            floor_title="one conditional update, one insert",
            floor=partial(_book, database, FLOOR, clients, start, size),
            ours=partial(_book, database, CREATE, clients, start, size),
            target=0.65,
            check=database.require_sound,
        )
    yield _class(database, size, len(CLIENTS) * size.loaded)
    database.drop()
    yield _hot(stage, size)


def _class(database: Database, size: Size, start: int) -> Row:
    seats = size.loaded
    database.load(
        f"call bench.load_class({CLASS}, {seats})",
    )
    script = f"select * from booking.create_booking_transaction('student-' || :n, bench.slot_id({CLASS}))"
    return Row(
        name="class-32",
        title="the same, 32 connections at one class with seats for all",
        floor_title="create_booking_transaction, 32 connections, different slots",
        floor=partial(_book, database, CREATE, 32, start, size),
        ours=partial(_book, database, script, 32, start, size),
        target=0.70,
        check=database.require_sound,
    )


def _hot(stage: Stage, size: Size) -> Row:
    """All but one are refused. A sample's p95 is that of the refusals, its p99 the one success's time."""
    database = stage.database()
    database.load(f"call bench.load_slots(0, {size.rounds + 1})")
    each = max(2, size.calls // 32)

    def ask(statement: str, arguments: str) -> Sample:
        clients = psql(database, [_repeated(statement, arguments, client, each) for client in range(32)])
        refused = sorted(answer.ms for answers in clients for answer in answers if not answer.ok)
        passed = sorted(answer.ms for answers in clients for answer in answers if answer.ok)
        rate = sum(len(answers) / sum(answer.ms for answer in answers) * 1000 for answers in clients)
        return Sample(rate, quantile(refused or passed, 0.95), quantile(passed, 0.95))

    return Row(
        name="hot-32",
        title="32 connections at one slot with one seat: refusals",
        floor_title="select 1",
        floor=lambda _: ask("select 1", ""),
        ours=lambda number: ask(
            f"select * from booking.create_booking_transaction($1, bench.slot_id({number}))", "'student-@'"
        ),
        target=0.40,
        check=database.require_sound,
    )


def _repeated(statement: str, arguments: str, client: int, times: int) -> str:
    """Prepared once; @ becomes what no other call has."""
    calls = (
        f"\\bind_named ask {arguments.replace('@', f'{client}-{number}')} \\g\n" for number in range(times)
    )
    return f"{statement} \\parse ask\n" + "".join(calls)


def _book(database: Database, script: str, clients: int, start: int, size: Size, number: int) -> Sample:
    return pgbench(
        database,
        script,
        clients=clients,
        calls=size.calls,
        variables={"first": start + number * size.calls},
    )


def _connections(clients: int) -> str:
    return f"{clients} connection{'s' if clients > 1 else ''}"
