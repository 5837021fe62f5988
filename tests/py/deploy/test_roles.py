"""Who may install: on a server of its own, because roles belong to the whole server."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from glue import deploy
from tests.pg.servers import running_server
from tests.py.deploy.tools import as_user, dump, yoyo


@pytest.fixture
def server(pg_version: int) -> Iterator[str]:
    """URL of an empty database, owned by a login `installer` that has CREATEROLE and is no superuser."""
    with running_server(pg_version) as cluster:
        with psycopg.connect(cluster.url(), autocommit=True) as conn:
            conn.execute("create role installer login createrole")
            conn.execute("create role stranger login")
            conn.execute("create database shop owner installer")
        yield cluster.url("shop")


def test_a_role_with_createrole_installs_checks_and_takes_back(server: str) -> None:
    url = as_user(server, "installer")

    done = deploy.migrate(url)

    assert done.migrations
    assert deploy.check(url) == []
    assert deploy.migrate(url) == deploy.Deployed()
    ours = dump(server)
    deploy.rollback(url, steps=None)
    deploy.migrate(url)
    assert dump(server) == ours


def test_stock_yoyo_installs_with_createrole_too(server: str) -> None:
    yoyo("apply", as_user(server, "installer"))

    assert deploy.check(server) == []


def test_the_installer_owns_nothing_but_the_owner_does(server: str) -> None:
    deploy.migrate(as_user(server, "installer"))

    with psycopg.connect(server) as conn:
        owners = conn.execute(
            "select proowner::regrole::text from pg_proc where pronamespace = 'booking'::regnamespace"
            " union select relowner::regrole::text from pg_class where relnamespace = 'booking'::regnamespace"
        ).fetchall()
    assert owners == [("booking_owner",)]


def test_roles_survive_a_rollback(server: str) -> None:
    deploy.migrate(server)
    deploy.rollback(server, steps=None)

    with psycopg.connect(server) as conn:
        count = conn.execute("select count(*) from pg_roles where rolname like 'booking\\_%'").fetchone()
    assert count == (4,)


def test_a_login_that_may_not_act_as_the_owner_is_told_the_grant(server: str) -> None:
    deploy.migrate(server)
    with psycopg.connect(server) as conn:
        for table in ("_yoyo_migration", "_yoyo_log", "_yoyo_version", "yoyo_lock"):
            conn.execute(f"grant all on {table} to stranger".encode())
        conn.execute("grant usage on schema booking to stranger")

    with pytest.raises(deploy.DeployError, match='a superuser can run: grant booking_owner to "stranger"'):
        deploy.migrate(as_user(server, "stranger"), reload=True)


def test_a_login_without_rights_gets_one_clear_line(server: str) -> None:
    with pytest.raises(deploy.DeployError, match="permission denied") as caught:
        deploy.migrate(as_user(server, "stranger"))

    assert "\n" not in str(caught.value)
