"""Bring a database to the state of the SQL files, take it back, and say where the two differ.

Tables are changed by the migrations (`db/migrations`, in yoyo's form), each in one transaction together
with yoyo's note of it. Functions are whatever `db/functions` says: a file whose sha256 is not the one in
table `booking.deployed_functions` is loaded again, all of them in one transaction, as role `booking_owner`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row
from yoyo import default_migration_table, read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI

from glue.drift import Difference, find_drift, load, routines
from glue.sessions import Conn, DeployError, alone, become_owner, exists, explain, session
from glue.sqlfiles import find_sql_root, function_files, made_by_migrations

__all__ = ["DeployError", "Deployed", "Difference", "check", "migrate", "pending", "rollback", "sql_root"]

Phase = Literal["migration", "function"]
Report = Callable[[Phase, str, int, int], None]
"""Called as report(phase, name, number of this item, number of items in this phase) before each step."""


@dataclass(frozen=True)
class Deployed:
    """What `migrate` did."""

    migrations: list[str] = field(default_factory=list)
    """Migrations applied now, in order."""
    functions: list[str] = field(default_factory=list)
    """Function files loaded now, in order, relative to db/functions."""
    orphans: list[str] = field(default_factory=list)
    """Functions in schema booking that no file defines: left alone, for a person to drop."""


def sql_root() -> Path:
    """The folder with migrations/ and functions/. Raises DeployError when they are not installed."""
    try:
        return find_sql_root()
    except FileNotFoundError as error:
        raise DeployError(str(error)) from None


def migrate(
    url: str,
    *,
    sql_root: Path | None = None,
    report: Report | None = None,
    reload: bool = False,
    lock_timeout: str = "10s",
    patience: float = 600.0,
) -> Deployed:
    """Apply what is pending, then load the functions that changed.

    `reload` loads every function file, changed or not: it undoes edits by hand. `lock_timeout` (a PostgreSQL
    interval) is how long one statement may wait for a table before the run gives up, so that it holds up no
    application for longer; `patience` (seconds) how long to wait for another run. Raises DeployError.
    """
    root = _root(sql_root)
    tell = report or _silent
    with session(url, lock_timeout) as conn, alone(conn, patience):
        backend = _Backend(conn)
        _adopt_sqitch(conn, backend, root)
        todo = list(backend.to_apply(_migrations(root)))
        for number, migration in enumerate(todo, 1):
            tell("migration", migration.id, number, len(todo))
            _step(backend, migration, "apply")
        # What an earlier rollback took along with its tables must come back with them: load everything.
        loaded = _load_functions(conn, root, tell, everything=reload or bool(todo))
        return Deployed([migration.id for migration in todo], loaded, _orphans(conn, root))


def rollback(
    url: str,
    *,
    steps: int | None = 1,
    sql_root: Path | None = None,
    report: Report | None = None,
    lock_timeout: str = "10s",
    patience: float = 600.0,
) -> list[str]:
    """Take back the last `steps` migrations (None: all of them); returns their names. Their data is gone."""
    root = _root(sql_root)
    tell = report or _silent
    with session(url, lock_timeout) as conn, alone(conn, patience):
        backend = _Backend(conn)
        _adopt_sqitch(conn, backend, root)
        applied = list(backend.to_rollback(_migrations(root)))[:steps]
        for number, migration in enumerate(applied, 1):
            tell("migration", migration.id, number, len(applied))
            _step(backend, migration, "rollback")
        return [migration.id for migration in applied]


def pending(url: str, *, sql_root: Path | None = None) -> list[str]:
    """Names of the migrations that are not applied. Reads only."""
    root = _root(sql_root)
    with session(url) as conn:
        return [difference.name for difference in _pending(conn, root) if difference.kind == "pending"]


def check(url: str, *, sql_root: Path | None = None) -> list[Difference]:
    """Where the database differs from the files; empty when it does not. Changes nothing (see glue.drift)."""
    root = _root(sql_root)
    with session(url) as conn:
        differences = _pending(conn, root)
        if exists(conn, "booking.deployed_functions"):
            differences += find_drift(conn, root)
        return differences


# -- migrations ----------------------------------------------------------------------------------------


class _Cursor(psycopg.Cursor[Any]):
    """Remembers with an error which statement it was: yoyo does not say."""

    def execute(self, query: Any, *arguments: Any, **options: Any) -> _Cursor:
        try:
            return super().execute(query, *arguments, **options)
        except psycopg.Error as error:
            error.add_note(" ".join(str(query).split())[:120])
            raise


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    """yoyo's PostgreSQL backend on a connection that is ours, without its throw-away tables."""

    def __init__(self, conn: Conn) -> None:
        self._given = conn
        nowhere = DatabaseURI("postgresql+psycopg", None, None, None, None, None, {})
        super().__init__(nowhere, default_migration_table)
        if self.lock_table not in self.list_tables():
            self.execute(self.format_sql(self.create_lock_table_sql))  # yoyo's own hides errors
        holder = self.execute("select pid from yoyo_lock").fetchone()
        if holder:
            raise DeployError(
                f"yoyo holds its lock on this database (process {holder[0]}); when that process is gone, "
                "free it with: yoyo break-lock"
            )

    def connect(self, dburi: DatabaseURI) -> Conn:  # noqa: ARG002 - yoyo's signature
        return self._given

    def cursor(self) -> psycopg.Cursor[Any]:
        return _Cursor(self._given, row_factory=tuple_row)


def _step(backend: _Backend, migration: Any, direction: Literal["apply", "rollback"]) -> None:
    """One migration and yoyo's note of it, in one commit."""
    quiet = contextlib.redirect_stdout(io.StringIO())  # yoyo prints the rows that a migration selects
    try:
        migration.load()
        if not migration.use_transactions:
            with quiet:
                migration.process_steps(backend, direction)
        with backend.transaction():
            if migration.use_transactions:
                with quiet:
                    migration.process_steps(backend, direction)
                backend.execute("set local role none")  # a migration may have become the owner
            backend.log_migration(migration, direction)
            (backend.mark_one if direction == "apply" else backend.unmark_one)(migration, log=False)
    except psycopg.Error as error:
        raise DeployError(f"{direction} of {migration.id} failed: {explain(error)}") from error


def _migrations(root: Path) -> Any:
    return read_migrations(str(root / "migrations"))


def _pending(conn: Conn, root: Path) -> list[Difference]:
    files = {migration.hash: migration.id for migration in _migrations(root)}
    if exists(conn, default_migration_table):
        table = sql.Identifier(default_migration_table)
        rows = conn.execute(sql.SQL("select migration_hash, migration_id from {}").format(table))
        applied = {row["migration_hash"]: row["migration_id"] for row in rows}
    else:
        changes = _sqitch_changes(conn)
        applied = {key: name for key, name in files.items() if name in changes}
    todo = [
        Difference("pending", name, "migration not applied")
        for key, name in files.items()
        if key not in applied
    ]
    newer = [
        Difference(
            "unknown", name, "applied, but there is no such file: the database is newer than the files"
        )
        for key, name in applied.items()
        if key not in files
    ]
    return todo + newer


def _sqitch_changes(conn: Conn) -> set[str]:
    if not exists(conn, "sqitch.changes"):
        return set()
    rows = conn.execute("select change from sqitch.changes where project = 'pgbooking'")
    return {row["change"] for row in rows}


def _adopt_sqitch(conn: Conn, backend: _Backend, root: Path) -> None:
    """What sqitch has deployed counts as applied."""
    changes = _sqitch_changes(conn)
    if not changes:
        return
    for migration in backend.to_apply(_migrations(root)):
        if migration.id in changes:
            with backend.transaction():
                backend.mark_one(migration)


# -- functions -----------------------------------------------------------------------------------------


def _load_functions(conn: Conn, root: Path, tell: Report, *, everything: bool) -> list[str]:
    files = function_files(root)
    if not exists(conn, "booking.deployed_functions"):
        if not files:
            return []
        raise DeployError(
            "no migration has made table booking.deployed_functions: functions cannot be loaded"
        )
    try:
        with conn.transaction():
            become_owner(conn)
            rows = conn.execute("select file, sha256 from booking.deployed_functions")
            known = {row["file"]: row["sha256"] for row in rows}
            present = {row["name"] for row in routines(conn)}
            changed = [
                file
                for file in files
                if everything or known.get(file.name) != file.sha256 or file.function not in present
            ]
            for number, file in enumerate(changed, 1):
                tell("function", file.name, number, len(changed))
                load(conn, file)
                conn.execute(
                    "insert into booking.deployed_functions (file, sha256) values (%s, %s)"
                    " on conflict (file) do update"
                    " set sha256 = excluded.sha256, deployed_at = excluded.deployed_at",
                    [file.name, file.sha256],
                )
            gone = sorted(set(known) - {file.name for file in files})
            conn.execute("delete from booking.deployed_functions where file = any(%s)", [gone])
    except psycopg.Error as error:
        raise DeployError(f"the functions were not loaded: {explain(error)}") from error
    return [file.name for file in changed]


def _orphans(conn: Conn, root: Path) -> list[str]:
    expected = {file.function for file in function_files(root)} | made_by_migrations(root)
    return [row["routine"] for row in routines(conn) if row["name"] not in expected]


def _root(given: Path | None) -> Path:
    root = given or sql_root()
    if not (root / "migrations").is_dir():
        raise DeployError(f"there is no folder migrations in {root}")
    return root


def _silent(_phase: Phase, _name: str, _number: int, _total: int) -> None:
    return None
