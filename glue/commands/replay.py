"""`pgbooking replay`: Stripe's events once more."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import click

from glue import console
from glue.commands.base import as_json, database, exit_unless, utc, window

KEPT = timedelta(days=30)
UNTIL_NOW = timedelta(hours=1)
"""Where no end is given: the newest events are wanted, too, when this machine's clock is behind Stripe's."""
_STEPS = 1000


@click.command()
@database
@as_json
@window("Events from then on, UTC unless it says more; inclusive. Stripe keeps them for 30 days.")
def replay(url: str, as_json: bool, *, start: datetime, end: datetime | None) -> None:
    """Apply Stripe's events of a window: after a restore, or when webhooks did not arrive for days.

    Asks Stripe for its own list of events and applies each as if it had been delivered; those that were
    applied before change nothing. Changes nothing at Stripe. Exit code 1 when one could not be applied. Needs
    a login in booking_app and STRIPE_SECRET_KEY.

    \b
    pgbooking replay --from 2026-11-20T08:00
    pgbooking replay --from 2026-11-20 --to 2026-11-21 --json
    """
    import logging

    from glue.db import Database
    from glue.replay import replay as apply
    from glue.sessions import libpq_url
    from glue.settings import Settings
    from glue.stripe_gateway import StripeGateway

    since, until = utc(start), utc(end) or datetime.now(UTC) + UNTIL_NOW
    if until <= since:
        raise click.BadParameter("is not after --from", param_hint="--to")
    if since < datetime.now(UTC) - KEPT:
        click.echo(
            "Stripe keeps events for 30 days: what is older only `pgbooking reconcile` shows", err=True
        )
    settings = Settings.from_env({**os.environ, "DATABASE_URL": url}, role="worker")
    logging.getLogger("glue").addHandler(logging.NullHandler())  # what matters is printed
    with ExitStack() as stack:
        db = Database(
            libpq_url(url),
            max_size=1,
            statement_timeout_ms=settings.statement_timeout_ms,
            lock_timeout_ms=settings.lock_timeout_ms,
            application_name="pgbooking replay",
        )
        stack.callback(db.close)
        gateway = StripeGateway(settings.stripe_secret_key, settings.stripe_api_base)
        stack.callback(gateway.close)
        bar = stack.enter_context(
            click.progressbar(length=_STEPS, label="events", file=sys.stderr, hidden=as_json)
        )
        done = apply(
            db,
            gateway,
            since,
            until,
            progress=lambda share: bar.update(max(0, round(share * _STEPS) - bar.pos)),
        )
    if as_json:
        console.print_json(asdict(done))
    else:
        results = {name: number for name, number in asdict(done).items() if name != "events"}
        said = ", ".join(f"{number} {name}" for name, number in results.items())
        click.echo(f"{console.count(range(done.events), 'event')}: {said}")
    exit_unless(done.failed == 0)
