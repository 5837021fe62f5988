"""The application's roles, tried against every table and every function that they must not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql

ROLES = ("app", "cron", "dba")
_LIST = Path(__file__).parents[2] / "sql" / "catalog" / "test_functions.sql"
GRANTED = {
    name: set(roles.split())
    for name, roles in re.findall(r"^  \('([a-z_]+)\([^']*\)', '([a-z ]*)', '", _LIST.read_text(), re.M)
}
"""Which roles may call a function: where the tests of the catalog say so."""

STATEMENTS = (
    "select from booking.{}",
    "insert into booking.{} default values",
    "delete from booking.{}",
    "truncate booking.{}",
    "lock table booking.{} in access share mode",
    "create view pg_temp.seen as select * from booking.{}; select from pg_temp.seen",
)


def attempts(
    connection: psycopg.Connection[tuple[str, ...]], role: str
) -> Iterator[tuple[str, sql.Composed]]:
    """What to try as this role: its name, and the statement."""
    found = connection.execute(
        "select c.relname::text from pg_class c where c.relnamespace = 'booking'::regnamespace"
        " and c.relkind in ('r', 'p', 'v', 'm') order by 1"
    ).fetchall()
    for (table,) in found:
        for statement in STATEMENTS:
            yield statement.format(table), sql.SQL(statement).format(sql.Identifier(table))
    # a trigger's function can be called by nobody
    routines = connection.execute(
        "select p.oid::regprocedure::text, p.proname::text, p.prokind::text,"
        " (select coalesce(string_agg(format('(select null::%s)', t::regtype), ', ' order by n), '')"
        "   from unnest(p.proargtypes::oid[]) with ordinality u (t, n)) from pg_proc p"
        " where p.pronamespace = 'booking'::regnamespace and p.prorettype <> 'trigger'::regtype order by 1"
    ).fetchall()
    for signature, name, kind, nulls in routines:
        if role in GRANTED[name]:
            continue
        word = "call" if kind == "p" else "select"
        # written down in the catalog, by ourselves
        text = f'{word} booking."{name}"({nulls})'
        yield signature, sql.Composed([sql.SQL(text)])


def faults_of_role(url: str, role: str) -> tuple[int, list[str]]:
    """How much was tried, and what was not refused for want of the right."""
    tried, found = 0, []
    with psycopg.connect(url) as connection:
        for name, statement in list(attempts(connection, role)):
            tried += 1
            connection.execute(sql.SQL("set local role {}").format(sql.Identifier(f"booking_{role}")))
            try:
                connection.execute(statement)
                found.append(f"booking_{role}: {name}: was done")
            except psycopg.errors.InsufficientPrivilege as refusal:
                if "permission denied for" not in str(refusal):
                    found.append(f"booking_{role}: {name}: {refusal}")
            except psycopg.Error as error:
                found.append(f"booking_{role}: {name}: {error}")
            connection.rollback()
    return tried, found
