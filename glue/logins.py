"""Login roles for the processes and people of one installation, and connections as them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from glue.sessions import libpq_url

Row = dict[str, Any]

TIMEOUTS: Mapping[str, str] = {
    "lock_timeout": "5s",
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
}
"""On the login itself: settings on a group role reach nobody."""


@dataclass(frozen=True)
class Login:
    """A role that can log in, is a member of `groups`, and owns nothing."""

    role: str
    password: str = field(repr=False)
    groups: Sequence[str] = ()

    def ensure(self, connection: psycopg.Connection[Any]) -> None:
        """Make it, or set its password, groups and timeouts again. As somebody with CREATEROLE."""
        name = sql.Identifier(self.role)
        known = connection.execute(
            "select 1 as known from pg_catalog.pg_roles where rolname = %s", [self.role]
        )
        if not known.fetchone():
            connection.execute(sql.SQL("create role {}").format(name))
        # Encrypted here, so that no log of statements ever shows it.
        encrypted = connection.pgconn.encrypt_password(
            self.password.encode(), self.role.encode(), b"scram-sha-256"
        )
        connection.execute(
            sql.SQL("alter role {} login password {}").format(name, sql.Literal(encrypted.decode()))
        )
        for group in self.groups:
            connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(group), name))
        for setting, value in TIMEOUTS.items():
            connection.execute(
                sql.SQL("alter role {} set {} = {}").format(name, sql.Identifier(setting), sql.Literal(value))
            )

    def url(self, admin_url: str) -> str:
        """The database of an administrator's URL, as this role."""
        given = conninfo_to_dict(libpq_url(admin_url))
        return make_url(given | {"user": self.role, "password": self.password})


class Sql:
    """A session of one role; rows are dicts."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def all(self, statement: LiteralString, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        return self._connection.execute(statement, parameters).fetchall()

    def one(self, statement: LiteralString, parameters: Mapping[str, Any] | None = None) -> Row:
        return self.all(statement, parameters)[0]

    def scalar(self, statement: LiteralString, parameters: Mapping[str, Any] | None = None) -> Any:
        return next(iter(self.one(statement, parameters).values()))


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[Row]]:
    """A connection in autocommit, silent about what is there already."""
    with psycopg.connect(
        libpq_url(url),
        autocommit=True,
        row_factory=dict_row,
        connect_timeout=10,
        application_name="pgbooking launcher",
    ) as connection:
        connection.execute("set client_min_messages = warning")
        yield connection


@contextmanager
def logged_in(url: str) -> Iterator[Sql]:
    """A session as the role that the URL names."""
    with connected(url) as connection:
        yield Sql(connection)


def make_url(parameters: Mapping[str, Any]) -> str:
    """libpq's parameters as a URL."""
    rest = {name: str(value) for name, value in parameters.items() if value is not None}
    user, password = rest.pop("user", ""), rest.pop("password", "")
    database = rest.pop("dbname", "")
    # A folder of sockets or a list of hosts has no place before the slash.
    host = "" if any(mark in rest.get("host", "") for mark in "/,") else rest.pop("host", "")
    port = rest.pop("port", "") if host else ""
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    where = bracketed(host) + (f":{port}" if port else "")
    query = f"?{urlencode(rest, quote_via=quote)}" if rest else ""
    return f"postgresql://{login}{'@' if login else ''}{where}/{quote(database, safe='')}{query}"


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host
