"""Connections for work on the schema: direct, alone, and with errors that a person can read."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

Conn = psycopg.Connection[dict[str, Any]]

OWNER = "booking_owner"
OLDEST_SERVER = 150000

# Any two runs on one database exclude each other by this advisory lock.
LOCK_KEY = int.from_bytes(hashlib.sha256(b"pgbooking migrate").digest()[:8], "big", signed=True)


class DeployError(RuntimeError):
    """What went wrong, in one line for the person at the terminal. The failed step left nothing behind."""


def libpq_url(url: str) -> str:
    """The URL as libpq reads it: the postgresql+psycopg:// of yoyo and SQLAlchemy means postgresql://."""
    return re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", url)


@contextlib.contextmanager
def session(url: str, lock_timeout: str = "10s") -> Iterator[Conn]:
    """A direct connection, in autocommit, that no timeout of the login role cuts short.

    Raises DeployError when the server cannot be reached, is too old, or is behind a transaction pooler.
    """
    try:
        parameters: dict[str, Any] = dict(conninfo_to_dict(libpq_url(url)))
    except psycopg.ProgrammingError as error:
        raise DeployError(f"this is not a PostgreSQL URL: {explain(error)}") from None
    parameters.setdefault("connect_timeout", 10)
    parameters.setdefault("application_name", "pgbooking deploy")
    try:
        conn = psycopg.connect(**parameters, autocommit=True, row_factory=dict_row)
    except psycopg.OperationalError as error:
        raise DeployError(f"the database cannot be reached: {explain(error)}") from error
    try:
        _refuse_old_server(conn)
        _refuse_transaction_pooler(conn, parameters)
        for name, value in (
            ("statement_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            ("lock_timeout", lock_timeout),
            ("client_min_messages", "warning"),
        ):
            conn.execute("select pg_catalog.set_config(%s, %s, false)", [name, value])
        yield conn
    except psycopg.Error as error:
        raise DeployError(f"the database refused: {explain(error)}") from error
    finally:
        conn.close()


def _refuse_old_server(conn: Conn) -> None:
    if conn.info.server_version < OLDEST_SERVER:
        version = conn.info.parameter_status("server_version")
        raise DeployError(f"PostgreSQL 15 or newer is needed, this is {version}")


def _refuse_transaction_pooler(conn: Conn, parameters: dict[str, Any]) -> None:
    """Session state (advisory lock, settings) is lost behind a pooler in transaction mode.

    A pooler shows itself by a process id that is not the server's; that it pools transactions, by giving
    the server process of one idle client to another.
    """
    first = _server_process(conn)
    if conn.info.backend_pid == first:
        return
    with psycopg.connect(**parameters, row_factory=dict_row) as other:
        shared = _server_process(other) == first or _server_process(conn) != first
    if shared:
        raise DeployError(
            "this URL leads to a pooler in transaction mode (PgBouncer?); use the server's own address"
        )


def _server_process(conn: Conn) -> int:
    row = conn.execute("select pg_catalog.pg_backend_pid() as pid").fetchone()
    assert row is not None
    return int(row["pid"])


@contextlib.contextmanager
def alone(conn: Conn, patience: float) -> Iterator[None]:
    """Hold the advisory lock of this database; waits up to `patience` seconds for another holder.

    Asks again and again, because a waiting statement would hold up the `create index concurrently` of
    the other.
    """
    deadline = time.monotonic() + patience
    while True:
        row = conn.execute("select pg_catalog.pg_try_advisory_lock(%s) as taken", [LOCK_KEY]).fetchone()
        if row and row["taken"]:
            break
        if time.monotonic() >= deadline:
            raise DeployError("another migration of this database is still running")
        time.sleep(0.1)
    try:
        yield
    finally:
        if not conn.closed and not conn.broken:
            conn.execute("select pg_catalog.pg_advisory_unlock(%s)", [LOCK_KEY])


def become_owner(conn: Conn) -> None:
    """Until the end of the transaction: act as booking_owner, and take function bodies unread."""
    try:
        conn.execute(sql.SQL("set local role {}").format(sql.Identifier(OWNER)))
    except psycopg.errors.InsufficientPrivilege as error:
        who = conn.info.user
        raise DeployError(
            f'role "{who}" may not act as {OWNER}; a superuser can run: grant {OWNER} to "{who}"'
        ) from error
    except psycopg.errors.InvalidParameterValue as error:
        raise DeployError(f"there is no role {OWNER}: the first migration makes it") from error
    conn.execute("set local check_function_bodies = off")


def exists(conn: Conn, relation: str) -> bool:
    """Whether the search path or the named schema has this relation."""
    row = conn.execute("select pg_catalog.to_regclass(%s) is not null as there", [relation]).fetchone()
    return bool(row and row["there"])


def explain(error: psycopg.Error) -> str:
    """One line: the server's message, detail and hint, or libpq's own text."""
    diag = error.diag
    if not diag.message_primary:
        return " ".join(str(error).split())
    parts = [diag.message_primary, diag.message_detail, diag.message_hint]
    text = ". ".join(" ".join(part.rstrip(".").split()) for part in parts if part)
    statement = next(iter(getattr(error, "__notes__", [])), "")
    return f"{text} (in: {statement})" if statement else text
