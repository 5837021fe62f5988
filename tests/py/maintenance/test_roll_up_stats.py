"""booking.roll_up_stats() with several callers."""

from __future__ import annotations

from tests.conftest import Connect

LINES = (
    "insert into booking.stat_deltas (metric, at, quantity)"
    " select 'booked', '2026-03-10 12:00Z', 1 from generate_series(1, 5)"
)


def test_one_caller_at_a_time_folds_the_others_go_on_at_once(connect: Connect) -> None:
    first, second = connect(autocommit=False), connect()
    second.execute(LINES)
    second.execute("set lock_timeout = '5s'")  # so that whoever waits after all fails instead of hanging

    folded = first.execute("select booking.roll_up_stats() as n").fetchone()
    meanwhile = second.execute("select booking.roll_up_stats() as n").fetchone()
    first.commit()

    assert folded == {"n": 5}
    assert meanwhile == {"n": 0}
    assert second.execute("select quantity from booking.stat_hours").fetchall() == [{"quantity": 5}]


def test_what_is_written_meanwhile_is_neither_lost_nor_counted_twice(connect: Connect) -> None:
    writer, reader, folder = connect(autocommit=False), connect(), connect(autocommit=False)
    reader.execute(LINES)
    writer.execute(LINES)

    folder.execute("select booking.roll_up_stats()")
    before = reader.execute("select total_bookings from booking.get_booking_stats()").fetchone()
    folder.commit()
    between = reader.execute("select total_bookings from booking.get_booking_stats()").fetchone()
    writer.commit()
    after = reader.execute("select total_bookings from booking.get_booking_stats()").fetchone()

    assert (before, between, after) == ({"total_bookings": 5}, {"total_bookings": 5}, {"total_bookings": 10})


def test_a_fold_that_is_rolled_back_loses_nothing(connect: Connect) -> None:
    folder, reader = connect(autocommit=False), connect()
    reader.execute(LINES)
    folder.execute("select booking.roll_up_stats()")
    folder.rollback()

    stats = reader.execute("select total_bookings from booking.get_booking_stats()").fetchone()
    assert stats == {"total_bookings": 5}
