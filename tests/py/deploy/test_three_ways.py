"""yoyo, sqitch and pgbooking migrate build the same database from the same files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from glue import deploy
from glue import sqitch as wrappers
from tests.py.deploy.tools import DB, dump, schema_exists, sqitch, yoyo

MakeDatabase = Callable[[str], str]


@pytest.fixture
def make_database(empty_db_url: str) -> Iterator[MakeDatabase]:
    """make_database(name) -> URL of one more empty database."""
    with psycopg.connect(empty_db_url, autocommit=True) as conn, ExitStack() as stack:

        def make(name: str) -> str:
            base, own = empty_db_url.rsplit("/", 1)
            database = f"{own}_{name}"
            conn.execute(f'create database "{database}"'.encode())
            stack.callback(conn.execute, f'drop database "{database}" with (force)'.encode())
            return f"{base}/{database}"

        yield make


def test_the_three_tools_build_the_same_database(make_database: MakeDatabase) -> None:
    by_yoyo, by_sqitch, by_us = make_database("yoyo"), make_database("sqitch"), make_database("us")

    yoyo("apply", by_yoyo)
    sqitch("deploy", by_sqitch, "--verify")
    deploy.migrate(by_us)

    ours = dump(by_us)
    assert "CREATE TABLE booking.bookings" in ours
    assert "CREATE FUNCTION booking.create_booking_transaction" in ours
    assert dump(by_yoyo) == ours
    assert dump(by_sqitch) == ours
    assert deploy.check(by_yoyo) == deploy.check(by_sqitch) == deploy.check(by_us) == []


def test_all_three_revert_to_nothing(make_database: MakeDatabase) -> None:
    by_yoyo, by_sqitch, by_us = make_database("yoyo"), make_database("sqitch"), make_database("us")
    yoyo("apply", by_yoyo)
    sqitch("deploy", by_sqitch)
    deploy.migrate(by_us)

    yoyo("rollback", by_yoyo, DB, "--all")
    sqitch("revert", by_sqitch, "-y")
    names = deploy.rollback(by_us, steps=None)

    assert names == sorted(names, reverse=True)
    assert not schema_exists(by_yoyo)
    assert not schema_exists(by_sqitch)
    assert not schema_exists(by_us)


def test_each_step_back_and_forth_ends_where_it_began(empty_db_url: str) -> None:
    deploy.migrate(empty_db_url)
    before = dump(empty_db_url)
    total = len(deploy.rollback(empty_db_url, steps=None))

    for steps in range(1, total + 1):
        deploy.migrate(empty_db_url)
        assert len(deploy.rollback(empty_db_url, steps=steps)) == steps
    deploy.migrate(empty_db_url)

    assert dump(empty_db_url) == before
    assert deploy.check(empty_db_url) == []


def test_sqitch_can_revert_the_functions_alone_and_deploy_them_again(empty_db_url: str) -> None:
    sqitch("deploy", empty_db_url)
    before = dump(empty_db_url)

    sqitch("revert", empty_db_url, "-y", "--to", "HEAD^")
    with psycopg.connect(empty_db_url) as conn:
        left = conn.execute(
            "select proname from pg_proc where pronamespace = 'booking'::regnamespace"
        ).fetchall()
    sqitch("deploy", empty_db_url, "--verify")

    assert left == []
    assert dump(empty_db_url) == before


def test_migrate_takes_over_what_sqitch_has_deployed(empty_db_url: str) -> None:
    sqitch("deploy", empty_db_url)
    assert deploy.pending(empty_db_url) == []

    done = deploy.migrate(empty_db_url)

    assert done.migrations == []
    assert deploy.migrate(empty_db_url) == deploy.Deployed()


def test_migrate_finds_nothing_to_do_after_yoyo(empty_db_url: str) -> None:
    yoyo("apply", empty_db_url)

    assert deploy.migrate(empty_db_url) == deploy.Deployed()


def test_sqitch_includes_every_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert wrappers.main(["--check"]) == 0, f"run make sqitch: {capsys.readouterr().out}"
