"""`pgbooking replay`: Stripe's own list of events heals a database that does not know what happened."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import cli
from glue.replay import TYPES
from tests.py.mirror.world import KEY, World

ROOT = Path(__file__).parents[3]
FROM = f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"

Command = Callable[..., Result]


@pytest.fixture
def command(here: World, monkeypatch: pytest.MonkeyPatch) -> Command:
    """command(*arguments, **environment) -> what `pgbooking replay --from` of the last hour answered."""
    for name in ("DATABASE_URL", "STRIPE_SECRET_KEY", "STRIPE_API_BASE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, **environment: str) -> Result:
        env = {
            "DATABASE_URL": here.url + "?options=-crole%3Dbooking_app",
            "STRIPE_SECRET_KEY": KEY,
            "STRIPE_API_BASE": here.stripe_url,
            **environment,
        }
        return CliRunner().invoke(cli.main, ["replay", "--from", FROM, *arguments], env=env)

    return run


def test_what_no_webhook_told_is_in_the_books_afterwards(here: World, command: Command) -> None:
    paid = here.book()
    here.pay(here.create_intent(paid))
    given_back = here.captured()
    here.customer.v1.refunds.create({"payment_intent": given_back.intent, "amount": 1200})
    let_go = here.authorized()
    here.customer.v1.payment_intents.cancel(let_go.intent)

    answer = command()

    assert answer.exit_code == 0, answer.output
    assert re.fullmatch(r"\d+ events: \d+ processed, \d+ duplicate, 0 ignored, 0 failed\n", answer.stdout)
    assert here.payment(paid)["status"] == "authorized"
    assert here.payment(given_back)["amount_refunded"] == 1200
    assert here.booking(let_go)["status"] == "cancelled"
    here.assert_books_equal()


def test_a_payment_intent_that_we_never_recorded_is_found_by_its_metadata(
    here: World, command: Command
) -> None:
    booking = here.book()
    here.pay(here.create_intent(booking))
    here.sql.execute("alter table booking.payments disable trigger user")
    here.sql.execute("update booking.payments set stripe_payment_intent_id = null")
    here.sql.execute("alter table booking.payments enable trigger user")
    assert command().exit_code == 0
    assert here.payment(booking)["status"] == "authorized"
    here.assert_books_equal()


def test_again_changes_nothing(here: World, command: Command) -> None:
    here.pay(here.create_intent(here.book()))
    first = json.loads(command("--json").stdout)
    assert (first["processed"], first["duplicate"]) == (first["events"], 0)
    before = here.sql.execute("select * from booking.payments").fetchall()
    second = json.loads(command("--json").stdout)
    assert (second["processed"], second["duplicate"]) == (0, first["events"])
    assert here.sql.execute("select * from booking.payments").fetchall() == before


def test_events_outside_of_the_window_are_left_alone(here: World, command: Command) -> None:
    here.pay(here.create_intent(here.book()))
    answer = command("--to", f"{datetime.now(UTC) - timedelta(minutes=30):%Y-%m-%dT%H:%M:%SZ}")
    assert answer.stdout == "0 events: 0 processed, 0 duplicate, 0 ignored, 0 failed\n"


def test_on_a_machine_whose_clock_is_behind_the_newest_events_are_applied_too(
    here: World, command: Command
) -> None:
    here.control.advance(seconds=600)
    booking = here.book()
    here.pay(here.create_intent(booking))
    assert command().exit_code == 0
    assert here.payment(booking)["status"] == "authorized"


def test_an_event_that_could_not_be_applied_is_told(here: World, command: Command) -> None:
    booking = here.book()
    here.pay(here.create_intent(booking))
    here.sql.execute("alter table booking.payments add constraint broken check (status <> 'authorized')")
    answer = command()
    assert answer.exit_code == 1
    assert "failed" in answer.stdout
    here.sql.execute("alter table booking.payments drop constraint broken")
    assert command().exit_code == 0
    assert here.payment(booking)["status"] == "authorized"


def test_no_secret_of_the_paying_browser_is_stored(here: World, command: Command) -> None:
    here.pay(here.create_intent(here.book()))
    command()
    rows = here.sql.execute("select w.payload::text from booking.webhook_events w").fetchall()
    assert rows
    assert not [row for row in rows if "client_secret" in row["payload"]]


def test_it_asks_for_what_the_database_makes_use_of() -> None:
    """And for no more types than Stripe takes in one question."""
    text = (ROOT / "db/functions/webhooks/process_webhook_event.sql").read_text()
    known = text.partition(" v_type in (")[2].partition(")\n")[0]
    assert set(TYPES) == set(re.findall(r"'([a-z_.]+)'", known))
    assert len(TYPES) <= 20


def test_what_stripe_has_forgotten_is_said(command: Command) -> None:
    answer = command("--from", "2020-01-01")
    assert "30 days" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "text"),
    [
        (["--to", "yesterday"], {}, 2, "Invalid value for '--to'"),
        (["--to", "2020-01-01"], {}, 2, "is not after --from"),
        ([], {"STRIPE_SECRET_KEY": ""}, 2, "missing: STRIPE_SECRET_KEY"),
        ([], {"STRIPE_API_BASE": "http://127.0.0.1:9"}, 1, "pgbooking: "),
        ([], {"DATABASE_URL": "postgresql://nobody:hunter2@127.0.0.1:1/nothing"}, 1, "pgbooking: "),
    ],
    ids=["no time", "an empty window", "no key", "stripe away", "database away"],
)
def test_what_cannot_be_done_is_one_line(
    here: World, command: Command, arguments: list[str], environment: dict[str, str], code: int, text: str
) -> None:
    here.pay(here.create_intent(here.book()))
    answer = command(*arguments, **environment)
    assert answer.exit_code == code, answer.output
    assert text in answer.stderr
    assert "hunter2" not in answer.output
    assert answer.stdout == ""
