"""The command `pgbooking`: each command calls one function and prints its answer.

Exit codes: 0 all is well, 1 it failed or something is wrong, 2 the command was used wrongly. What each
command needs is imported when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import click

from glue import console
from glue.commands import audit, checkout, invoices, reconcile, replay, trace
from glue.commands.base import (
    INSTANTS,
    Command,
    Failure,
    Group,
    as_json,
    connection,
    database,
    exit_unless,
    utc,
)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="pgbooking", prog_name="pgbooking")
def main() -> None:
    """Bookings and payments as stored functions in PostgreSQL.

    \b
    Try it:     pgbooking demo
    Keep it:    pgbooking up
    Install it: pgbooking migrate && pgbooking serve

    The database is named by --database-url or the environment variable DATABASE_URL.
    """


def ignore_terminal_settings(command: Command) -> Command:
    """For a command that runs until it is told to stop: Ctrl-C is not an error."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except KeyboardInterrupt:
            return None

    return run  # type: ignore[return-value]


# -- all in one ----------------------------------------------------------------------------------------------


@main.command()
@click.option("--verbose", is_flag=True, help="Also show what the processes log.")
def demo(verbose: bool) -> None:
    """Run the whole main job once, step by step, and compare the books at the end.

    Starts PostgreSQL, the server, the worker and a stand-in for Stripe by itself, and stops them again. With
    DATABASE_URL set, that server is used instead.

    \b
    pgbooking demo
    pgbooking demo --verbose
    """
    from glue import demo as module

    sys.exit(module.main(verbose=verbose))


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".pgbooking"),
    show_default=True,
    help="Folder of the database and the generated secrets; kept.",
)
@ignore_terminal_settings
def up(host: str, port: int, data: Path) -> None:
    """Start everything for development and keep serving until Ctrl-C.

    \b
    pgbooking up
    pgbooking up --port 9000 --data /tmp/try
    """
    from glue import up as module

    sys.exit(module.main(host=host, port=port, data=data))


# -- schema --------------------------------------------------------------------------------------------------


@main.command()
@database
@as_json
@click.option(
    "--reload", is_flag=True, help="Load every function file, changed or not: undoes edits by hand."
)
@click.option(
    "--lock-timeout", default="10s", show_default=True, help="Give up on a table that stays busy so long."
)
def migrate(url: str, as_json: bool, reload: bool, lock_timeout: str) -> None:
    """Apply the pending migrations and load the functions that changed.

    Safe to run again and from several places at once. Needs a direct connection, not a transaction pooler.

    \b
    DATABASE_URL=postgresql://postgres@localhost/shop pgbooking migrate
    pgbooking migrate --json | jq .functions
    """
    from dataclasses import asdict

    from glue import deploy

    with console.progress(quiet=as_json) as report:
        done = deploy.migrate(url, report=report, reload=reload, lock_timeout=lock_timeout)
    if as_json:
        console.print_json(asdict(done))
        return
    migrations, functions = (
        console.count(done.migrations, "migration"),
        console.count(done.functions, "function file"),
    )
    click.echo(f"{migrations} applied, {functions} loaded")
    for orphan in done.orphans:
        click.echo(f"in no file (drop it when nobody calls it): {orphan}", err=True)


@main.command()
@database
@as_json
@click.option("--steps", type=click.IntRange(1), default=1, show_default=True, help="How many migrations.")
@click.option("--all", "everything", is_flag=True, help="All of them: nothing of pgbooking is left.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def rollback(url: str, as_json: bool, steps: int, everything: bool, yes: bool) -> None:
    """Take back the newest migrations. The data in their tables is lost.

    \b
    pgbooking rollback --steps 1
    pgbooking rollback --all --yes
    """
    from glue import deploy

    what = "ALL migrations" if everything else f"the last {steps} migration{'s' if steps > 1 else ''}"
    if not yes:
        click.confirm(f"Take back {what} and lose the data in their tables?", abort=True, err=True)
    with console.progress(quiet=as_json) as report:
        names = deploy.rollback(url, steps=None if everything else steps, report=report)
    if as_json:
        console.print_json({"rolled_back": names})
    else:
        click.echo(f"{console.count(names, 'migration')} taken back{': ' if names else ''}{', '.join(names)}")


@main.command()
@database
@as_json
def check(url: str, as_json: bool) -> None:
    """Compare the database with the SQL files; exit code 1 when they differ.

    Finds pending migrations, functions and triggers that were edited by hand, are missing, or are in no
    file, and changed rights, owners and comments. Changes nothing.

    \b
    pgbooking check
    pgbooking check --json | jq -r '.[].name'
    """
    from glue import deploy

    found = deploy.check(url)
    if as_json:
        console.print_json([{"kind": item.kind, "name": item.name, "detail": item.detail} for item in found])
    elif found:
        console.print_table(
            ["difference", "what", "detail"], ([item.kind, item.name, item.detail] for item in found)
        )
    else:
        click.echo("database and files agree")
    sys.exit(1 if found else 0)


# -- processes -----------------------------------------------------------------------------------------------


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option("--workers", type=click.IntRange(1, 64), help="Processes. Default: chosen by the server.")
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    help="Requests that each process works on at once. Default: DATABASE_POOL_SIZE.",
)
@ignore_terminal_settings
def serve(host: str, port: int, workers: int | None, threads: int | None) -> None:
    """Serve the HTTP interface. Everything else is set in the environment (docs/operations.md).

    \b
    pgbooking serve --host 0.0.0.0 --port 8000
    """
    from glue import serve as module

    chosen = {
        name: value for name, value in (("workers", workers), ("threads", threads)) if value is not None
    }
    module.main(host=host, port=port, **chosen)


@main.command()
@ignore_terminal_settings
def worker() -> None:
    """Mirror to Stripe what the server left in the outbox; several at once are safe.

    Needs DATABASE_URL and STRIPE_SECRET_KEY in the environment. SIGTERM lets it finish what it has in hand.

    \b
    DATABASE_URL=postgresql://server@localhost/shop STRIPE_SECRET_KEY=sk_test_... pgbooking worker
    """
    from glue import worker as module
    from glue.settings import Settings

    module.main(Settings.from_env(os.environ, role="worker"))


@main.command()
@click.option(
    "--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option("--webhook-url", metavar="URL", help="Where events are sent.")
@click.option("--webhook-secret", "secrets", multiple=True, help="Signs them; repeat it for a rotation.")
@click.option("--api-key", "keys", multiple=True, help="Accept only this key; may be repeated.")
@ignore_terminal_settings
def sandbox(port: int, webhook_url: str | None, secrets: tuple[str, ...], keys: tuple[str, ...]) -> None:
    """Run a stand-in for Stripe's API on 127.0.0.1; stripe-python talks to it unmodified.

    \b
    pgbooking sandbox --port 12111 --webhook-url http://127.0.0.1:8000/api/webhooks/stripe \\
        --webhook-secret whsec_test
    """
    from glue import sandbox as module

    try:
        module.serve(port=port, webhook_url=webhook_url, webhook_secret=secrets, api_keys=keys)
    except OSError as error:
        raise Failure(f"cannot listen on port {port}: {error.strerror}") from error


# -- daily work ----------------------------------------------------------------------------------------------


@main.command()
@database
@as_json
@click.option(
    "--batch", default=100, show_default=True, type=click.IntRange(1, 10_000), help="Bookings in one commit."
)
@click.option(
    "--timeout", help="How long a booking may stay pending. Default: as settings.booking_timeout says."
)
def cleanup(url: str, as_json: bool, batch: int, timeout: str | None) -> None:
    """Cancel the pending bookings that timed out, batch by batch, until none is left.

    \b
    pgbooking cleanup
    pgbooking cleanup --timeout '2 hours' --json
    """
    total = 0
    with connection(url) as conn, console.counter("expired bookings cancelled", quiet=as_json) as show:
        while True:
            row = conn.execute(
                "select booking.cleanup_expired_bookings("
                "p_batch_size => %(batch)s,"
                " p_timeout => coalesce(%(timeout)s::interval, booking.booking_timeout())) as cancelled",
                {"batch": batch, "timeout": timeout},
            ).fetchone()
            if row["cancelled"] == 0:
                break
            total += row["cancelled"]
            show(total)
    if as_json:
        console.print_json({"cancelled": total})
    else:
        click.echo(f"{total} expired booking{'' if total == 1 else 's'} cancelled")


main.add_command(audit.retention)


@main.command()
@database
@as_json
@click.option(
    "--from", "start", type=click.DateTime(INSTANTS), help="Beginning of the window, UTC unless it says more."
)
@click.option("--to", "end", type=click.DateTime(INSTANTS), help="End of the window.")
def stats(url: str, as_json: bool, start: datetime | None, end: datetime | None) -> None:
    """Print the figures of the business: bookings, money, seats, webhooks, outbox.

    \b
    pgbooking stats
    pgbooking stats --from 2026-11-01 --to 2026-12-01 --json
    """
    with connection(url) as conn:
        row = conn.execute(
            "select * from booking.get_booking_stats(p_from => %(start)s, p_to => %(end)s)",
            {"start": utc(start), "end": utc(end)},
        ).fetchone()
    if as_json:
        console.print_json(row)
    else:
        console.print_table(["figure", "value"], ([name, console.plain(row[name])] for name in row))


main.add_command(trace.trace)
main.add_command(trace.outbox)
main.add_command(audit.audit)
main.add_command(reconcile.reconcile)
main.add_command(replay.replay)
main.add_command(invoices.invoices)
main.add_command(checkout.product)
main.add_command(checkout.try_checkout)


@main.group(cls=Group)
def cron() -> None:
    """Let pg_cron run the maintenance inside PostgreSQL."""


@cron.command("install")
@database
@click.option("--schedule", default="*/15 * * * *", show_default=True, help="When, as cron writes it.")
def cron_install(url: str, schedule: str) -> None:
    """Register the maintenance with pg_cron, or say what to run where pg_cron lives.

    The job runs as the role that registers it: log in as one that is a member of booking_cron.

    \b
    pgbooking cron install
    pgbooking cron install --schedule '*/5 * * * *'
    """
    with connection(url) as conn:
        row = conn.execute(
            "select booking.schedule_maintenance(p_schedule => %(schedule)s) as said", {"schedule": schedule}
        ).fetchone()
    click.echo(row["said"])
    exit_unless(_has_pg_cron(url))


@cron.command("status")
@database
@as_json
def cron_status(url: str, as_json: bool) -> None:
    """Show the job and its last run; exit code 1 when there is no active job.

    \b
    pgbooking cron status
    pgbooking cron status --json | jq '.[0].last_status'
    """
    jobs: list[Mapping[str, Any]] = []
    if _has_pg_cron(url):
        with connection(url) as conn:
            jobs = conn.execute(_CRON_STATUS).fetchall()
    if as_json:
        console.print_json(jobs)
    elif jobs:
        console.print_table(list(jobs[0]), (list(map(console.plain, job.values())) for job in jobs))
    else:
        click.echo("pg_cron does not run the maintenance of this database", err=True)
    exit_unless(any(job["active"] for job in jobs))


@cron.command("remove")
@database
def cron_remove(url: str) -> None:
    """Take the job away; nothing happens when there is none.

    \b
    pgbooking cron remove
    """
    removed = 0
    if _has_pg_cron(url):
        with connection(url) as conn:
            removed = conn.execute(
                "select cron.unschedule(j.jobid) from cron.job j where j.jobname = 'pgbooking-maintenance'"
            ).rowcount
    click.echo("removed" if removed else "there was no job")


_CRON_STATUS = """
select j.jobid, j.schedule, j.active, j.username, r.status as last_status, r.start_time as last_start,
  r.return_message as last_message
from cron.job j
left join lateral (
  select d.status, d.start_time, d.return_message from cron.job_run_details d
  where d.jobid = j.jobid order by d.start_time desc nulls last limit 1
) r on true
where j.jobname = 'pgbooking-maintenance'
"""


def _has_pg_cron(url: str) -> bool:
    with connection(url) as conn:
        row = conn.execute(
            "select 1 as there from pg_catalog.pg_extension where extname = 'pg_cron'"
        ).fetchone()
        return row is not None


@main.command()
@click.option("--sub", required=True, help="Who the bearer is: the user id.")
@click.option("--role", type=click.Choice(["student", "expert", "admin"]), required=True)
@click.option(
    "--ttl", default=3600, show_default=True, type=click.IntRange(1), help="Seconds until it expires."
)
@click.option("--secret", envvar="JWT_SECRET", required=True, help="Default: JWT_SECRET.")
def token(sub: str, role: str, ttl: int, secret: str) -> None:
    """Mint a token for development, signed with HS256 and JWT_SECRET.

    \b
    curl -H "Authorization: Bearer $(pgbooking token --sub alice --role student)" http://127.0.0.1:8000/api/bookings
    """
    import jwt

    from glue.settings import JWT_SECRET_BYTES

    if len(secret.encode()) < JWT_SECRET_BYTES:
        raise click.BadParameter(f"JWT_SECRET must have at least {JWT_SECRET_BYTES} bytes")
    now = datetime.now(UTC)
    claims: dict[str, Any] = {"sub": sub, "role": role, "iat": now, "exp": now + timedelta(seconds=ttl)}
    for claim, name in (("aud", "JWT_AUDIENCE"), ("iss", "JWT_ISSUER")):
        if os.environ.get(name):
            claims[claim] = os.environ[name].split(",")[0].strip()
    click.echo(jwt.encode(claims, secret, algorithm="HS256"))


@main.command()
@database
@as_json
def doctor(url: str, as_json: bool) -> None:
    """Look for trouble: broken invariants, open alerts, stuck outbox, failed webhooks, missing timeouts.

    Exit code 1 when something is wrong. Run it as a member of booking_dba. Timeouts are those of the logins
    that are members of booking_app.

    \b
    pgbooking doctor
    pgbooking doctor --json || notify-somebody
    """
    from dataclasses import asdict

    from glue.doctor import examine

    with connection(url) as conn:
        found = list(examine(conn))
    if as_json:
        console.print_json([asdict(item) for item in found])
    elif found:
        rows = ([item.check, item.subject, console.plain(item.detail)] for item in found)
        console.print_table(["check", "subject", "detail"], rows)
    else:
        click.echo("all is well")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
