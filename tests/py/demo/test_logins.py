"""Login roles may do what their groups may, no more, and never wait forever."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from glue.logins import TIMEOUTS, Login, connected, logged_in, make_url
from tests.conftest import Connect


@pytest.mark.parametrize(
    "parameters",
    [
        {"host": "db.internal", "port": "6432", "user": "eva", "password": "p@ss:/?#", "dbname": "a b"},
        {"host": "::1", "port": "5432", "user": "eva", "dbname": "shop"},
        {"host": "/var/run/postgresql", "port": "5433", "user": "eva", "dbname": "shop"},
        {"host": "one,two", "port": "5432,5433", "user": "eva", "dbname": "shop"},
        {"host": "db", "user": "eva", "dbname": "shop", "options": "-c timezone=UTC", "sslmode": "require"},
        {"dbname": "shop"},
    ],
)
def test_a_url_says_what_libpq_was_told(parameters: dict[str, str]) -> None:
    assert conninfo_to_dict(make_url(parameters)) == parameters


def test_a_login_calls_functions_with_timeouts_and_touches_no_table(connect: Connect, db_url: str) -> None:
    admin = connect()
    login = Login("login_of_a_test", "first", ("booking_app",))
    try:
        login.ensure(admin)
        Login("login_of_a_test", "second", ("booking_app",)).ensure(admin)  # again, with another password
        with connected(login.url(db_url)) as connection:
            for name in TIMEOUTS:
                row = connection.execute("select current_setting(%s) as value", [name]).fetchone()
                assert row == {"value": TIMEOUTS[name]}
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("select from booking.bookings")
        with logged_in(login.url(db_url)) as sql:
            assert sql.scalar("select booking.is_webhook_processed(p_event_id => 'evt_none')") is False
    finally:
        admin.execute("drop role if exists login_of_a_test")


def test_a_password_is_stored_and_sent_encrypted(connect: Connect) -> None:
    admin = connect()
    try:
        Login("login_of_a_test_2", "a secret").ensure(admin)
        row = admin.execute(
            "select rolpassword from pg_authid where rolname = 'login_of_a_test_2'"
        ).fetchone()
        assert row is not None
        assert row["rolpassword"].startswith("SCRAM-SHA-256$")
    finally:
        admin.execute("drop role if exists login_of_a_test_2")
    assert "a secret" not in repr(Login("x", "a secret"))
