"""The connection pool while the database moves: no endless waiting, no lost server kept."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from glue import deploy
from glue.db import Database, Unanswered, connection_string
from glue.errors import from_exception
from glue.settings import Settings
from glue.worker import connect_for_maintenance
from tests.pg.servers import running_server
from tests.py.http.site import an_event, base_env, until

Row = dict[str, Any]
ASKING = "select pid from pg_stat_activity where application_name = 'moving' and pid <> pg_backend_pid()"


@pytest.fixture
def admin(db_url: str) -> Iterator[psycopg.Connection[Row]]:
    with psycopg.connect(db_url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture
def pool(db_url: str) -> Iterator[Database]:
    db = Database(db_url, min_size=3, max_size=3, application_name="moving")
    yield db
    db.close()


@pytest.fixture(scope="module")
def lonely(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that waits for a standby that never comes; deployed without waiting for it."""
    version = int(request.config.getoption("--pg"))
    with running_server(version) as cluster:
        url = cluster.ensure_database("lonely")
        deploy.migrate(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("alter system set synchronous_standby_names = 'nobody'")
            connection.execute("select pg_reload_conf()")
            shown = "show synchronous_standby_names"
            until(lambda: connection.execute(shown).fetchone() == ("nobody",))
        yield f"{url}?options=-csynchronous_commit%3Dlocal"


def pids(admin: psycopg.Connection[Row]) -> set[int]:
    return {row["pid"] for row in admin.execute(ASKING)}


def test_one_lost_connection_tells_of_all_the_others(pool: Database, admin: psycopg.Connection[Row]) -> None:
    until(lambda: len(pids(admin)) == 3)
    before = pids(admin)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(pool.one, "select pg_sleep(600)")
        active = f"{ASKING} and state = 'active'"
        until(lambda: admin.execute(active.encode()).fetchone() is not None)
        admin.execute(f"select pg_terminate_backend(pid) from ({active}) a".encode())
        with pytest.raises(psycopg.OperationalError):
            waiting.result()
    until(lambda: len(pids(admin)) == 3 and not pids(admin) & before)
    assert pool.scalar("select 1") == 1


def test_a_refusal_is_no_reason_to_part(pool: Database, admin: psycopg.Connection[Row]) -> None:
    until(lambda: len(pids(admin)) == 3)
    before = pids(admin)
    with pytest.raises(psycopg.errors.DivisionByZero):
        pool.one("select 1 / 0")
    assert pids(admin) == before


def test_a_connection_to_a_server_that_only_reads_is_not_kept(
    db_url: str, admin: psycopg.Connection[Row]
) -> None:
    here = sql.Identifier(admin.info.dbname)
    write = (
        "select * from booking.create_session(p_expert_id => 'e', p_title => 't', p_amount => 500,"
        " p_currency => 'eur')"
    )
    admin.execute(sql.SQL("alter database {} set default_transaction_read_only = on").format(here))
    db = Database(db_url, max_size=1)
    try:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction) as refused:
            db.scalar(write)
        assert from_exception(refused.value).status == 503
        admin.execute("set default_transaction_read_only = off")
        admin.execute(sql.SQL("alter database {} reset default_transaction_read_only").format(here))
        until(lambda: _writes(db, write))
    finally:
        db.close()


def _writes(db: Database, write: Any) -> bool:
    try:
        return db.scalar(write) is not None
    except psycopg.errors.ReadOnlySqlTransaction:
        return False


def test_an_answer_that_does_not_come_is_given_up(lonely: str) -> None:
    waits = lonely.partition("?")[0]
    db = Database(waits, max_size=1, statement_timeout_ms=100, grace=0.5)
    try:
        with pytest.raises(Unanswered) as unanswered:
            db.scalar("create table t as select 1")
        told = from_exception(unanswered.value)
        assert (told.status, told.code) == (503, "database_unavailable")
        assert db.scalar("select 1") == 1, "the only connection of the pool is free again"
    finally:
        db.close()
    with psycopg.connect(lonely) as connection:
        waiting = "from pg_stat_activity where wait_event = 'SyncRep'"
        still = f"select count(*) {waiting}".encode()
        assert connection.execute(still).fetchone() == (1,), "nobody cancelled it: that would count as done"
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'"
        )


@pytest.mark.parametrize("archived", [False, True])
def test_an_event_that_was_committed_but_not_replicated_is_not_acknowledged(
    lonely: str, archived: bool
) -> None:
    event = an_event()
    process = "select * from booking.process_webhook_event(p_event => %s)"
    with psycopg.connect(lonely, autocommit=True) as here:
        # as after a restart of the primary: committed, visible, and the standby does not have it
        assert here.execute(process, (Jsonb(event),)).fetchone() == ("ignored",)
        if archived:
            here.execute("update booking.webhook_events set received_at = now() - interval '8 days'")
            here.execute("select booking.cleanup_old_webhook_events()")
    db = Database(lonely.partition("?")[0], max_size=1, statement_timeout_ms=100, grace=0.5)
    try:
        with pytest.raises(Unanswered):
            db.scalar("select * from booking.process_webhook_event(p_event => %(e)s)", {"e": Jsonb(event)})
    finally:
        db.close()


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("postgresql://u@a:1,b:2/app", "read-write"),
        ("postgresql:///app?host=a,b", "read-write"),
        ("postgresql://u@a,b/app?target_session_attrs=any", "any"),
        ("postgresql://u@a/app", None),
    ],
)
def test_of_several_hosts_the_one_that_writes_is_meant(url: str, wanted: str | None) -> None:
    found = conninfo_to_dict(connection_string(url, "test"))
    assert found.get("target_session_attrs") == wanted


def test_maintenance_does_not_wait_for_a_server_that_is_gone(db_url: str) -> None:
    settings = replace(Settings.from_env(base_env(db_url)), lock_timeout_ms=1234)
    with connect_for_maintenance(settings) as session:
        given = session.info.get_parameters()
        assert {"tcp_user_timeout", "keepalives_idle"} <= given.keys()
        assert session.execute("show statement_timeout").fetchone() == ("0",)
        assert session.execute("show lock_timeout").fetchone() == ("1234ms",)


def test_json_is_the_same_in_every_encoding(db_url: str) -> None:
    db = Database(f"{db_url}?client_encoding=latin1")
    try:
        asked = {"of": Jsonb({"a": "\u20ac"})}
        assert db.scalar("select ascii(%(of)s::jsonb ->> 'a')", asked) == 0x20AC
    finally:
        db.close()
