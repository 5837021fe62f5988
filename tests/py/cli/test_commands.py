"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jwt
import psycopg
import pytest
from click.testing import CliRunner, Result

import cli
from glue import console, deploy, doctor
from tests.conftest import Connect

Pgbooking = Callable[..., Result]

SECRET = "a secret that is long enough for HS256"


@pytest.fixture
def pgbooking(monkeypatch: pytest.MonkeyPatch) -> Pgbooking:
    """pgbooking(*arguments, url=None, **environment) -> what the command answered."""
    for name in ("DATABASE_URL", "JWT_SECRET", "JWT_AUDIENCE", "JWT_ISSUER", "STRIPE_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, url: str | None = None, **environment: str) -> Result:
        env = environment | ({"DATABASE_URL": url} if url else {})
        return CliRunner().invoke(cli.main, arguments, env=env)

    return run


def all_commands() -> list[tuple[str, ...]]:
    names: list[tuple[str, ...]] = []
    for name, command in cli.main.commands.items():
        names.append((name,))
        if isinstance(command, click.Group):
            names += [(name, sub) for sub in command.commands]
    return names


@pytest.mark.parametrize("command", [(), *all_commands()], ids=" ".join)
def test_every_command_explains_itself(pgbooking: Pgbooking, command: tuple[str, ...]) -> None:
    answer = pgbooking(*command, "--help")

    assert answer.exit_code == 0
    assert "Usage:" in answer.stdout
    assert len(answer.stdout.splitlines()) > 4


def test_help_answers_at_once_because_commands_import_what_they_need() -> None:
    heavy = {"psycopg", "flask", "stripe", "yoyo", "granian", "jwt"}
    code = f"import sys, cli; sys.exit(str(set(sys.modules) & {heavy}) if set(sys.modules) & {heavy} else 0)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("migrate",),
        ("stats", "--from", "yesterday"),
        ("cleanup", "--batch", "0"),
        ("serve", "--port", "99999"),
        ("token", "--role", "student"),
        ("token", "--sub", "x", "--role", "king"),
        ("token", "--sub", "x", "--role", "student", "--secret", "short"),
        ("rollback", "--steps", "0"),
        ("cron", "nonsense"),
    ],
    ids=" ".join,
)
def test_wrong_use_is_exit_code_2(pgbooking: Pgbooking, arguments: tuple[str, ...]) -> None:
    answer = pgbooking(*arguments)

    assert answer.exit_code == 2
    assert answer.stdout == ""
    assert "Error: " in answer.stderr


def test_a_missing_setting_is_one_line_and_exit_code_2(pgbooking: Pgbooking) -> None:
    answer = pgbooking("worker")

    assert answer.exit_code == 2
    assert answer.stderr.startswith("pgbooking: ")
    assert "STRIPE_SECRET_KEY" in answer.stderr
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["migrate", "check", "stats", "cleanup", "doctor"])
def test_an_unreachable_database_is_one_line_and_exit_code_1(pgbooking: Pgbooking, command: str) -> None:
    answer = pgbooking(command, url="postgresql://nobody:hunter2@127.0.0.1:1/nothing")

    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert answer.stderr.startswith("pgbooking: the database cannot be reached")
    assert answer.stderr.count("\n") == 1
    assert "hunter2" not in answer.stderr


def test_a_bug_keeps_its_trace(pgbooking: Pgbooking, db_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "check", lambda url: 1 / 0)

    assert isinstance(pgbooking("check", url=db_url).exception, ZeroDivisionError)


def test_migrate_tells_each_step_and_what_it_did(pgbooking: Pgbooking, empty_db_url: str) -> None:
    first = pgbooking("migrate", url=empty_db_url)
    second = pgbooking("migrate", url=empty_db_url)

    assert first.exit_code == 0, first.stderr
    assert "migration 1/" in first.stderr
    assert "function 1/" in first.stderr
    assert second.stdout == "0 migrations applied, 0 function files loaded\n"
    assert second.stderr == ""


def test_migrate_prints_json_and_nothing_else(pgbooking: Pgbooking, empty_db_url: str) -> None:
    answer = pgbooking("migrate", "--json", url=empty_db_url)

    done = json.loads(answer.stdout)
    assert answer.stderr == ""
    assert done["migrations"][0] == "0001.roles_and_schema"
    assert "core/clock.sql" in done["functions"]
    assert done["orphans"] == []


def test_migrate_names_functions_without_a_file(pgbooking: Pgbooking, db_url: str) -> None:
    with psycopg.connect(db_url) as conn:
        conn.execute("create function booking.mine() returns int language sql as 'select 1'")

    answer = pgbooking("migrate", url=db_url)

    assert answer.exit_code == 0
    assert "booking.mine()" in answer.stderr


def test_rollback_asks_first(pgbooking: Pgbooking, db_url: str) -> None:
    refused = CliRunner().invoke(cli.main, ["rollback"], env={"DATABASE_URL": db_url}, input="n\n")
    assert refused.exit_code == 1
    assert deploy.pending(db_url) == []

    one = pgbooking("rollback", "--yes", url=db_url)
    assert one.stdout.startswith("1 migration taken back: ")
    rest = pgbooking("rollback", "--all", "--yes", "--json", url=db_url)
    assert json.loads(rest.stdout)["rolled_back"][-1] == "0001.roles_and_schema"
    assert pgbooking("rollback", "--yes", url=db_url).stdout == "0 migrations taken back\n"


def test_check_says_when_all_is_well_and_when_not(pgbooking: Pgbooking, db_url: str) -> None:
    well = pgbooking("check", url=db_url)
    with psycopg.connect(db_url) as conn:
        conn.execute("alter function booking.clock() stable")
    found = pgbooking("check", url=db_url)
    as_json = pgbooking("check", "--json", url=db_url)

    assert (well.exit_code, well.stdout) == (0, "database and files agree\n")
    assert found.exit_code == as_json.exit_code == 1
    assert "edited      function booking.clock()" in found.stdout
    assert [item["kind"] for item in json.loads(as_json.stdout)] == ["edited"]


def test_stats_is_a_table_or_json(pgbooking: Pgbooking, db_url: str) -> None:
    table = pgbooking("stats", url=db_url)
    as_json = pgbooking("stats", "--json", "--from", "2026-01-01", "--to", "2026-02-01T12:00", url=db_url)

    assert table.exit_code == as_json.exit_code == 0, as_json.stderr
    assert "total_bookings          0\n" in table.stdout
    assert json.loads(as_json.stdout)["captured_amounts"] == {}


def test_a_refusal_of_the_database_is_one_line(pgbooking: Pgbooking, db_url: str) -> None:
    answer = pgbooking("stats", "--from", "2026-02-01", "--to", "2026-01-01", url=db_url)

    assert answer.exit_code == 1
    assert answer.stderr.startswith("pgbooking: invalid_request. ")
    assert answer.stderr.count("\n") == 1


def pending_bookings(conn: psycopg.Connection[Any], number: int) -> None:
    """Bookings that timed out an hour ago."""
    clock = (
        "create or replace function booking.clock() returns timestamptz"
        " language sql volatile as $$ select {} $$"
    )
    conn.execute(clock.format("pg_catalog.now() - interval '1 hour'").encode())
    session = conn.execute("select booking.create_session('expert', 'Talk', 5000, 'EUR') as id").fetchone()
    assert session is not None
    for day in range(1, number + 1):
        slot = conn.execute(
            "select booking.publish_slot('expert', %(session)s, now() + %(day)s * interval '1 day',"
            " now() + %(day)s * interval '1 day' + interval '1 hour') as id",
            {"session": session["id"], "day": day},
        ).fetchone()
        assert slot is not None
        conn.execute("select booking.create_booking_transaction('student', %s)", [slot["id"]])
    conn.execute(clock.format("pg_catalog.clock_timestamp()").encode())


def test_cleanup_goes_on_until_nothing_is_left(pgbooking: Pgbooking, db_url: str, connect: Connect) -> None:
    pending_bookings(connect(), 5)

    first = pgbooking("cleanup", "--batch", "2", url=db_url)
    second = pgbooking("cleanup", "--json", url=db_url)

    assert (first.exit_code, first.stdout) == (0, "5 expired bookings cancelled\n")
    assert json.loads(second.stdout) == {"cancelled": 0}
    row = connect().execute("select expired from booking.get_booking_stats()").fetchone()
    assert row == {"expired": 5}


def test_cleanup_spares_those_that_have_time(pgbooking: Pgbooking, db_url: str, connect: Connect) -> None:
    pending_bookings(connect(), 1)

    assert pgbooking("cleanup", "--timeout", "2 hours", url=db_url).stdout == "0 expired bookings cancelled\n"


def test_cleanup_takes_the_timeout_of_the_installation(
    pgbooking: Pgbooking, db_url: str, connect: Connect
) -> None:
    pending_bookings(connect(), 1)
    connect().execute("update booking.settings set booking_timeout = '2 hours'")

    assert pgbooking("cleanup", url=db_url).stdout == "0 expired bookings cancelled\n"
    assert (
        pgbooking("cleanup", "--timeout", "30 minutes", url=db_url).stdout == "1 expired booking cancelled\n"
    )


def test_retention_goes_on_until_nothing_is_left_and_says_what_it_did(
    pgbooking: Pgbooking, db_url: str, connect: Connect
) -> None:
    pending_bookings(connect(), 3)
    pgbooking("cleanup", url=db_url)
    for days, event in ((40, "evt_1"), (10, "evt_2"), (1, "evt_3")):
        connect().execute(
            "insert into booking.webhook_events (stripe_event_id, event_type, status, payload, received_at)"
            " values (%s, 'x', 'ignored', '{}', now() - make_interval(days => %s))",
            (event, days),
        )

    first = pgbooking("retention", "--age", "0", "--batch", "2", "--json", url=db_url)
    second = pgbooking("retention", url=db_url)

    assert json.loads(first.stdout) == {
        "webhook_events_archived": 2,
        "webhook_events_deleted": 1,
        "bookings_scrubbed": 3,
    }
    assert second.exit_code == 0
    assert "bookings_scrubbed        0\n" in second.stdout
    trail = json.loads(pgbooking("audit", "--json", url=db_url).stdout)
    assert [(row["action"], row["detail"].get("count")) for row in trail if "retention" in row["action"]] == [
        ("retention.webhook_events", None),
        ("retention.bookings_scrubbed", 2),
        ("retention.bookings_scrubbed", 1),
    ]


def test_the_audit_trail_is_a_table_or_json_and_can_be_narrowed(
    pgbooking: Pgbooking, db_url: str, connect: Connect
) -> None:
    connect().execute("update booking.settings set booking_timeout = '20 minutes'")
    connect().execute("select booking.audit('thing.done', 'a', 'ann')")

    table = pgbooking("audit", url=db_url)
    narrowed = pgbooking("audit", "--actor", "ann", "--from", "2026-01-01", "--json", url=db_url)

    assert table.exit_code == 0
    assert "settings.changed" in table.stdout
    assert [row["subject"] for row in json.loads(narrowed.stdout)] == ["a"]
    assert pgbooking("audit", "--to", "2026-01-01", "--json", url=db_url).stdout == "[]\n"


def test_trace_shows_what_belongs_to_an_id_and_outbox_what_waits(
    pgbooking: Pgbooking, db_url: str, connect: Connect
) -> None:
    waiting = [pgbooking("outbox", url=db_url).stdout, pgbooking("outbox", "--json", url=db_url).stdout]
    order = (
        connect()
        .execute(
            """with p as (select booking.create_product('course-1', 'A course', 4900, 'eur') as id),
               o as (select c.order_id from p, booking.begin_checkout('ann', p.id, 'key-1', 'req-1') c)
               select o.order_id::text as id from o"""
        )
        .fetchone()["id"]  # type: ignore[index]
    )
    connect().execute("select booking.finish_checkout(%s, 'req-1', 'cs_1', 'https://checkout.test')", [order])
    connect().execute("select booking.queue_session_expiry(%s)", [order])

    assert waiting == ["nothing waits\n", "[]\n"]
    for thing in (order, "cs_1"):
        assert [
            row["kind"] for row in json.loads(pgbooking("trace", thing, "--json", url=db_url).stdout)
        ] == [
            "order",
            "command",
        ]
    assert "expire_checkout_session" in pgbooking("trace", "cs_1", url=db_url).stdout
    [command] = json.loads(pgbooking("outbox", "--json", url=db_url).stdout)
    assert (command["order_id"], command["status"]) == (order, "pending")
    assert "expire_checkout_session" in pgbooking("outbox", "--limit", "1", url=db_url).stdout


def test_trace_of_what_nobody_knows_is_exit_code_1(pgbooking: Pgbooking, db_url: str) -> None:
    answer = pgbooking("trace", "pi_unknown", url=db_url)

    assert (answer.exit_code, answer.stdout) == (1, "")
    assert answer.stderr == "nothing is known of pi_unknown\n"
    assert pgbooking("trace", "pi_unknown", "--json", url=db_url).stdout == "[]\n"


def test_a_token_says_who_and_until_when(pgbooking: Pgbooking) -> None:
    answer = pgbooking(
        "token", "--sub", "alice", "--role", "expert", "--ttl", "60",
        JWT_SECRET=SECRET, JWT_AUDIENCE="booking", JWT_ISSUER="us",
    )  # fmt: skip

    claims = jwt.decode(answer.stdout.strip(), SECRET, algorithms=["HS256"], audience="booking", issuer="us")
    assert (claims["sub"], claims["role"]) == ("alice", "expert")
    assert claims["exp"] - claims["iat"] == 60
    assert claims["iat"] <= time.time()


def test_the_doctor_finds_nothing_in_a_fresh_database(
    pgbooking: Pgbooking, db_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Logins belong to the server, which other tests use at the same time.
    monkeypatch.setattr(doctor, "_TIMEOUTS", "select where false")

    answer = pgbooking("doctor", url=db_url)

    assert (answer.exit_code, answer.stdout) == (0, "all is well\n")


def test_the_doctor_names_every_kind_of_trouble(pgbooking: Pgbooking, db_url: str, connect: Connect) -> None:
    conn = connect()
    conn.execute("select booking.raise_alert('stripe_key_refused', 'a key', '{}')")
    pending_bookings(conn, 1)
    conn.execute("update booking.slot_seats set taken = 0")
    answer = pgbooking("doctor", "--json", url=db_url)

    found = {(item["check"], item["subject"].split(":")[0]) for item in json.loads(answer.stdout)}
    assert answer.exit_code == 1
    assert {("alert", "stripe_key_refused"), ("invariant", "seats_match_bookings")} <= found
    table = pgbooking("doctor", url=db_url)
    assert "stripe_key_refused" in table.stdout


def test_the_doctor_finds_an_outbox_that_nobody_empties_and_events_that_failed(
    pgbooking: Pgbooking, db_url: str, connect: Connect
) -> None:
    conn = connect()
    command = (
        "insert into booking.stripe_commands (id, payment_id, operation, stripe_id, status, created_at)"
        " select gen_random_uuid(), gen_random_uuid(), 'create_refund', %s, %s::booking.command_status,"
        " now() - interval '1 day'"
    )
    conn.execute(command, ["pi_1", "dead"])
    conn.execute(command, ["pi_2", "pending"])
    conn.execute(
        "insert into booking.webhook_events (stripe_event_id, event_type, status, payload, error)"
        " values ('evt_1', 'charge.refunded', 'failed', '{}', '{}')"
    )

    found = json.loads(pgbooking("doctor", "--json", url=db_url).stdout)

    subjects = {(item["check"], item["subject"]) for item in found}
    assert ("outbox", "dead commands") in subjects
    assert ("outbox", "late: does a worker run?") in subjects
    assert ("webhooks", "events that failed") in subjects


TIMEOUTS = ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout")


def test_the_doctor_finds_timeouts_that_a_login_does_not_have(
    pgbooking: Pgbooking, db_url: str, connect: Connect
) -> None:
    database = db_url.rsplit("/", 1)[1]
    login = f"login_of_{database}"
    conn = connect()

    def found() -> list[str]:
        items = json.loads(pgbooking("doctor", "--json", url=db_url).stdout)
        return [item["subject"] for item in items if item["subject"].endswith(f" of {login}")]

    conn.execute(f"create role {login} login in role booking_app".encode())
    try:
        assert found() == [f"{name} of {login}" for name in TIMEOUTS]
        conn.execute(f"alter role {login} set lock_timeout = '0'".encode())
        conn.execute(f"alter role {login} in database {database} set lock_timeout = '2s'".encode())
        conn.execute(f"alter role {login} set statement_timeout = '10s'".encode())
        assert found() == [f"{TIMEOUTS[0]} of {login}"]
        conn.execute(f"alter database {database} set {TIMEOUTS[0]} = '1min'".encode())
        assert found() == []
    finally:
        conn.execute(f"drop role {login}".encode())


def test_cron_elsewhere_prints_what_to_run_there(pgbooking: Pgbooking, db_url: str) -> None:
    install = pgbooking("cron", "install", url=db_url)
    status = pgbooking("cron", "status", url=db_url)
    remove = pgbooking("cron", "remove", url=db_url)

    assert install.exit_code == 1
    assert "cron.schedule_in_database('pgbooking-maintenance'" in install.stdout
    assert status.exit_code == 1
    assert (remove.exit_code, remove.stdout) == (0, "there was no job\n")


@pytest.mark.pg15
def test_cron_is_installed_shown_and_removed(pgbooking: Pgbooking, cron_db_url: str) -> None:
    install = pgbooking("cron", "install", "--schedule", "*/5 * * * *", url=cron_db_url)
    status = pgbooking("cron", "status", url=cron_db_url)
    as_json = pgbooking("cron", "status", "--json", url=cron_db_url)
    remove = pgbooking("cron", "remove", url=cron_db_url)
    after = pgbooking("cron", "status", "--json", url=cron_db_url)

    assert install.exit_code == status.exit_code == remove.exit_code == 0, status.stderr
    assert "*/5 * * * *" in status.stdout
    assert [job["schedule"] for job in json.loads(as_json.stdout)] == ["*/5 * * * *"]
    assert remove.stdout == "removed\n"
    assert (after.exit_code, json.loads(after.stdout)) == (1, [])


def test_long_running_commands_hand_over_their_options(
    pgbooking: Pgbooking, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glue import sandbox, serve, worker

    calls: list[tuple[str, Any]] = []
    monkeypatch.setattr(serve, "main", lambda **options: calls.append(("serve", options)))
    monkeypatch.setattr(worker, "main", lambda settings: calls.append(("worker", settings.stripe_secret_key)))
    monkeypatch.setattr(sandbox, "serve", lambda **options: calls.append(("sandbox", options)))

    pgbooking("serve", "--port", "0", "--threads", "4")
    pgbooking("worker", url="postgresql://localhost/x", STRIPE_SECRET_KEY="sk_test_1")
    pgbooking(
        "sandbox", "--webhook-url", "http://127.0.0.1/", "--webhook-secret", "a", "--webhook-secret", "b"
    )

    assert calls == [
        ("serve", {"host": "127.0.0.1", "port": 0, "threads": 4}),
        ("worker", "sk_test_1"),
        (
            "sandbox",
            {"port": 0, "webhook_url": "http://127.0.0.1/", "webhook_secret": ("a", "b"), "api_keys": ()},
        ),
    ]


def test_a_sandbox_on_a_taken_port_is_one_line(pgbooking: Pgbooking, monkeypatch: pytest.MonkeyPatch) -> None:
    from glue import sandbox

    def taken(**options: Any) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(sandbox, "serve", taken)

    answer = pgbooking("sandbox", "--port", "1")

    assert (answer.exit_code, answer.stderr) == (
        1,
        "pgbooking: cannot listen on port 1: Address already in use\n",
    )


def test_ctrl_c_ends_a_server_without_noise(pgbooking: Pgbooking, monkeypatch: pytest.MonkeyPatch) -> None:
    from glue import sandbox

    def interrupted(**options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sandbox, "serve", interrupted)

    assert (pgbooking("sandbox").exit_code, pgbooking("sandbox").stderr) == (0, "")


class Terminal:
    """Standard error as a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_bars_and_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    with console.progress(quiet=False) as report:
        report("migration", "0001", 1, 2)
        report("migration", "0002", 2, 2)
        report("function", "one.sql", 1, 1)
    with console.counter("cancelled", quiet=False) as show:
        show(3)

    assert "100%" in terminal.text
    assert "functions" in terminal.text
    assert "cancelled: 3" in terminal.text


def test_the_module_is_the_command_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(cli.__file__)), "--version"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )

    assert (done.returncode, done.stdout.split()[0]) == (0, "pgbooking,")
