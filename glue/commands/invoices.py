"""`pgbooking invoices`: issue them, find them, print them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import click

from glue import console
from glue.commands.base import INSTANTS, Failure, Group, as_json, connection, database, utc

Command = TypeVar("Command", bound=Callable[..., Any])
Row = Mapping[str, Any]

PAGE = 1000

_SEARCH = (
    "select * from booking.search_invoices(p_user_id => session_user::text, p_is_admin => true,"
    " p_student_id => %(student)s, p_expert_id => %(expert)s, p_from => %(start)s, p_to => %(end)s,"
    " p_status => %(status)s, p_number => %(number)s, p_after => %(after)s, p_limit => %(limit)s)"
)
_GET = (
    "select * from booking.get_invoice(p_user_id => session_user::text, p_invoice_id => %(invoice)s,"
    " p_version => %(version)s, p_is_admin => true)"
)


def filters(command: Command) -> Command:
    """Adds the filters of a search and hands them to the command by name."""
    for option in (
        click.option("--status", help="issued, partially_credited, credited or void."),
        click.option("--to", "end", type=click.DateTime(INSTANTS), help="Issued before; exclusive."),
        click.option(
            "--from", "start", type=click.DateTime(INSTANTS), help="Issued then or later, UTC; inclusive."
        ),
        click.option("--expert", help="Only this expert's."),
        click.option("--student", help="Only this student's."),
    ):
        command = option(command)
    return command


@click.group(cls=Group)
def invoices() -> None:
    """Issue, find and print invoices and credit notes. Log in as a member of booking_dba or booking_app."""


@invoices.command()
@database
@as_json
@click.option("--payment", type=click.UUID, help="Only this payment's; else all that are missing.")
@click.option(
    "--batch", default=500, show_default=True, type=click.IntRange(1, 10_000), help="Payments in one commit."
)
def issue(url: str, as_json: bool, *, payment: UUID | None, batch: int) -> None:
    """Issue the invoices and credit notes that are missing, batch by batch, until none is left.

    Safe to run again and from several places at once. Payments that somebody is changing at the moment are
    left to the next run.

    \b
    pgbooking invoices issue
    pgbooking invoices issue --payment 019cd7c6-be7b-7a5c-8123-456789abcdef --json
    """
    with connection(url) as conn:
        if payment is not None:
            row = conn.execute(
                "select * from booking.issue_invoice(p_payment_id => %(payment)s)", {"payment": payment}
            ).fetchone()
            if as_json:
                console.print_json(_texts(row))
            else:
                click.echo(f"{row['number']} version {row['version']}")
            return
        missing = conn.execute("select booking.count_missing_invoices() as missing").fetchone()["missing"]
        issued = 0
        with console.bar("payments", missing, quiet=as_json) as advance:
            while True:
                done = conn.execute(
                    "select booking.issue_missing_invoices(p_limit => %(batch)s) as done", {"batch": batch}
                ).fetchone()["done"]
                if done == 0:
                    break
                issued += done
                advance(done)
        left = conn.execute("select booking.count_missing_invoices() as missing").fetchone()["missing"]
    if as_json:
        console.print_json({"issued": issued, "missing": left})
    else:
        click.echo(f"{issued} payment{'' if issued == 1 else 's'} invoiced, {left} left")


@invoices.command()
@database
@as_json
@filters
@click.option("--number", help="The whole number, INV-2026-000001.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="At most so many.")
def search(url: str, as_json: bool, *, limit: int, **wanted: Any) -> None:
    """Print invoices and credit notes, newest first.

    \b
    pgbooking invoices search --student alice --from 2026-01-01 --to 2027-01-01
    pgbooking invoices search --status void --json | jq -r '.[].number'
    """
    with connection(url) as conn:
        rows = [row for row, _ in zip(_found(conn, wanted), range(limit), strict=False)]
    if as_json:
        console.print_json([_texts(row) for row in rows])
        return
    head = ["number", "issued_at", "status", "version", "student_id", "expert_id", "gross", "currency"]
    console.print_table(head, ([console.plain(row[name]) for name in head] for row in rows))


@invoices.command()
@database
@as_json
@click.argument("invoice", nargs=-1)
@filters
@click.option("--version", type=click.IntRange(1), help="An older version; the newest unless given.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Folder of the files; the present one unless given.",
)
@click.option(
    "--timeout",
    envvar="INVOICE_GENERATION_TIMEOUT",
    default=60,
    show_default=True,
    type=click.IntRange(1),
    help="Seconds until a rendering is given up.",
)
def pdf(
    url: str,
    as_json: bool,
    *,
    invoice: tuple[str, ...],
    version: int | None,
    out: Path,
    timeout: int,
    **wanted: Any,
) -> None:
    """Write invoices as PDF, one file each: those named by number or id, else all that the filters find.

    \b
    pgbooking invoices pdf INV-2026-000001
    pgbooking invoices pdf --from 2026-11-01 --to 2026-12-01 --out november
    """
    from concurrent.futures import ThreadPoolExecutor

    from glue.invoices.renderer import Renderer

    if not invoice and not any(wanted.values()):
        raise click.UsageError("Name invoices, or narrow them down by filters.")
    workers = os.cpu_count() or 1
    out.mkdir(parents=True, exist_ok=True)
    written = []
    with connection(url) as conn:
        ids = [_id_of(conn, name) for name in invoice] or [
            row["invoice_id"] for row in _found(conn, {**wanted, "number": None})
        ]
        renderer = Renderer(timeout=timeout, cache_ttl=0, workers=workers, most_waiting=workers)
        try:
            with (
                ThreadPoolExecutor(workers) as pool,
                console.bar("invoices", len(ids), quiet=as_json) as advance,
            ):
                for begin in range(0, len(ids), PAGE):
                    rows = [
                        conn.execute(_GET, {"invoice": each, "version": version}).fetchone()
                        for each in ids[begin : begin + PAGE]
                    ]
                    for row, content in zip(rows, pool.map(renderer.pdf, rows), strict=True):
                        suffix = f"-v{row['version']}" if row["version"] > 1 else ""
                        path = out / f"{row['number']}{suffix}.pdf"
                        path.write_bytes(content)
                        written.append(str(path))
                        advance(1)
        finally:
            renderer.close()
    if as_json:
        console.print_json(written)
    else:
        for name in written:
            click.echo(name)


def _found(conn: Any, wanted: Mapping[str, Any]) -> Iterator[Row]:
    """Every invoice that the filters find, newest first, page by page."""
    given = {**wanted, "start": utc(wanted["start"]), "end": utc(wanted["end"]), "limit": PAGE, "after": None}
    while True:
        rows = conn.execute(_SEARCH, given).fetchall()
        yield from rows
        if len(rows) < PAGE:
            return
        given["after"] = rows[-1]["invoice_id"]


def _id_of(conn: Any, name: str) -> UUID:
    """The id of an invoice that is named by its id or by its number."""
    try:
        return UUID(name)
    except ValueError:
        pass
    nothing = dict.fromkeys(("student", "expert", "start", "end", "status"))
    for row in _found(conn, {**nothing, "number": name}):
        found: UUID = row["invoice_id"]
        return found
    raise Failure(f"there is no invoice {name}")


def _texts(row: Row) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, UUID) else value for name, value in row.items()}
