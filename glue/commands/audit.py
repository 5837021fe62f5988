"""`pgbooking audit` and `pgbooking retention`: who did what, and what has been deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from glue import console
from glue.commands.base import INSTANTS, as_json, connection, database, utc


@click.command()
@database
@as_json
@click.option(
    "--from", "start", type=click.DateTime(INSTANTS), help="Not before, UTC unless it says more; inclusive."
)
@click.option("--to", "end", type=click.DateTime(INSTANTS), help="Before; exclusive.")
@click.option("--actor", help="Only what this person (or stripe, system, a login) did.")
@click.option("--subject", help="Only what belongs to this id: a booking, payment, refund, invoice ...")
def audit(
    url: str,
    as_json: bool,
    *,
    start: datetime | None,
    end: datetime | None,
    actor: str | None,
    subject: str | None,
) -> None:
    """Print who did what with money, bookings or as an administrator, oldest first.

    \b
    pgbooking audit --from 2026-11-01 --actor ann@example.com
    pgbooking audit --subject 019cd7c6-be7b-7a5c-8123-456789abcdef --json
    """
    with connection(url) as conn:
        rows = conn.execute(
            "select * from booking.audit_trail(p_from => %(start)s, p_to => %(end)s, p_actor => %(actor)s,"
            " p_subject => %(subject)s)",
            {"start": utc(start), "end": utc(end), "actor": actor, "subject": subject},
        ).fetchall()
    if as_json:
        console.print_json(rows)
    else:
        head = ["created_at", "actor", "action", "subject", "request_id", "detail"]
        console.print_table(head, ([console.plain(row[name]) for name in head] for row in rows))


@click.command()
@database
@as_json
@click.option("--active", default="7 days", show_default=True, help="Webhook events stay active so long.")
@click.option("--archive", default="30 days", show_default=True, help="Webhook events are kept in all.")
@click.option(
    "--age", default="90 days", show_default=True, help="Then personal data of ended bookings goes."
)
@click.option(
    "--batch", default=100, show_default=True, type=click.IntRange(1, 10_000), help="Bookings in one commit."
)
def retention(url: str, as_json: bool, *, active: str, archive: str, age: str, batch: int) -> None:
    """Archive and delete old webhook events, scrub old bookings, and print what was done.

    The maintenance does the same by itself; this shows it. Run it as a member of booking_cron.

    \b
    pgbooking retention
    pgbooking retention --age '1 year' --json
    """
    done: dict[str, Any] = {"webhook_events_archived": 0, "webhook_events_deleted": 0, "bookings_scrubbed": 0}
    with connection(url) as conn:
        with console.counter("webhook events archived or deleted", quiet=as_json) as show:
            while True:
                row = conn.execute(
                    "select * from booking.cleanup_old_webhook_events("
                    "p_active => %(active)s::interval, p_archive => %(archive)s::interval)",
                    {"active": active, "archive": archive},
                ).fetchone()
                if row["archived"] + row["deleted"] == 0:
                    break
                done["webhook_events_archived"] += row["archived"]
                done["webhook_events_deleted"] += row["deleted"]
                show(done["webhook_events_archived"] + done["webhook_events_deleted"])
        with console.counter("bookings scrubbed", quiet=as_json) as show:
            while True:
                row = conn.execute(
                    "select booking.archive_old_bookings("
                    "p_age => %(age)s::interval, p_batch_size => %(batch)s) as scrubbed",
                    {"age": age, "batch": batch},
                ).fetchone()
                if row["scrubbed"] == 0:
                    break
                done["bookings_scrubbed"] += row["scrubbed"]
                show(done["bookings_scrubbed"])
    if as_json:
        console.print_json(done)
    else:
        console.print_table(["done", "rows"], ([name, str(number)] for name, number in done.items()))
