"""search_path and pg_temp: no function of ours looks for a name where its caller could have put something.

The tests of the functions themselves run again, behind a schema full of traps (hostile.sql): each path that
they know is walked with the caller's search_path and temporary objects turned against it.
`PGBOOKING_SECURITY_TRIES` (default 16): how many functions are tried without their guard.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pytest_postgresql.executors import NoopExecutor

from tests.conftest import _clone, _url_of

HERE = Path(__file__).parent
SQL_TESTS = HERE.parents[1] / "sql"

pytestmark = pytest.mark.pg18  # names are looked up alike on every version

SEED = 10
TRIES = int(os.environ.get("PGBOOKING_SECURITY_TRIES", "16"))

# These are no definer functions: they have their caller's rights, and nothing to win by being bent. The
# first two commit or schedule, which cannot be taken back.
INVOKERS = ("run_maintenance", "schedule_maintenance", "clock", "new_id", "shard_of")
FILES = {
    path.stem.removeprefix("test_"): path
    for path in sorted(SQL_TESTS.glob("*/test_*.sql"))
    if path.parent.name not in ("catalog", "helpers") and path.stem.removeprefix("test_") not in INVOKERS[:2]
}


@pytest.fixture(scope="module")
def hostile_url(pgtap_template: NoopExecutor) -> Iterator[str]:
    with _clone(pgtap_template) as database:
        url = _url_of(database)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute((HERE / "hostile.sql").read_bytes())
        yield url


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


@pytest.mark.parametrize("name", FILES)
def test_no_function_is_hijacked_on_any_path_that_its_tests_walk(hostile_url: str, name: str) -> None:
    assert hijacked(hostile_url, FILES[name]) == []


def test_without_their_search_path_functions_are_hijacked(hostile_url: str) -> None:
    """Else the traps show nothing. A function of few words may use no name that a trap stands for."""
    definers = [name for name in FILES if name not in INVOKERS]
    tried = definers if len(definers) < TRIES else random.Random(SEED).sample(definers, TRIES)
    caught = [name for name in tried if hijacked(hostile_url, FILES[name], *weakened(hostile_url, name))]
    assert len(caught) >= 0.75 * len(tried), f"seed {SEED}: {sorted({*tried} - {*caught})}"


def weakened(url: str, name: str) -> list[str]:
    """Statements that take the function's search_path away; its first trap will end the test."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select format('alter function %%s reset search_path', p.oid::regprocedure) from pg_proc p"
            " where p.pronamespace = 'booking'::regnamespace and p.proname = %s",
            (name,),
        ).fetchall()
    return ["set hostile.first = 'is enough'", *(row[0] for row in found)]
