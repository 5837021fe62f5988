"""The demo holds from the first step to the last, says what failed when it does not, and leaves nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from glue import demo
from glue.demo import lessons
from glue.demo.console import Console, StepFailed, short
from tests.py.demo.processes import left_behind, marked, started

KEY_LINES = [
    "the server is no superuser and may touch no table",
    "20 x 409 slot_unavailable",
    "the money is held, not taken",
    "webhook payment_intent.amount_capturable_updated: 200",
    "confirmed, captured, and Stripe knows",
    "30 h ahead gives back 100 %",
    "10 h ahead gives back 50 %",
    "1 h ahead gives back 0 %",
    "declined, and nothing was taken",
    "one booking is cancelled",
    "all 8 deliveries are taken",
    "a duplicate changes nothing",
    "400 invalid_signature",
    "Stripe's books say: canceled, captured 0, refunded 0",
    "every figure is right",
    "every payment agrees",
    "the totals agree: 200.00 usd captured, 75.00 usd refunded, nothing held",
    "nobody is charged for a seat that is gone",
    "the webhook alone has booked the other one",
    "one is served, two are told to wait",
    "Stripe's webhook has paid the order",
    "409 refund_exceeds_captured",
    "Stripe has given it back",
    "the pupil has an invoice and a credit note",
    "it is a PDF",
    "all of them were looked at, and nothing differs",
    "approving, issuing and reconciling are among them",
    "no invariant is broken",
    "All 23 steps held",
]


def test_every_step_holds_and_nothing_is_left(place: Path) -> None:
    with started("demo", env={"TMPDIR": str(place)}) as command:
        assert command.finish() == 0, command.output + command.errors
        assert [line for line in KEY_LINES if line not in command.output] == []
        assert "FAILED" not in command.output
        assert command.errors == ""
        assert left_behind(command) == {}
    assert list(place.iterdir()) == []


def test_it_runs_in_a_database_of_its_own_on_a_given_server(place: Path, pg_url: str) -> None:
    def databases_and_roles(name: str) -> list[str]:
        """What is named after this run: others use the server meanwhile."""
        query = (
            "select datname::text from pg_database where datname like %(name)s"
            " union all select rolname::text from pg_roles where rolname like %(name)s order by 1"
        )
        with psycopg.connect(pg_url) as connection:
            return [row[0] for row in connection.execute(query, {"name": f"pgbooking%{name}"})]

    with started("demo", "--verbose", env={"DATABASE_URL": pg_url}) as command:
        name = command.wait_for("pgbooking_server_").partition("pgbooking_server_")[2][:8]
        assert databases_and_roles(name) == [
            f"pgbooking_demo_{name}",
            f"pgbooking_operator_{name}",
            f"pgbooking_server_{name}",
        ]
        assert command.finish() == 0, command.output + command.errors
        # With --verbose the processes' log lines are there, on the other stream.
        assert 'server: {"event":"request"' in command.errors
        assert left_behind(command) == {}
    assert databases_and_roles(name) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(place: Path, number: signal.Signals) -> None:
    with started("demo", env={"TMPDIR": str(place)}) as command:
        command.wait_for(" 3  ")
        command.send(number)
        assert command.finish() == 130
        assert "stopped before the end" in command.errors
        assert left_behind(command) == {}
    assert list(place.iterdir()) == []


def test_interrupted_while_it_starts_it_leaves_nothing(place: Path) -> None:
    with started("demo", env={"TMPDIR": str(place)}) as command:
        command.wait_for("Starting")
        command.send(signal.SIGINT)
        assert command.finish() in (1, 130)
        assert left_behind(command) == {}
    assert list(place.iterdir()) == []


def test_killed_it_leaves_nothing(place: Path) -> None:
    with started("demo", env={"TMPDIR": str(place)}) as command:
        command.wait_for(" 3  ")
        launcher = next(pid for pid, line in marked(command.mark).items() if " -m cli demo" in line)
        os.kill(launcher, signal.SIGKILL)
        assert command.finish() == -signal.SIGKILL
        assert left_behind(command) == {}
    assert list(place.iterdir()) == []


@pytest.fixture
def run_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], tuple[int, str, str]]:
    """The demo in this process, so that a step can be made to fail."""
    monkeypatch.delenv("DATABASE_URL", raising=False)

    def run() -> tuple[int, str, str]:
        code = demo.main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_step_that_does_not_hold_ends_it_with_what_was_expected_and_what_came(
    run_here: Callable[[], tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lessons, "CREATE", "/api/bookings/nowhere")
    code, out, err = run_here()
    assert code == 1
    assert "FAILED in step 3 (A student books the slot that starts in 30 hours)" in out
    assert "expected  201" in out
    assert "came      405 method_not_allowed" in out
    assert "steps held" not in out
    assert "The processes logged last:" in err


def test_a_process_that_dies_ends_it(
    run_here: Callable[[], tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_the_server(self: lessons.Lessons) -> None:
        server = self._cast.system.processes["server"]
        os.killpg(server, signal.SIGKILL)
        os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)  # its sockets close before it counts as ended

    monkeypatch.setattr(lessons.Lessons, "_create_intent", kill_the_server)
    code, out, err = run_here()
    assert code == 1
    assert "FAILED in step 6" in out or "FAILED in step 5" in out or "FAILED in step 4" in out
    assert "server ended with exit code -9" in err


def test_a_database_that_is_away_is_one_clear_line(
    run_here: Callable[[], tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    code, _, err = run_here()
    assert code == 1
    assert err.startswith("pgbooking: connection failed")


def test_a_step_says_what_held() -> None:
    lines: list[str] = []
    console = Console(lines.append)
    console.step("First")
    console.expect("it is so", 1, 1)
    with pytest.raises(StepFailed, match="it is not so: expected 2, came 1"):
        console.expect("it is not so", 1, 2)
    assert lines[-1].endswith("it is so")


def test_ids_are_shortened_to_the_part_that_differs() -> None:
    assert short("GET /api/bookings/01a1fda0-de3b-7037-a38b-125a24ad1699") == "GET /api/bookings/..ad1699"
