"""`pgbooking up`: the whole system in the foreground, its data in a folder, and how to talk to it."""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import click
import psycopg

from glue.children import Interrupted, Interrupts
from glue.commands.checkout import TEST_PRODUCT
from glue.logins import Sql, logged_in
from glue.system import Ports, System, SystemFailure
from glue.up import howto
from glue.up.folder import Kept, alone, load, save
from glue.up.howto import EXPERT

__all__ = ["main"]

LOOPBACK = "127.0.0.1"
TITLE, PRICE, CURRENCY = "Violin lesson", 5000, "usd"
PRODUCT_NAME, PRODUCT_PRICE = "Violin strings", 1900
OFFERED_HOURS = (1, 10, 30, 54, 78, 102, 126, 150)
"""Hours from now at which the demo expert has time: cancelling gives back nothing, half, and all."""


def main(*, host: str, port: int, data: Path) -> int:
    """Serve until Ctrl-C or SIGTERM; returns the exit code.

    With DATABASE_URL (an administrator's), that database is migrated and used instead of the embedded one.
    """
    interrupts = Interrupts()
    folder = data.absolute()
    given = os.environ.get("DATABASE_URL") or None
    try:
        with interrupts.caught(), alone(folder) as lock:
            kept = load(folder)
            if problem := _problem(host, port):
                raise SystemFailure(f"cannot listen on {host}:{port}: {problem}; --port 0 takes a free port")
            ports = Ports(port or _if_free(host, kept.ports.server), _if_free(LOOPBACK, kept.ports.sandbox))
            save(folder, Kept(kept.secrets, ports))
            click.echo("Starting PostgreSQL, the Stripe sandbox, the server and the worker ...")
            system = System(
                folder,
                kept.secrets,
                interrupts,
                keep=True,
                host=host,
                ports=ports,
                database_url=given,
                lock=lock,
            )
            with system.running():
                try:
                    _serve(system, folder, kept, is_given=bool(given))
                except Interrupted:
                    click.echo("\nStopping ...")
            return 0
    except SystemFailure as failure:
        click.echo(f"pgbooking: {failure}", err=True)
        return 1
    except psycopg.Error as error:
        click.echo(f"pgbooking: {' '.join(str(error).split())}", err=True)
        return 1
    except Interrupted:
        return 130


def _serve(system: System, folder: Path, kept: Kept, *, is_given: bool) -> NoReturn:
    """Remember, explain, and keep it up. Raises Interrupted, SystemFailure."""
    save(folder, Kept(kept.secrets, system.ports))
    howto.write_environment(folder, system)
    with logged_in(system.server_url) as sql:
        # Somebody's own database gets an offer only when it has just been made.
        may_offer = not is_given or bool(system.deployed.migrations)
        slot = _something_to_book(sql, may_offer=may_offer)
        is_sold = _something_to_buy(sql, may_offer=may_offer)
        version = sql.scalar("select current_setting('server_version')")
    say(system, folder, version, howto.lines(folder, slot, is_sold=is_sold), is_given=is_given)
    while True:
        time.sleep(1)
        for name in system.mend():
            click.echo(f"{name} had ended and was started again", err=True)


def say(system: System, folder: Path, version: str, lines: list[tuple[str, str]], *, is_given: bool) -> None:
    """Where everything is, and lines to paste."""
    where = "of DATABASE_URL" if is_given else f"in {folder / 'postgres'}"
    click.echo(f"""
pgbooking serves {system.url}   API: {system.url}/docs
PostgreSQL {version} {where}; Stripe sandbox {system.sandbox_url}; logs in {folder / "logs"}
Ctrl-C stops everything; the next start goes on from here.

Paste these lines into another terminal, in this order, as they are:""")
    for title, line in lines:
        click.echo(f"\n  {click.style('# ' + title, dim=True)}\n  {line}")
    click.echo("")


def _if_free(host: str, port: int) -> int:
    """The port when it can be listened on, else 0."""
    return 0 if _problem(host, port) else port


def _problem(host: str, port: int) -> str:
    """Why it cannot be listened on; '' when it can."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _something_to_book(sql: Sql, *, may_offer: bool) -> str:
    """A slot of the demo expert, open and a day away; '' for none. When none is left, some are offered."""
    slot = _open_slot(sql)
    if slot or not may_offer:
        return slot
    session = sql.scalar(
        "select booking.create_session(p_expert_id => %(expert)s, p_title => %(title)s,"
        " p_amount => %(amount)s, p_currency => %(currency)s)",
        {"expert": EXPERT, "title": TITLE, "amount": PRICE, "currency": CURRENCY},
    )
    now = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=5)
    for hours in OFFERED_HOURS:
        starts = now + timedelta(hours=hours)
        try:
            sql.scalar(
                "select booking.publish_slot(p_expert_id => %(expert)s, p_session_id => %(session)s,"
                " p_starts_at => %(starts)s, p_ends_at => %(ends)s)",
                {
                    "expert": EXPERT,
                    "session": session,
                    "starts": starts,
                    "ends": starts + timedelta(minutes=45),
                },
            )
        except psycopg.Error as error:
            if error.diag.message_primary != "slot_overlap":  # offered by an earlier run, and booked
                raise
    return _open_slot(sql)


def _something_to_buy(sql: Sql, *, may_offer: bool) -> bool:
    """Whether the product is on sale that `pgbooking try-checkout` buys unless told otherwise."""
    try:
        if may_offer:
            sql.scalar(
                "select booking.create_product(p_product_id => %(id)s, p_name => %(name)s,"
                " p_amount => %(amount)s, p_currency => %(currency)s)",
                {"id": TEST_PRODUCT, "name": PRODUCT_NAME, "amount": PRODUCT_PRICE, "currency": CURRENCY},
            )
        else:
            sql.scalar(
                "select p.name from booking.get_product(p_product_id => %(id)s) p", {"id": TEST_PRODUCT}
            )
    except psycopg.Error as error:
        match error.diag.message_primary:
            case "product_exists":  # somebody sells it for another price
                return True
            case "product_not_found":
                return False
        raise
    return True


def _open_slot(sql: Sql) -> str:
    now = datetime.now(UTC)
    rows = sql.all(
        "select s.slot_id from booking.list_open_slots(p_from => %(from)s, p_to => %(to)s,"
        " p_expert_id => %(expert)s, p_limit => 1) s",
        {"from": now + timedelta(hours=24), "to": now + timedelta(days=30), "expert": EXPERT},
    )
    return str(rows[0]["slot_id"]) if rows else ""
