"""Bring a database to the state of the SQL files, take it back, and say where the two differ.

Tables are changed by the migrations (`db/migrations`, in yoyo's form), each in one transaction together with its entry
in yoyo's tables. Functions are whatever `db/functions` says: a file whose sha256 is not the one in
`booking.deployed_functions` is loaded again, all of them in one transaction, as role `booking_owner`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row, tuple_row
from yoyo import default_migration_table, read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI

SCHEMA = "booking"
OWNER = "booking_owner"
OLDEST_SERVER = 150000

# Any two runs on one database exclude each other by this advisory lock.
LOCK_KEY = int.from_bytes(hashlib.sha256(b"pgbooking migrate").digest()[:8], signed=True)

Phase = Literal["waiting", "migration", "function"]
Report = Callable[[Phase, str, int, int], None]
"""Called as report(phase, name, number of this item, number of items in this phase) before each step."""


class DeployError(RuntimeError):
    """What went wrong, in one line for the person at the terminal. The step that failed left nothing behind."""


@dataclass(frozen=True)
class Deployed:
    """What `migrate` did."""

    migrations: list[str] = field(default_factory=list)
    """Migrations applied now, in order."""
    functions: list[str] = field(default_factory=list)
    """Function files loaded now, in order, relative to db/functions."""
    orphans: list[str] = field(default_factory=list)
    """Functions in schema booking that no file defines: left alone, for a person to drop."""


@dataclass(frozen=True)
class Difference:
    """One way in which the database is not what the files say."""

    kind: Literal["pending", "unknown", "edited", "outdated", "missing", "extra", "broken"]
    name: str
    detail: str


@dataclass(frozen=True)
class FunctionFile:
    """One file below db/functions."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def function(self) -> str:
        return Path(self.name).stem

    @property
    def has_trigger(self) -> bool:
        return (
            re.search(r"^\s*create\s+(or\s+replace\s+)?(constraint\s+)?trigger\b", self.text, re.M | re.I)
            is not None
        )


def sql_root() -> Path:
    """The folder with migrations/ and functions/: `db` in a checkout, `glue/_db` where the wheel is installed."""
    package = Path(__file__).resolve().parent
    for root in (package.parent / "db", package / "_db"):
        if (root / "migrations").is_dir():
            return root
    raise DeployError("the SQL files are not installed beside the package glue")


def function_files(root: Path) -> list[FunctionFile]:
    """Every function file, in the order in which they are loaded."""
    folder = root / "functions"
    paths = sorted(folder.rglob("*.sql"), key=lambda path: path.relative_to(folder).parts)
    return [
        FunctionFile(path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")) for path in paths
    ]


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

    `reload` loads every function file, changed or not: it undoes edits by hand. `lock_timeout` (PostgreSQL interval) is
    how long one statement may wait for a table before the run gives up, so that it never holds up an application for
    longer; `patience` (seconds) how long to wait for another run. Raises DeployError.
    """
    root = _root(sql_root)
    tell = report or _silent
    with _session(url, lock_timeout) as conn, _exclusive(conn, tell, patience):
        backend = _Backend(conn)
        _adopt_sqitch(conn, backend, root)
        pending_now = list(backend.to_apply(read_migrations(str(root / "migrations"))))
        for number, migration in enumerate(pending_now, 1):
            tell("migration", migration.id, number, len(pending_now))
            _step(backend, migration, "apply")
        # A rollback in between may have taken functions along, so new migrations load them all.
        loaded = _load_functions(conn, root, tell, everything=reload or bool(pending_now))
        return Deployed([m.id for m in pending_now], loaded, _orphans(conn, root))


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
    with _session(url, lock_timeout) as conn, _exclusive(conn, tell, patience):
        backend = _Backend(conn)
        _adopt_sqitch(conn, backend, root)
        applied = list(backend.to_rollback(read_migrations(str(root / "migrations"))))[:steps]
        for number, migration in enumerate(applied, 1):
            tell("migration", migration.id, number, len(applied))
            _step(backend, migration, "rollback")
        if applied and _exists(conn, "booking.deployed_functions"):
            with conn.transaction():
                _become_owner(conn)
                conn.execute("delete from booking.deployed_functions")
        return [migration.id for migration in applied]


def pending(url: str, *, sql_root: Path | None = None) -> list[str]:
    """Names of the migrations that are not applied. Reads only."""
    root = _root(sql_root)
    with _session(url) as conn:
        return [difference.name for difference in _pending(conn, root) if difference.kind == "pending"]


def check(url: str, *, sql_root: Path | None = None) -> list[Difference]:
    """Where the database differs from the files; empty when it does not.

    The files are loaded in transactions that are rolled back, and the catalog before and after is compared: body,
    settings, owner, rights, comment, triggers. Callers of the functions notice nothing; a table with a trigger is
    locked against writes for the moment in which its trigger is tried.
    """
    root = _root(sql_root)
    with _session(url) as conn:
        differences = _pending(conn, root)
        if not _exists(conn, "booking.deployed_functions"):
            return differences
        files = function_files(root)
        plain = [file for file in files if not file.has_trigger]
        differences += _compare(conn, plain)
        for file in files:
            if file.has_trigger:
                differences += _compare(conn, [file])
        return differences + _extra(conn, files, root)


# -- migrations -------------------------------------------------------------------------------------------------------


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

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self._given = conn
        super().__init__(
            DatabaseURI("postgresql+psycopg", None, None, None, None, None, {}), default_migration_table
        )
        if self.lock_table not in self.list_tables():
            self.create_lock_table()
        holder = self.execute(f"select pid from {self.lock_table_quoted}").fetchone()  # noqa: S608
        if holder:
            raise DeployError(
                f"yoyo holds its lock on this database (process {holder[0]}); when that process is gone, "
                "free it with: yoyo break-lock"
            )

    def cursor(self) -> psycopg.Cursor[Any]:
        return _Cursor(self._given, row_factory=tuple_row)

    def connect(self, dburi: DatabaseURI) -> psycopg.Connection[Any]:  # noqa: ARG002
        return self._given


def _step(backend: _Backend, migration: Any, direction: Literal["apply", "rollback"]) -> None:
    """One migration and yoyo's note of it, in one commit."""
    quiet = io.StringIO()  # yoyo prints the rows that a migration selects
    try:
        migration.load()
        if not migration.use_transactions:
            with contextlib.redirect_stdout(quiet):
                migration.process_steps(backend, direction)
        with backend.transaction():
            if migration.use_transactions:
                with contextlib.redirect_stdout(quiet):
                    migration.process_steps(backend, direction)
                backend.execute("set local role none")
            backend.log_migration(migration, direction)
            (backend.mark_one if direction == "apply" else backend.unmark_one)(migration, log=False)
    except psycopg.Error as error:
        raise DeployError(f"{direction} of {migration.id} failed: {_explain(error)}") from error


def _pending(conn: psycopg.Connection[Any], root: Path) -> list[Difference]:
    migrations = {m.hash: m.id for m in read_migrations(str(root / "migrations"))}
    applied: dict[str, str] = {}
    if _exists(conn, default_migration_table):
        table = sql.Identifier(default_migration_table)
        rows = conn.execute(sql.SQL("select migration_hash, migration_id from {}").format(table))
        applied = {row["migration_hash"]: row["migration_id"] for row in rows}
    else:
        names = {name: hashed for hashed, name in migrations.items()}
        applied = {names[name]: name for name in _sqitch_changes(conn) if name in names}
    todo = [
        Difference("pending", name, "migration not applied")
        for key, name in migrations.items()
        if key not in applied
    ]
    newer = [
        Difference(
            "unknown", name, "applied, but there is no such file: the database is newer than these files"
        )
        for key, name in applied.items()
        if key not in migrations
    ]
    return todo + newer


def _sqitch_changes(conn: psycopg.Connection[Any]) -> list[str]:
    if not _exists(conn, "sqitch.changes"):
        return []
    return [
        row["change"] for row in conn.execute("select change from sqitch.changes where project = 'pgbooking'")
    ]


def _adopt_sqitch(conn: psycopg.Connection[Any], backend: _Backend, root: Path) -> None:
    """What sqitch has deployed counts as applied."""
    changes = set(_sqitch_changes(conn))
    if not changes:
        return
    for migration in backend.to_apply(read_migrations(str(root / "migrations"))):
        if migration.id in changes:
            with backend.transaction():
                backend.mark_one(migration)


# -- functions --------------------------------------------------------------------------------------------------------


def _load_functions(
    conn: psycopg.Connection[Any], root: Path, tell: Report, *, everything: bool
) -> list[str]:
    files = function_files(root)
    if not _exists(conn, "booking.deployed_functions"):
        if not files:
            return []
        raise DeployError(
            "no migration has made table booking.deployed_functions, so functions cannot be loaded"
        )
    try:
        with conn.transaction():
            _become_owner(conn)
            known = {
                row["file"]: row["sha256"]
                for row in conn.execute("select file, sha256 from booking.deployed_functions")
            }
            present = {row["proname"] for row in _routines(conn)}
            changed = [
                file
                for file in files
                if everything or known.get(file.name) != file.sha256 or file.function not in present
            ]
            for number, file in enumerate(changed, 1):
                tell("function", file.name, number, len(changed))
                _load(conn, file)
                conn.execute(
                    "insert into booking.deployed_functions (file, sha256) values (%s, %s)"
                    " on conflict (file) do update set sha256 = excluded.sha256, deployed_at = excluded.deployed_at",
                    [file.name, file.sha256],
                )
            gone = set(known) - {file.name for file in files}
            if gone:
                conn.execute("delete from booking.deployed_functions where file = any(%s)", [sorted(gone)])
    except psycopg.Error as error:
        raise DeployError(f"the functions were not loaded: {_explain(error)}") from error
    return [file.name for file in changed]


def _become_owner(conn: psycopg.Connection[Any]) -> None:
    try:
        conn.execute(sql.SQL("set local role {}").format(sql.Identifier(OWNER)))
    except psycopg.errors.InsufficientPrivilege as error:
        who = conn.info.user
        raise DeployError(
            f'role "{who}" may not act as {OWNER}; a superuser can run: grant {OWNER} to "{who}"'
        ) from error
    conn.execute("set local check_function_bodies = off")


def _load(conn: psycopg.Connection[Any], file: FunctionFile) -> None:
    try:
        conn.execute(file.text.encode())
    except psycopg.Error as error:
        position = int(error.diag.statement_position or 0)
        line = f", line {file.text.count(chr(10), 0, position) + 1}" if position else ""
        raise DeployError(f"db/functions/{file.name}{line}: {_explain(error)}") from error


def _orphans(conn: psycopg.Connection[Any], root: Path) -> list[str]:
    if not _exists(conn, "booking.deployed_functions"):
        return []
    expected = {file.function for file in function_files(root)} | _made_by_migrations(root)
    return [row["routine"] for row in _routines(conn) if row["proname"] not in expected]


def _made_by_migrations(root: Path) -> set[str]:
    pattern = re.compile(
        r"^\s*create\s+(?:or\s+replace\s+)?(?:function|procedure)\s+booking\.(\w+)", re.M | re.I
    )
    texts = (path.read_text(encoding="utf-8") for path in (root / "migrations").glob("*.sql"))
    return {name for text in texts for name in pattern.findall(text)}


def _routines(conn: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    return conn.execute(
        "select p.proname, p.oid::regprocedure::text as routine"
        " from pg_catalog.pg_proc p where p.pronamespace = 'booking'::regnamespace"
        " order by 2"
    ).fetchall()


# -- check ------------------------------------------------------------------------------------------------------------

# One row an object: what it is called, and all that a function file decides about it.
_SNAPSHOT = """
select 'function ' || p.oid::regprocedure::text as object, p.xmin::text as version,
  pg_catalog.jsonb_build_object(
    'definition', case when p.prokind = 'a' then p.proname::text else pg_catalog.pg_get_functiondef(p.oid) end,
    'owner', p.proowner::regrole::text,
    'rights', (
      select pg_catalog.jsonb_agg(
        (case a.grantee when 0 then 'public' else a.grantee::regrole::text end)
          || ' ' || a.privilege_type || case when a.is_grantable then ' with grant option' else '' end
        order by a.grantee, a.privilege_type)
      from pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
    ),
    'comment', pg_catalog.obj_description(p.oid, 'pg_proc')
  ) as facts
from pg_catalog.pg_proc p
where p.pronamespace = 'booking'::regnamespace
union all
select 'trigger ' || t.tgname || ' on ' || t.tgrelid::regclass::text, t.xmin::text,
  pg_catalog.jsonb_build_object(
    'definition', pg_catalog.pg_get_triggerdef(t.oid),
    'enabled', t.tgenabled::text
  )
from pg_catalog.pg_trigger t
join pg_catalog.pg_class c on c.oid = t.tgrelid
where c.relnamespace = 'booking'::regnamespace and not t.tgisinternal and t.tgparentid = 0
"""

# Rights that files grant come back when they are loaded; those given by hand do not.
_TAKE_RIGHTS = """
do $do$
declare
  v_right record;
begin
  for v_right in
    select distinct case p.prokind when 'p' then 'procedure' else 'function' end as kind,
      p.oid::regprocedure::text as routine,
      case a.grantee when 0 then 'public' else a.grantee::regrole::text end as grantee
    from pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) a
    where p.pronamespace = 'booking'::regnamespace and a.grantee <> p.proowner
      and pg_catalog.pg_has_role(current_user, p.proowner, 'USAGE')
  loop
    execute pg_catalog.format('revoke all on %s %s from %s cascade', v_right.kind, v_right.routine, v_right.grantee);
  end loop;
end
$do$
"""


def _compare(conn: psycopg.Connection[Any], files: Sequence[FunctionFile]) -> list[Difference]:
    """Load `files`, look at what that changed, take it back."""
    found: list[Difference] = []
    with _rolled_back(conn):
        _become_owner(conn)
        deployed = {
            row["file"]: row["sha256"]
            for row in conn.execute("select file, sha256 from booking.deployed_functions")
        }
        before = _snapshot(conn)
        conn.execute(_TAKE_RIGHTS)
        made: dict[str, FunctionFile] = {}
        last = {name: version for name, (version, _) in _snapshot(conn).items()}
        for file in files:
            try:
                with conn.transaction():
                    _load(conn, file)
            except DeployError as error:
                found.append(Difference("broken", file.name, str(error)))
                continue
        after = _snapshot(conn)
        by_function = {file.function: file for file in files}
        for name, (version, facts) in after.items():
            origin = by_function.get(_function_of(name, facts))
            if origin is None or version == last.get(name):
                continue
            made[name] = origin
            difference = _difference(name, before.get(name), facts, origin, deployed)
            if difference:
                found.append(difference)
    return found


def _difference(
    name: str,
    before: tuple[str, dict[str, Any]] | None,
    facts: dict[str, Any],
    file: FunctionFile,
    deployed: dict[str, str],
) -> Difference | None:
    if before is None:
        return Difference("missing", name, f"{file.name} defines it, the database does not have it")
    parts = [part for part in facts if facts[part] != before[1].get(part)]
    if not parts:
        return None
    what = " and ".join(parts)
    if deployed.get(file.name) not in (None, file.sha256):
        return Difference("outdated", name, f"{file.name} has changed since it was loaded ({what})")
    return Difference("edited", name, f"{what} in the database differ from {file.name}")


def _function_of(name: str, facts: dict[str, Any]) -> str:
    """The bare name of the function that an object of the snapshot is, or calls."""
    if name.startswith("function "):
        return name.removeprefix("function ").split("(")[0].rpartition(".")[2].strip('"')
    called = re.search(r"EXECUTE (?:FUNCTION|PROCEDURE) (?:\w+\.)?(\w+)\(", str(facts["definition"]))
    return called.group(1) if called else ""


def _snapshot(conn: psycopg.Connection[Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    return {row["object"]: (row["version"], row["facts"]) for row in conn.execute(_SNAPSHOT)}


def _extra(conn: psycopg.Connection[Any], files: Iterable[FunctionFile], root: Path) -> list[Difference]:
    """Functions and overloads that no file makes."""
    plain = [file for file in files if not file.has_trigger]
    expected = {file.function for file in files} | _made_by_migrations(root)
    names_of_plain = {file.function for file in plain}
    with _rolled_back(conn):
        _become_owner(conn)
        before = _snapshot(conn)
        for file in plain:
            with contextlib.suppress(DeployError), conn.transaction():
                _load(conn, file)
        after = _snapshot(conn)
    extra: list[Difference] = []
    for name, (version, facts) in after.items():
        function = _function_of(name, facts)
        untouched = name in before and before[name][0] == version
        if name.startswith("function ") and (
            function not in expected or (untouched and function in names_of_plain)
        ):
            extra.append(Difference("extra", name, "no function file defines it"))
    return extra


@contextlib.contextmanager
def _rolled_back(conn: psycopg.Connection[Any]) -> Iterator[None]:
    with conn.transaction(force_rollback=True):
        yield


# -- connections ------------------------------------------------------------------------------------------------------


def libpq_url(url: str) -> str:
    """The URL as libpq reads it: yoyo's and SQLAlchemy's postgresql+psycopg:// means postgresql://."""
    return re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", url)


@contextlib.contextmanager
def _session(url: str, lock_timeout: str = "10s") -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A direct connection, in autocommit, that no timeout of the login role cuts short."""
    try:
        parameters = conninfo_to_dict(libpq_url(url))
        parameters.setdefault("connect_timeout", 10)
        parameters.setdefault("application_name", "pgbooking deploy")
    except psycopg.ProgrammingError as error:
        raise DeployError(f"this is not a PostgreSQL URL: {_explain(error)}") from None
    try:
        conn = psycopg.connect(**parameters, autocommit=True, row_factory=dict_row)  # type: ignore[arg-type]
    except psycopg.OperationalError as error:
        raise DeployError(f"the database cannot be reached: {_explain(error)}") from error
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
    except psycopg.OperationalError as error:
        raise DeployError(f"the database failed: {_explain(error)}") from error
    finally:
        conn.close()


def _refuse_old_server(conn: psycopg.Connection[Any]) -> None:
    if conn.info.server_version < OLDEST_SERVER:
        raise DeployError(
            f"PostgreSQL 15 or newer is needed, this is {conn.info.parameter_status('server_version')}"
        )


def _refuse_transaction_pooler(conn: psycopg.Connection[Any], parameters: dict[str, Any]) -> None:
    """Session state (advisory lock, settings) is lost behind a pooler in transaction mode.

    A pooler shows itself by a process id that is not the server's; whether it pools transactions, by giving the
    server process of one idle client to another.
    """
    first = _pid(conn)
    if conn.info.backend_pid == first:
        return
    with psycopg.connect(**parameters, row_factory=dict_row) as other:
        shared = _pid(other) == first or _pid(conn) != first
        other.rollback()
    if shared:
        raise DeployError(
            "this URL leads to a pooler in transaction mode (PgBouncer?); use the server's own address to migrate"
        )


def _pid(conn: psycopg.Connection[Any]) -> int:
    row = conn.execute("select pg_catalog.pg_backend_pid() as pid").fetchone()
    assert row is not None
    return int(row["pid"])


@contextlib.contextmanager
def _exclusive(conn: psycopg.Connection[Any], tell: Report, patience: float) -> Iterator[None]:
    """Hold the advisory lock. Asked for again and again: a waiting statement would block `create index concurrently`."""
    deadline = time.monotonic() + patience
    told = False
    while True:
        row = conn.execute("select pg_catalog.pg_try_advisory_lock(%s) as taken", [LOCK_KEY]).fetchone()
        if row and row["taken"]:
            break
        if time.monotonic() >= deadline:
            raise DeployError("another migration of this database is still running")
        if not told:
            tell("waiting", "another migration of this database", 1, 1)
            told = True
        time.sleep(0.2)
    try:
        yield
    finally:
        if not conn.closed and not conn.broken:
            conn.execute("select pg_catalog.pg_advisory_unlock(%s)", [LOCK_KEY])


def _exists(conn: psycopg.Connection[Any], relation: str) -> bool:
    row = conn.execute("select pg_catalog.to_regclass(%s) is not null as there", [relation]).fetchone()
    return bool(row and row["there"])


def _root(given: Path | None) -> Path:
    root = given or sql_root()
    if not (root / "migrations").is_dir():
        raise DeployError(f"there is no folder migrations in {root}")
    return root


def _silent(_phase: Phase, _name: str, _number: int, _total: int) -> None:
    return None


def _explain(error: psycopg.Error) -> str:
    """One line: message, detail and hint of the server, or libpq's own text."""
    diag = error.diag
    if not diag.message_primary:
        return " ".join(str(error).split())
    parts = [diag.message_primary, diag.message_detail, diag.message_hint]
    text = ". ".join(part.rstrip(".") for part in parts if part)
    statement = next(iter(getattr(error, "__notes__", [])), "")
    return f"{text} (in: {statement})" if statement else text
