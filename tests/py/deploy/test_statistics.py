"""Statistics that were folded before there were sums by day and month."""

from __future__ import annotations

import psycopg

from glue import deploy


def test_deploying_adds_up_the_hours_that_are_older_than_the_sums(db_url: str) -> None:
    with psycopg.connect(db_url, autocommit=True) as connection:
        connection.execute(
            "insert into booking.stat_hours (metric, hour, quantity)"
            " values ('booked', '2026-03-01 10:00Z', 3), ('booked', '2026-03-01 11:00Z', 4)"
        )
        connection.execute("delete from booking.stat_periods")
        connection.execute(
            "update booking.deployed_functions set sha256 = 'of an older release'"
            " where file = 'statistics/rebuild_stat_periods.sql'"
        )
        assert deploy.migrate(db_url).functions == ["statistics/rebuild_stat_periods.sql"]
        sums = connection.execute(
            "select p.period::text, p.quantity from booking.stat_periods p order by p.period"
        ).fetchall()
    assert sums == [("day", 7), ("month", 7)]
