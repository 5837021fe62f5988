"""Tests of functions, run again behind a schema full of traps (hostile.sql)."""

from __future__ import annotations

from pathlib import Path

import psycopg

HERE = Path(__file__).parent
SQL_TESTS = HERE.parents[1] / "sql"

# These are no definer functions: they have their caller's rights, and nothing to win by being bent. The
# first two commit or schedule, which cannot be taken back.
INVOKERS = ("run_maintenance", "schedule_maintenance", "clock", "new_id", "shard_of")
FILES = {
    path.stem.removeprefix("test_"): path
    for path in sorted(SQL_TESTS.glob("*/test_*.sql"))
    if path.parent.name not in ("catalog", "helpers") and path.stem.removeprefix("test_") not in INVOKERS[:2]
}


def set_traps(url: str) -> None:
    """In a database with pgTAP and the helpers of SQL tests."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((HERE / "hostile.sql").read_bytes())


def hijacked(url: str, file: Path, *before: str) -> list[str]:
    """Runs a SQL test behind the traps and takes everything back: which traps functions of ours fell into."""
    sprung: list[str] = []

    def listen(notice: psycopg.errors.Diagnostic) -> None:
        message = notice.message_primary or ""
        sprung.extend([message] if message.startswith("hijacked: ") else [])

    with psycopg.connect(url) as connection:
        connection.add_notice_handler(listen)
        connection.execute("select hostile.set_traps()")
        for statement in before:
            connection.execute(statement.encode())
        connection.execute("set search_path = hostile, pg_temp, pg_catalog, public")
        # Not every test comes to its end here (the comparison of rows cannot be imitated, for one): how far
        # they come is shown by the traps that they meet once a guard is away.
        try:
            connection.execute(file.read_bytes())
        except psycopg.Error as error:
            listen(error.diag)
        connection.rollback()
    return sprung


def weakened(url: str, name: str) -> list[str]:
    """Statements that take the function's search_path away; its first trap will end the test."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select format('alter function %%s reset search_path', p.oid::regprocedure) from pg_proc p"
            " where p.pronamespace = 'booking'::regnamespace and p.proname = %s",
            (name,),
        ).fetchall()
    return ["set hostile.first = 'is enough'", *(row[0] for row in found)]
