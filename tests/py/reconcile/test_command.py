"""`pgbooking reconcile`: what it prints, and its exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

import cli
from tests.py.mirror.world import KEY, World
from tests.py.reconcile.scenes import history, orphan

FROM = f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"

Command = Callable[..., Result]


@pytest.fixture
def command(here: World, monkeypatch: pytest.MonkeyPatch) -> Command:
    """command(*arguments, **environment) -> what `pgbooking reconcile --from` of the last hour answered."""
    for name in ("DATABASE_URL", "STRIPE_SECRET_KEY", "STRIPE_API_BASE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, **environment: str) -> Result:
        env = {
            "DATABASE_URL": here.url + "?options=-crole%3Dbooking_app",
            "STRIPE_SECRET_KEY": KEY,
            "STRIPE_API_BASE": here.stripe_url,
            **environment,
        }
        return CliRunner().invoke(
            cli.main, ["reconcile", "--from", FROM, "--patience", "0", *arguments], env=env
        )

    return run


def test_when_all_agrees_it_says_so_and_exits_0(here: World, command: Command) -> None:
    history(here)
    answer = command()
    assert answer.exit_code == 0, answer.output
    assert answer.stdout == "13 PaymentIntents, 10 charges, 4 refunds at Stripe: no difference\n"


def test_differences_are_printed_by_kind_and_exit_1(here: World, command: Command) -> None:
    booking = here.captured()
    here.customer.v1.refunds.create({"payment_intent": booking.intent, "amount": 1200})
    stray = orphan(here, {"payment_id": str(uuid4())})

    answer = command()

    assert answer.exit_code == 1
    lines = [line.split() for line in answer.stdout.splitlines()]
    assert lines[0] == ["kind", "payment_id", "stripe_id", "ours", "theirs"]
    assert lines[2] == ["missing_here", "-", stray, "-", "requires_payment_method", "5000", "eur"]
    assert lines[3] == ["refunded", str(booking.payment_id), booking.intent, "0", "1200"]
    assert "2 differences (run " in answer.stdout
    assert KEY not in answer.output


def test_json_is_for_scripts_and_nothing_else_is_printed(here: World, command: Command) -> None:
    booking = here.captured()
    here.customer.v1.refunds.create({"payment_intent": booking.intent, "amount": 1200})

    answer = command("--json")

    assert answer.exit_code == 1
    assert answer.stderr == ""
    report = json.loads(answer.stdout)
    assert report["differences"] == [
        {
            "payment_id": str(booking.payment_id),
            "stripe_id": booking.intent,
            "kind": "refunded",
            "ours": "0",
            "theirs": "1200",
        }
    ]
    names = ("payment_intents", "charges", "refunds", "settled", "pending")
    assert [report[name] for name in names] == [1, 1, 1, 0, 0]
    row = here.sql.execute(
        "select status::text from booking.reconciliation_runs where id = %s", (report["run_id"],)
    )
    assert row.fetchone() == {"status": "finished"}


def test_a_settled_command_is_told(here: World, command: Command) -> None:
    booking = here.authorized()
    wish = here.confirm(booking)
    here.control.fault("apply_then_drop", times=6, method="POST", path_regex=r"/capture$")
    here.mirror.run(wish)

    answer = command()

    assert answer.exit_code == 0
    assert "commands of unknown outcome: 1 settled, 0 left to the worker" in answer.stdout


def test_each_phase_is_named_on_standard_error(here: World, command: Command) -> None:
    here.captured()
    answer = command()
    for label in ("PaymentIntents", "charges", "refunds"):
        assert label in answer.stderr


def test_the_run_is_audited_under_the_login(here: World, command: Command) -> None:
    command()
    rows = here.sql.execute(
        "select * from booking.audit_trail() where action like 'reconciliation.%'"
    ).fetchall()
    assert [row["action"] for row in rows] == ["reconciliation.begun", "reconciliation.finished"]
    assert {row["actor"] for row in rows} == {here.sql.info.user}
    [request_id] = {row["request_id"] for row in rows}
    assert re.fullmatch(r"cli-[0-9a-f-]{36}", request_id)


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "text"),
    [
        (["--to", "yesterday"], {}, 2, "Invalid value for '--to'"),
        (["--to", "2020-01-01"], {}, 1, "pgbooking: invalid_request"),
        ([], {"STRIPE_SECRET_KEY": ""}, 2, "missing: STRIPE_SECRET_KEY"),
        ([], {"STRIPE_API_BASE": "http://127.0.0.1:9"}, 1, "pgbooking: "),
        ([], {"DATABASE_URL": "postgresql://nobody:hunter2@127.0.0.1:1/nothing"}, 1, "pgbooking: "),
    ],
    ids=["no time", "an empty window", "no key", "stripe away", "database away"],
)
def test_what_cannot_be_done_is_one_line(
    command: Command, arguments: list[str], environment: dict[str, str], code: int, text: str
) -> None:
    answer = command(*arguments, **environment)
    assert answer.exit_code == code, answer.output
    assert text in answer.stderr
    assert "hunter2" not in answer.output
    assert answer.stdout == ""
