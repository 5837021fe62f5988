"""Find what in schema `booking` is not as the function files say.

The files are loaded in transactions that are rolled back, and the catalog before and after is compared:
definition, owner, rights and comment of every function, definition and state of every trigger. Callers
notice nothing; a table with a trigger is locked against writes for the moment in which its trigger is tried.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg

from glue.sessions import Conn, DeployError, become_owner, explain
from glue.sqlfiles import FunctionFile, function_files, made_by_migrations

Kind = Literal["pending", "unknown", "edited", "outdated", "missing", "extra", "broken"]
Facts = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One way in which the database is not what the files say.

    pending: a migration that is not applied · unknown: an applied one without a file · edited: changed by
    hand · outdated: its file has changed since it was loaded · missing: not in the database · extra: in no
    file · broken: the file cannot be loaded.
    """

    kind: Kind
    name: str
    detail: str


_SNAPSHOT = """
select 'function ' || p.oid::regprocedure::text as object, p.proname::text as name,
  p.ctid::text || ' ' || p.xmin::text as version,
  pg_catalog.jsonb_build_object(
    'definition', case when p.prokind <> 'a' then pg_catalog.pg_get_functiondef(p.oid) end,
    'owner', p.proowner::regrole::text,
    'rights', (
      select pg_catalog.jsonb_agg(
        (case a.grantee when 0 then 'public' else a.grantee::regrole::text end) || ' ' || a.privilege_type
          || case when a.is_grantable then ' with grant option' else '' end
        order by a.grantee, a.privilege_type)
      from pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
    ),
    'comment', pg_catalog.obj_description(p.oid, 'pg_proc')
  ) as facts
from pg_catalog.pg_proc p
where p.pronamespace = 'booking'::regnamespace
union all
select 'trigger ' || t.tgname || ' on ' || t.tgrelid::regclass::text, t.tgname::text,
  t.ctid::text || ' ' || t.xmin::text,
  pg_catalog.jsonb_build_object(
    'definition', pg_catalog.pg_get_triggerdef(t.oid),
    'state', t.tgenabled::text
  )
from pg_catalog.pg_trigger t
join pg_catalog.pg_class c on c.oid = t.tgrelid
where c.relnamespace = 'booking'::regnamespace and not t.tgisinternal and t.tgparentid = 0
"""

# The rights that files grant come back when they are loaded; those given by hand do not.
_TAKE_RIGHTS = """
do $do$
declare
  v_right record;
begin
  for v_right in
    select distinct p.oid::regprocedure::text as routine,
      case a.grantee when 0 then 'public' else a.grantee::regrole::text end as grantee
    from pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) a
    where p.pronamespace = 'booking'::regnamespace and a.grantee <> p.proowner
      and p.proowner = current_user::regrole
  loop
    execute pg_catalog.format('revoke all on routine %s from %s cascade', v_right.routine, v_right.grantee);
  end loop;
end
$do$
"""


def find_drift(conn: Conn, root: Path) -> list[Difference]:
    """Compare every function file with the database. Raises DeployError when that cannot be done."""
    files = function_files(root)
    trial = _Trial(conn)
    trial.run([file for file in files if not file.has_trigger])
    for file in files:
        if file.has_trigger:  # one by one, so that no two tables are locked at once
            trial.run([file])
    return trial.found + trial.extra(made_by_migrations(root))


def load(conn: Conn, file: FunctionFile) -> None:
    """Run one function file. Raises DeployError with the file's name and line."""
    try:
        conn.execute(file.text.encode())
    except psycopg.Error as error:
        position = int(error.diag.statement_position or 0)
        line = f" line {file.text.count(chr(10), 0, position) + 1}" if position else ""
        raise DeployError(f"functions/{file.name}{line}: {explain(error)}") from error


def routines(conn: Conn) -> list[dict[str, Any]]:
    """name and routine (with its argument types) of every function in schema booking."""
    return conn.execute(
        "select p.proname::text as name, p.oid::regprocedure::text as routine"
        " from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname = 'booking' order by 2"
    ).fetchall()


@dataclass(frozen=True)
class _Object:
    name: str
    version: str
    facts: Facts


class _Trial:
    """Loads files for a moment and remembers what they touched and what they would change."""

    def __init__(self, conn: Conn) -> None:
        self._conn = conn
        self._touched: set[str] = set()
        self._broken: set[str] = set()
        self._all: dict[str, _Object] = {}
        self.found: list[Difference] = []

    def run(self, files: Sequence[FunctionFile]) -> None:
        conn = self._conn
        with conn.transaction(force_rollback=True):
            become_owner(conn)
            rows = conn.execute("select file, sha256 from booking.deployed_functions")
            deployed = {row["file"]: row["sha256"] for row in rows}
            before = self._snapshot()
            self._all = before
            conn.execute(_TAKE_RIGHTS.encode())
            without_rights = self._snapshot()
            for file in files:
                try:
                    with conn.transaction():
                        load(conn, file)
                except DeployError as error:
                    self._broken.add(file.function)
                    self.found.append(Difference("broken", file.name, str(error)))
            after = self._snapshot()
        origin = {file.function: file for file in files}
        for key, now in after.items():
            if key in without_rights and without_rights[key].version == now.version:
                continue
            self._touched.add(key)
            changed_file = origin.get(_function_of(now))
            if changed_file is not None:
                self._note(key, before.get(key), now, changed_file, deployed)

    def extra(self, by_migrations: set[str]) -> list[Difference]:
        """What no file touched."""
        return [
            Difference("extra", key, "no file defines it")
            for key, found in self._all.items()
            if key not in self._touched
            and found.name not in by_migrations
            and _function_of(found) not in self._broken
        ]

    def _note(
        self, key: str, before: _Object | None, now: _Object, file: FunctionFile, deployed: dict[str, str]
    ) -> None:
        if before is None:
            self.found.append(Difference("missing", key, f"{file.name} defines it, the database has it not"))
            return
        parts = [part for part, value in now.facts.items() if before.facts.get(part) != value]
        if not parts:
            return
        what = " and ".join(parts)
        if deployed.get(file.name, file.sha256) != file.sha256:
            self.found.append(
                Difference("outdated", key, f"{file.name} has changed since it was loaded: {what}")
            )
        else:
            self.found.append(Difference("edited", key, f"not as in {file.name}: {what}"))

    def _snapshot(self) -> dict[str, _Object]:
        rows = self._conn.execute(_SNAPSHOT)
        return {row["object"]: _Object(row["name"], row["version"], row["facts"]) for row in rows}


def _function_of(item: _Object) -> str:
    """The name of the function that this object is, or that this trigger calls."""
    called = re.search(r" EXECUTE FUNCTION (?:\w+\.)?(\w+)\(", str(item.facts["definition"]))
    return called[1] if called and "state" in item.facts else item.name
