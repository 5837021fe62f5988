"""confirm_booking_transaction and cancel_booking_transaction."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.drive import Sample, pgbench
from bench.measure import Row, Size
from bench.stage import Database, Stage

CLIENTS = 8
FLOOR = "select floor.decide(bench.booking_id(:n), 'decided')"
SCRIPTS = {
    "confirm": "confirm_booking_transaction('expert-' || (:n::bigint % 1000 + 1), bench.booking_id(:n))",
    "cancel": "cancel_booking_transaction('student-' || :n, bench.booking_id(:n))",
}


def rows(stage: Stage, size: Size) -> Iterator[Row]:
    """Pending bookings whose payment is authorized."""
    for name, call in SCRIPTS.items():
        script = f"select * from booking.{call}"
        database = stage.database()
        database.load(
            f"call bench.load_slots(0, {size.loaded})",
            f"call bench.load_bookings(0, {size.loaded}, 'pending', '1 minute', {size.loaded})",
            f"call bench.load_payments(0, {size.loaded}, 'authorized')",
            "insert into floor.bookings (id, slot_id, student_id)"
            " select b.id, b.slot_id, b.student_id from booking.bookings b order by b.id",
        )
        yield Row(
            name=name,
            title=f"{name}_booking_transaction, {CLIENTS} connections, payment authorized",
            floor_title="a function with one update and one insert",
            floor=partial(_decide, database, FLOOR, size),
            ours=partial(_decide, database, script, size),
            target=0.60,
            check=database.require_sound,
        )
        database.drop()


def _decide(database: Database, script: str, size: Size, number: int) -> Sample:
    return pgbench(
        database, script, clients=CLIENTS, calls=size.calls, variables={"first": number * size.calls}
    )
