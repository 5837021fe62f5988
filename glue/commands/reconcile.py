"""`pgbooking reconcile`: our books against Stripe's."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from glue import console
from glue.commands.base import as_json, database, exit_unless, request_id, utc, window

if TYPE_CHECKING:
    from glue.reconcile import Report

_LABELS = {
    "payment_intent": "PaymentIntents",
    "charge": "charges",
    "refund": "refunds",
    "doubtful": "asked again",
}
_STEPS = 1000
_STATEMENT_TIMEOUT_MS = 300_000


@click.command()
@database
@as_json
@window("What Stripe created from then on, UTC unless it says more; inclusive.")
@click.option(
    "--patience",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0, 3600),
    help="Seconds for events that are on their way.",
)
def reconcile(url: str, as_json: bool, *, start: datetime, end: datetime | None, patience: float) -> None:
    """Compare our books with Stripe's and print the differences by kind; exit code 1 when there are any.

    Pages through Stripe's PaymentIntents, charges and refunds of the window, and asks what came of commands
    whose outcome nobody knows. Changes nothing at Stripe. Needs a login in booking_app and STRIPE_SECRET_KEY.
    What each kind means: docs/operations.md, Reconciliation.

    \b
    pgbooking reconcile --from 2026-11-20 --to 2026-11-21
    pgbooking reconcile --from 2026-11-20T08:00 --json | jq '.differences[].kind'
    """
    import logging
    import socket

    from glue.db import Database
    from glue.mirror import Mirror
    from glue.reconcile import Reconciler
    from glue.sessions import libpq_url
    from glue.settings import Settings
    from glue.stripe_gateway import StripeGateway

    settings = Settings.from_env({**os.environ, "DATABASE_URL": url}, role="worker")
    logging.getLogger("glue").addHandler(logging.NullHandler())  # what matters is printed
    with ExitStack() as stack:
        db = Database(
            libpq_url(url),
            max_size=2,
            statement_timeout_ms=_STATEMENT_TIMEOUT_MS,
            lock_timeout_ms=settings.lock_timeout_ms,
            application_name="pgbooking reconcile",
        )
        stack.callback(db.close)
        gateway = StripeGateway(settings.stripe_secret_key, settings.stripe_api_base)
        stack.callback(gateway.close)
        mirror = Mirror(db, gateway, f"reconcile:{socket.gethostname()}:{os.getpid()}", threads=1)
        stack.callback(mirror.close)
        progress = stack.enter_context(_bars(quiet=as_json))
        reconciler = Reconciler(db, gateway, mirror, patience=patience, progress=progress)
        report = reconciler.run(utc(start), utc(end) or datetime.now(UTC), request_id=request_id())
    if as_json:
        console.print_json({**asdict(report), "run_id": str(report.run_id), "differences": _plain(report)})
    else:
        _print(report)
    exit_unless(not report.differences)


def _unseen(phase: str, share: float) -> None:  # noqa: ARG001
    return None


@contextmanager
def _bars(*, quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """A bar a phase on a terminal, its name elsewhere, nothing for scripts."""
    shown: dict[str, Any] = {}

    def finish() -> None:
        for bar in shown.values():
            bar.render_finish()
        shown.clear()

    def progress(phase: str, share: float) -> None:
        if phase not in shown:
            finish()
            shown[phase] = click.progressbar(length=_STEPS, label=_LABELS[phase], file=sys.stderr)
            shown[phase].render_progress()
        bar = shown[phase]
        bar.update(max(0, round(share * _STEPS) - bar.pos))

    try:
        yield _unseen if quiet else progress
    finally:
        finish()


def _plain(report: Report) -> list[dict[str, Any]]:
    """The differences with ids as text."""
    return [
        {**row, "payment_id": None if row["payment_id"] is None else str(row["payment_id"])}
        for row in report.differences
    ]


def _print(report: Report) -> None:
    if report.settled or report.unsettled:
        click.echo(
            f"commands of unknown outcome: {report.settled} settled, {report.unsettled} left to the worker"
        )
    if report.pending:
        click.echo(f"on their way, not judged: {report.pending}")
    seen = (
        f"{report.payment_intents} PaymentIntents, {report.charges} charges,"
        f" {report.refunds} refunds at Stripe"
    )
    if not report.differences:
        click.echo(f"{seen}: no difference")
        return
    head = ["kind", "payment_id", "stripe_id", "ours", "theirs"]
    console.print_table(head, ([console.plain(row[name]) for name in head] for row in report.differences))
    click.echo(f"{seen}: {console.count(report.differences, 'difference')} (run {report.run_id})")
