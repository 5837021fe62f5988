"""`pgbooking trace` and `pgbooking outbox`: what a person looks at first."""

from __future__ import annotations

import click

from glue import console
from glue.commands.base import as_json, connection, database, exit_unless


@click.command()
@database
@as_json
@click.argument("thing", metavar="ID")
def trace(url: str, as_json: bool, *, thing: str) -> None:
    """Print everything about one id: whatever belongs to the same booking, payment or order, oldest first.

    ID: a booking, payment, command, refund request, order or slot of ours; a PaymentIntent, charge, refund,
    dispute, Checkout Session or event of Stripe's; the subject of an alert. Exit code 1 when it is unknown.
    Run it as a member of booking_dba.

    \b
    pgbooking trace pi_3Q1abc
    pgbooking trace 019cd7c6-be7b-7a5c-8123-456789abcdef --json | jq '.[] | select(.kind == "command")'
    """
    with connection(url) as conn:
        rows = conn.execute("select * from booking.trace(p_id => %(id)s)", {"id": thing}).fetchall()
    if as_json:
        console.print_json(rows)
    elif rows:
        head = ["since", "kind", "id", "status", "detail"]
        console.print_table(head, ([console.plain(row[name]) for name in head] for row in rows))
    else:
        click.echo(f"nothing is known of {thing}", err=True)
    exit_unless(bool(rows))


@click.command()
@database
@as_json
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000), help="How many.")
def outbox(url: str, as_json: bool, *, limit: int) -> None:
    """Print what Stripe has still to be told, oldest first, and what it said last.

    Pending commands wait for a worker, running ones are in its hands, dead ones wait for a person. Run it as
    a member of booking_dba.

    \b
    pgbooking outbox
    pgbooking outbox --json | jq '.[] | select(.status == "dead")'
    """
    with connection(url) as conn:
        rows = conn.execute(
            "select * from booking.list_open_commands(p_limit => %(limit)s)", {"limit": limit}
        ).fetchall()
    if as_json:
        console.print_json(rows)
    elif rows:
        head = [
            "created_at",
            "status",
            "operation",
            "stripe_id",
            "attempts",
            "run_at",
            "last_error",
            "command_id",
        ]
        console.print_table(head, ([console.plain(row[name]) for name in head] for row in rows))
    else:
        click.echo("nothing waits")
