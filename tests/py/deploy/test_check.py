"""pgbooking check: what differs between database and files is found, and nothing is changed by looking."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from glue import deploy
from tests.py.deploy.tools import copy_of_db, dump

STATS = "function booking.get_booking_stats(timestamp with time zone,timestamp with time zone)"


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def test_a_fresh_database_agrees(db_url: str) -> None:
    assert deploy.check(db_url) == []


def test_looking_changes_nothing(db_url: str) -> None:
    execute(db_url, "grant execute on function booking.clock() to public")
    before = dump(db_url)

    deploy.check(db_url)

    assert dump(db_url) == before


@pytest.mark.parametrize(
    ("statement", "part"),
    [
        ("alter function booking.get_booking_stats set search_path = public", "definition"),
        ("alter function booking.get_booking_stats security invoker", "definition"),
        ("alter function booking.get_booking_stats stable", "definition"),
        ("alter function booking.get_booking_stats owner to postgres", "owner"),
        ("grant execute on function booking.get_booking_stats to public", "rights"),
        ("grant execute on function booking.get_booking_stats to pg_monitor", "rights"),
        ("revoke execute on function booking.get_booking_stats from booking_dba", "rights"),
        ("comment on function booking.get_booking_stats is 'mine'", "comment"),
    ],
)
def test_a_function_edited_by_hand_is_found(db_url: str, statement: str, part: str) -> None:
    execute(db_url, statement)

    found = deploy.check(db_url)

    if part == "owner":  # then the owner of all others may not replace it
        assert [(item.kind, item.name) for item in found] == [("broken", "statistics/get_booking_stats.sql")]
        assert "must be owner of function" in found[0].detail
    else:
        assert [(item.kind, item.name) for item in found] == [("edited", STATS)]
        assert found[0].detail == f"not as in statistics/get_booking_stats.sql: {part}"


def test_a_body_edited_by_hand_is_found(db_url: str) -> None:
    execute(
        db_url,
        "create or replace function booking.clock() returns timestamptz language sql volatile"
        " as $$ select pg_catalog.now() $$",
    )

    found = deploy.check(db_url)

    assert [(item.kind, item.name) for item in found] == [("edited", "function booking.clock()")]


def test_a_switched_off_trigger_is_found(db_url: str) -> None:
    execute(db_url, "alter table booking.bookings disable trigger keep_booking")

    found = deploy.check(db_url)

    assert [(item.kind, item.name) for item in found] == [
        ("edited", "trigger keep_booking on booking.bookings")
    ]


def test_a_dropped_trigger_and_a_dropped_function_are_found(db_url: str) -> None:
    execute(
        db_url,
        "drop trigger keep_booking on booking.bookings",
        "drop function booking.get_booking_stats",
    )

    found = {(item.kind, item.name) for item in deploy.check(db_url)}

    assert found == {("missing", STATS), ("missing", "trigger keep_booking on booking.bookings")}


def test_what_no_file_defines_is_found(db_url: str) -> None:
    execute(
        db_url,
        "create function booking.clock(p_zone text) returns timestamptz language sql as 'select now()'",
        "create function booking.mine() returns trigger language plpgsql as 'begin return new; end'",
        "create trigger mine before insert on booking.bookings for each row execute function booking.mine()",
    )

    found = {(item.kind, item.name) for item in deploy.check(db_url)}

    assert found == {
        ("extra", "function booking.clock(text)"),
        ("extra", "function booking.mine()"),
        ("extra", "trigger mine on booking.bookings"),
    }


def test_a_file_that_changed_is_told_from_an_edit_by_hand(db_url: str, tmp_path: Path) -> None:
    root = copy_of_db(tmp_path)
    clock = root / "functions/core/clock.sql"
    clock.write_text(clock.read_text().replace("clock_timestamp()", "statement_timestamp()"))

    found = deploy.check(db_url, sql_root=root)

    assert [(item.kind, item.name) for item in found] == [("outdated", "function booking.clock()")]


def test_a_file_that_cannot_be_loaded_is_named(db_url: str, tmp_path: Path) -> None:
    root = copy_of_db(tmp_path)
    (root / "functions/core/clock.sql").write_text("create or replace function booking.clock(")

    found = deploy.check(db_url, sql_root=root)

    assert [(item.kind, item.name) for item in found] == [("broken", "core/clock.sql")]


def test_pending_and_unknown_migrations_are_told(db_url: str, tmp_path: Path) -> None:
    root = copy_of_db(tmp_path)
    (root / "migrations/9999.extra.sql").write_text("select 1;")
    deploy.migrate(db_url, sql_root=root)
    (root / "migrations/9999.extra.sql").rename(root / "migrations/9998.other.sql")

    found = {(item.kind, item.name) for item in deploy.check(db_url, sql_root=root)}

    assert found == {("unknown", "9999.extra"), ("pending", "9998.other")}


def test_an_empty_database_has_everything_pending(empty_db_url: str) -> None:
    found = deploy.check(empty_db_url)

    assert {item.kind for item in found} == {"pending"}
    assert [item.name for item in found] == deploy.pending(empty_db_url)
