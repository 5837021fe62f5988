"""What every command shares: how it fails, its options, its connection."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar, overload

import click

Command = TypeVar("Command", bound=Callable[..., Any])

INSTANTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


class Failure(click.ClickException):
    """One line on standard error, exit code 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"pgbooking: {' '.join(self.message.split())}", file=file or sys.stderr)


class Misuse(Failure):
    """The environment does not allow the command: exit code 2."""

    exit_code = 2


class Group(click.Group):
    """Commands in the order in which a person meets them, and errors of what they call as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if not _is_expected(error):
                raise
            wrongly_used = type(error).__name__ == "SettingsError"
            raise (Misuse if wrongly_used else Failure)(_one_line(error)) from error


def _is_expected(error: Exception) -> bool:
    """Ours and the database's: their text is for a person. Anything else is a bug and keeps its trace."""
    return any(
        cls.__module__.split(".")[0] in ("glue", "psycopg", "psycopg_pool") for cls in type(error).__mro__
    )


def _one_line(error: Exception) -> str:
    import psycopg

    from glue.sessions import explain

    return explain(error) if isinstance(error, psycopg.Error) else str(error)


def database(command: Command) -> Command:
    """Adds --database-url and hands `url` to the command."""
    option = click.option(
        "--database-url",
        "url",
        envvar="DATABASE_URL",
        required=True,
        metavar="URL",
        help="For example postgresql://user:secret@host:5432/name. Default: DATABASE_URL.",
    )
    return option(command)


def as_json(command: Command) -> Command:
    """Adds --json and hands `as_json` to the command."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(command)


def request_id() -> str:
    """The name of this invocation in the audit log; the same as often as it is asked for."""
    context = click.get_current_context(silent=True)
    known = {} if context is None else context.meta  # of all commands of one invocation
    found: str = known.setdefault("pgbooking.request_id", f"cli-{uuid.uuid4()}")
    return found


class Session:
    """A connection on which each statement is a transaction that says under which request it runs.

    Not a setting of the session: behind a pooler the next one to get the server process would inherit it.
    """

    def __init__(self, conn: Any, request: str) -> None:
        self._conn = conn
        self._request = request

    def execute(self, query: Any, params: Any = None) -> Any:
        with self._conn.transaction():
            self._conn.execute(
                "select pg_catalog.set_config('booking.request_id', %s, true)", (self._request,)
            )
            return self._conn.execute(query, params)


@contextmanager
def connection(url: str) -> Iterator[Any]:
    """A session with rows as dict, with the timeouts that its role has; every statement commits."""
    import psycopg
    from psycopg.rows import dict_row

    from glue.sessions import libpq_url

    try:
        conn = psycopg.connect(
            libpq_url(url),
            autocommit=True,
            row_factory=dict_row,
            application_name="pgbooking",
            connect_timeout=10,
        )
    except psycopg.OperationalError as error:
        raise Failure(f"the database cannot be reached: {' '.join(str(error).split())}") from error
    with conn:
        yield Session(conn, request_id())


def window(help_of_from: str) -> Callable[[Command], Command]:
    """Adds --from, which is required, and --to, and hands `start` and `end` to the command."""

    def added(command: Command) -> Command:
        end = click.option(
            "--to", "end", type=click.DateTime(INSTANTS), help="And before then. Default: now."
        )
        start = click.option(
            "--from", "start", required=True, type=click.DateTime(INSTANTS), help=help_of_from
        )
        return start(end(command))

    return added


@overload
def utc(moment: datetime) -> datetime: ...
@overload
def utc(moment: datetime | None) -> datetime | None: ...
def utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def exit_unless(well: bool) -> None:
    if not well:
        sys.exit(1)
