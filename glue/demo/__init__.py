"""`pgbooking demo`: the whole system started, its main job done once, the books compared, all gone again."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

import click

from glue.children import Interrupted, Interrupts
from glue.demo.console import Console, StepFailed
from glue.demo.people import Api, Card
from glue.demo.scene import Cast
from glue.demo.story import tell
from glue.logins import logged_in
from glue.system import Secrets, System, SystemFailure

__all__ = ["main"]


def main(*, verbose: bool = False) -> int:
    """Run the demo; the exit code is 0 only when every step held.

    With DATABASE_URL (an administrator's) it runs in a database of its own on that server, and drops it at
    the end.
    """
    console = Console()
    interrupts = Interrupts()
    try:
        with interrupts.caught(), ExitStack() as stack:
            with interrupts.held():
                folder = Path(tempfile.mkdtemp(prefix="pgbooking-demo-"))
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            system = System(
                folder,
                Secrets(),
                interrupts,
                keep=False,
                database_url=os.environ.get("DATABASE_URL") or None,
                verbose=_to_stderr if verbose else None,
            )
            console.note("Starting PostgreSQL, the Stripe sandbox, the server and the worker ...")
            stack.enter_context(system.running())
            return _run(system, console)
    except SystemFailure as failure:
        click.echo(f"pgbooking: {failure}", err=True)
        return 1
    except Interrupted:
        click.echo("\npgbooking: stopped before the end", err=True)
        return 130


def _run(system: System, console: Console) -> int:
    with ExitStack() as stack:
        api, card = stack.enter_context(closing(Api(system.url))), stack.enter_context(closing(Card(system)))
        server = stack.enter_context(logged_in(system.server_url))
        operator = stack.enter_context(logged_in(system.operator_url))
        version = server.scalar("select current_setting('server_version')")
        console.note(
            f"PostgreSQL {version}: {len(system.deployed.migrations)} migrations,"
            f" {len(system.deployed.functions)} function files.\n"
            f"Server {system.url}, sandbox {system.sandbox_url}, ready after {console.seconds():.1f} s."
        )
        try:
            tell(Cast(system, api, card, server, operator), console)
        except StepFailed as error:
            console.failed(error)
        except Exception as error:
            console.failed(StepFailed(type(error).__name__, "no error", " ".join(str(error).split())))
        else:
            console.note(f"\nAll {console.steps} steps held, in {console.seconds():.1f} s.")
            return 0
        _show_logs(system)
        return 1


def _show_logs(system: System) -> None:
    """The last lines that the processes logged, to say why."""
    try:
        system.check()
    except SystemFailure as failure:
        click.echo(f"\n{failure}", err=True)
    lines = system.last_log_lines()
    if lines:
        click.echo("\nThe processes logged last:", err=True)
    for line in lines:
        click.echo(f"    {line}", err=True)


def _to_stderr(line: str) -> None:
    click.echo(click.style(line, dim=True), err=True)
