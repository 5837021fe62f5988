"""The maintenance and the real pg_cron."""

from __future__ import annotations

import select
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

pytestmark = pytest.mark.pg15

JOB = "pgbooking-maintenance"
Row = dict[str, Any]


@pytest.fixture
def cron(cron_db_url: str) -> Iterator[psycopg.Connection[Row]]:
    """A superuser's connection to the database in which pg_cron lives."""
    with psycopg.connect(cron_db_url, autocommit=True, row_factory=dict_row) as conn:
        yield conn


def scheduled(conn: psycopg.Connection[Row]) -> list[Row]:
    return conn.execute("select * from cron.job where jobname = %s", (JOB,)).fetchall()


def test_it_registers_the_maintenance_of_this_database(cron: psycopg.Connection[Row]) -> None:
    row = cron.execute("select booking.schedule_maintenance() as said").fetchone()

    assert row is not None
    [job] = scheduled(cron)
    assert row["said"] == (
        f'pg_cron job {job["jobid"]} runs "call booking.run_maintenance()" on schedule */15 * * * *'
    )
    assert job["schedule"] == "*/15 * * * *"
    assert job["command"] == "call booking.run_maintenance()"
    assert job["database"] == cron.info.dbname
    assert job["active"]


def test_registered_again_it_changes_the_schedule(cron: psycopg.Connection[Row]) -> None:
    cron.execute("select booking.schedule_maintenance()")
    cron.execute("select booking.schedule_maintenance('7 * * * *')")

    [job] = scheduled(cron)
    assert job["schedule"] == "7 * * * *"


def test_a_schedule_that_pg_cron_does_not_understand_is_refused(cron: psycopg.Connection[Row]) -> None:
    with pytest.raises(psycopg.Error, match="invalid schedule"):
        cron.execute("select booking.schedule_maintenance('whenever')")

    assert scheduled(cron) == []


@pytest.mark.slow
def test_the_job_runs_the_maintenance(cron: psycopg.Connection[Row]) -> None:
    """Granularity is a minute: this test waits for the next one."""
    cron.execute(
        "insert into booking.client_idempotency"
        " (scope, user_id, idempotency_key, request_hash, result_id, expires_at)"
        " values ('booking', 'anna', 'old', '\\x', gen_random_uuid(), '2020-01-01')"
        " on conflict do nothing"
    )
    cron.execute("select booking.schedule_maintenance('* * * * *')")

    runs: list[Row] = []
    for _ in range(300):
        runs = cron.execute(
            "select d.status, d.return_message from cron.job_run_details d join cron.job j using (jobid)"
            " where j.jobname = %s order by d.runid",
            (JOB,),
        ).fetchall()
        if any(run["status"] in ("succeeded", "failed") for run in runs):
            break
        select.select([], [], [], 1)

    assert {"status": "succeeded", "return_message": "CALL"} in runs, runs
    assert cron.execute("select from booking.client_idempotency where user_id = 'anna'").fetchall() == []
