"""`pgbooking up` serves, explains itself in lines that work when pasted, and goes on where it was left."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import time
import urllib.request
from pathlib import Path

import psycopg
import pytest

from glue import up
from glue.up import folder as up_folder
from tests.py.demo.processes import PATIENCE, Command, left_behind, marked, started

LAST_LINE = "pgbooking doctor"


def pasted(output: str) -> dict[str, str]:
    """What the lines are for, and the lines."""
    return dict(re.findall(r"^  # (.*)\n  (.*)$", output, re.M))


def paste(*lines: str, env: dict[str, str] | None = None) -> str:
    """Into a fresh shell; what it shows."""
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        env=plain | (env or {}),
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout


def ready(command: Command) -> dict[str, str]:
    command.wait_for(LAST_LINE)
    return pasted(command.output)


def stop(command: Command, number: signal.Signals) -> None:
    command.send(number)
    assert command.finish() == 0, command.output + command.errors
    assert left_behind(command) == {}


def variable(name: str, output: str) -> str:
    """A field of an answer that was shown."""
    found = re.search(rf'"{name}":"([^"]*)"', output)
    assert found, output
    return found.group(1)


def await_authorized(data: Path, booking: str) -> None:
    """Until Stripe's event of the held card is applied: what a stop cut short is delivered after it."""
    ask = f'curl -s -H "$(bearer student-sam student)" "$API/api/bookings/{booking}"'
    deadline = time.monotonic() + PATIENCE
    while (status := variable("paymentStatus", paste(f". '{data}/env'; {ask}"))) != "authorized":
        assert status == "pending"
        assert time.monotonic() < deadline, "the event did not come"
        time.sleep(0.05)


def test_pasted_lines_work_and_a_restart_goes_on_where_it_was_left(place: Path) -> None:
    data = place / "kept data"  # a blank in the path: the lines must quote it
    with started("up", "--port", "0", "--data", str(data)) as command:
        lines = list(ready(command).items())
        titles = [title for title, _ in lines]
        token, slots, book, intent, pay, confirm, cancel, buy, figures, doctor = (line for _, line in lines)
        assert titles[2] == "book it"
        assert re.fullmatch(r"ey[\w-]+\.ey[\w-]+\.[\w-]+\n", paste(token))
        assert len(json.loads(paste(slots))["slots"]) == len(up.OFFERED_HOURS)
        first = paste(book, intent, pay)
        assert variable("status", first) == "pending"
        assert '"status": "requires_capture"' in first
        booking, payment = variable("bookingId", first), variable("paymentIntentId", first)
        bought = paste(buy)
        assert "product test-product" in bought
        assert "verdict: good: one order, one session" in bought
        url = command.wait_for("pgbooking serves").split()[2]
        stop(command, signal.SIGTERM)

    with started("up", "--port", "0", "--data", str(data)) as command:
        again = list(ready(command).values())
        assert command.wait_for("pgbooking serves").split()[2] == url
        assert again[0] == token
        assert "verdict: good" in paste(again[7])
        assert again[2] != book, "that slot is taken: another one is offered"
        # Ours and Stripe's memory of the booking are there: it can be captured, and given back.
        await_authorized(data, booking)
        decided = paste(f"BOOKING={booking}", confirm)
        assert variable("status", decided) == "confirmed"
        assert variable("paymentStatus", decided) == "captured"
        cancelled = paste(f"BOOKING={booking}", f"INTENT={payment}", cancel)
        assert variable("paymentStatus", cancelled) == "refunded"
        shown = paste(figures)
        assert re.search(r"total_bookings +\| 1\n", shown), shown
        assert paste(doctor) == "all is well\n"
        stop(command, signal.SIGINT)


def test_what_ends_is_started_again_at_the_same_address(place: Path) -> None:
    with started("up", "--port", "0", "--data", str(place / "data")) as command:
        lines = ready(command)
        url = command.wait_for("pgbooking serves").split()[2]
        for name, words in (("worker", " worker"), ("server", " serve "), ("sandbox", "glue.sandbox")):
            pid = next(pid for pid, line in marked(command.mark).items() if words in line)
            os.kill(pid, signal.SIGKILL)
            command.wait_for(f"{name} had ended and was started again", "err")
        with urllib.request.urlopen(f"{url}/readyz", timeout=120) as answer:
            assert json.load(answer)["status"] == "ready"
        assert variable("status", paste(lines["book it"])) == "pending"
        postmaster = place / "data" / "postgres" / "pg" / "postmaster.pid"
        os.kill(int(postmaster.read_text().splitlines()[0]), signal.SIGKILL)
        command.wait_for("PostgreSQL had ended and was started again", "err")
        stop(command, signal.SIGTERM)


def test_killed_it_leaves_nothing_running_and_starts_again(place: Path) -> None:
    data = place / "data"
    with started("up", "--port", "0", "--data", str(data)) as command:
        first = ready(command)
        booked = paste(first["book it"])
        launcher = int((data / "up.lock").read_text())
        os.kill(launcher, signal.SIGKILL)
        assert command.finish() == -signal.SIGKILL
    with started("up", "--port", "0", "--data", str(data)) as command:
        ready(command)
        refused = paste(first["book it"])
        assert variable("bookingId", booked)
        assert variable("code", refused) in ("duplicate_booking", "slot_unavailable")
        stop(command, signal.SIGTERM)


def test_secrets_are_for_the_owner_only_and_not_on_the_screen(place: Path) -> None:
    data = place / "data"
    with started("up", "--port", "0", "--data", str(data)) as command:
        ready(command)
        stop(command, signal.SIGTERM)
    for name in ("env", "state.json"):
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o600
    secrets = json.loads((data / "state.json").read_text())["secrets"]
    for name, secret in secrets.items():
        if name != "name":
            assert secret not in command.output + command.errors


def test_a_given_database_is_used_and_kept(place: Path, empty_db_url: str) -> None:
    data = place / "data"
    environment = {"DATABASE_URL": empty_db_url}
    with started("up", "--port", "0", "--data", str(data), env=environment) as command:
        lines = ready(command)
        assert variable("status", paste(lines["book it"])) == "pending"
        # The pasted lines mean the database that is served, whatever the shell's own DATABASE_URL is.
        assert "total_bookings" in paste(lines["the figures, with psql"], env={"DATABASE_URL": "nonsense"})
        stop(command, signal.SIGTERM)
    assert not (data / "postgres").exists()
    with psycopg.connect(empty_db_url) as connection:
        row = connection.execute("select count(*) from booking.bookings").fetchone()
    assert row == (1,)


@pytest.fixture
def no_database_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.mark.usefixtures("no_database_url")
class TestRefusals:
    def test_two_on_one_folder(
        self, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(up_folder, "LOCK_PATIENCE", 0.0)
        with up_folder.alone(place):
            assert up.main(host="127.0.0.1", port=0, data=place) == 1
        assert f"already runs on {place} (process {os.getpid()})" in capsys.readouterr().err

    def test_a_port_that_is_taken(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert up.main(host="127.0.0.1", port=port, data=place) == 1
        assert (
            f"cannot listen on 127.0.0.1:{port}: Address already in use; --port 0" in capsys.readouterr().err
        )

    def test_a_folder_that_is_a_file(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (place / "file").touch()
        assert up.main(host="127.0.0.1", port=0, data=place / "file") == 1
        assert "file cannot be used: " in capsys.readouterr().err

    @pytest.mark.parametrize("text", ["", "[]", '{"secrets": {}}', '{"secrets": {"a": 1}, "ports": {}}'])
    def test_a_state_that_is_not_ours(
        self, place: Path, capsys: pytest.CaptureFixture[str], text: str
    ) -> None:
        (place / "state.json").write_text(text)
        assert up.main(host="127.0.0.1", port=0, data=place) == 1
        assert "state.json cannot be read" in capsys.readouterr().err
