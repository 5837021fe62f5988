"""What is measured against others: who oversells or loses is noticed, who is missing is named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from bench.baselines import install
from bench.baselines.programs import require_not_oversold, stand_in
from bench.load import Answered
from bench.measure import Size
from bench.rows import baselines
from bench.stage import SETUP, Database, Stage

NOWHERE = Stage("postgresql://127.0.0.1:9/nowhere")
SEAT = "update slots s set seats_taken = s.seats_taken {} 1 where s.id = bench.slot_id(1)"
BOOKING = """insert into bookings (id, slot_id, session_id, student_id, expert_id, payment_id, status,
  currency, amount, scheduled_at, ends_at, details, created_at, updated_at)
select gen_random_uuid(), s.id, s.session_id, 'somebody', s.expert_id, s.id, 'pending', 'usd', 1, s.starts_at,
  s.ends_at, '{}', now(), now() from slots s where s.id = bench.slot_id(1)"""


@pytest.fixture
def database(db_url: str) -> Database:
    made = Database(db_url, db_url.rpartition("/")[2], Stage(db_url))
    made.run(SETUP.read_text(), "call bench.load_experts()")
    made.load("call bench.load_slots(0, 3)")
    stand_in(baselines.CREATE).prepare(made)
    made.run(SEAT.format("+"), BOOKING)
    return made


@pytest.mark.pg18
def test_seats_that_fit_their_bookings_are_no_fault(database: Database) -> None:
    require_not_oversold(database)


@pytest.mark.pg18
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(SEAT.format("-"), id="a booking without a seat"),
        pytest.param("delete from bookings", id="a seat without a booking"),
        pytest.param(
            "alter table slots drop constraint slots_not_oversold; " + SEAT.format("+") + "; "
            + BOOKING.replace("somebody", "somebody else"),
            id="two bookings of one seat",
        ),
    ],
)  # fmt: skip
def test_a_server_that_oversells_stops_a_run(database: Database, fault: str) -> None:
    database.run(*fault.split("; "))
    with pytest.raises(RuntimeError, match="oversold"):
        require_not_oversold(database)


@pytest.mark.pg18
@pytest.mark.parametrize("acknowledged", [0, 2])
def test_what_was_acknowledged_and_is_not_there_stops_a_run(database: Database, acknowledged: int) -> None:
    stand_in(baselines.CREATE).require_done(database, 1)
    with pytest.raises(RuntimeError, match=f"acknowledged {acknowledged} and has 1"):
        stand_in(baselines.CREATE).require_done(database, acknowledged)


class Rushed:
    """A side that answers a rush with these statuses."""

    def __init__(self, statuses: Mapping[int, int]) -> None:
        self._answered = Answered(1.0, [1.0], statuses, 0.0, 0.0)

    def send(self, *_: object) -> Answered:
        return self._answered


@pytest.mark.parametrize("booked", [9, 11])
@pytest.mark.parametrize("place", [0, 1])
def test_a_rush_that_books_more_or_fewer_than_there_are_seats_stops_a_run(booked: int, place: int) -> None:
    sound = Rushed({201: 10, 409: 54})
    wrong = Rushed({201: booked, 409: 64 - booked})
    theirs, mine = cast(list[baselines.Side], [sound, sound])
    baselines.rush(theirs, mine, 7)
    theirs, mine = cast(list[baselines.Side], [wrong, sound] if place == 0 else [sound, wrong])
    with pytest.raises(RuntimeError, match="10 seats"):
        baselines.rush(theirs, mine, 7)


def test_what_cannot_be_installed_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> Path:
        raise install.Missing("the registry is away")

    monkeypatch.setattr(install, "python", missing)
    monkeypatch.setattr(install, "node", missing)
    assert list(baselines.rows(NOWHERE, Size())) == []
    said = capsys.readouterr().err
    assert [line.split(": ", 1) for line in said.splitlines()] == [
        [f"NOT MEASURED against {name}", "the registry is away"]
        for name in (
            "Django",
            "FastAPI",
            "stripe-sync-engine",
            "dj-stripe that stores",
            "dj-stripe that fetches",
        )
    ]


def test_what_is_left_out_is_named_once_more_when_the_run_ends() -> None:
    program = (
        "import click; from bench.baselines.install import Missing; from bench.rows import baselines\n"
        "@click.command()\n"
        "def main():\n"
        "    baselines.left_out('Django', Missing('away'))\n"
        "    click.echo('an hour later', err=True)\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    named = "NOT MEASURED against Django: away"
    assert done.stderr.splitlines() == [named, "an hour later", named]


def test_what_is_installed_is_not_installed_again_until_its_list_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs: list[list[str]] = []
    monkeypatch.setattr(install, "FOLDER", tmp_path)
    monkeypatch.setattr(install, "VENV", tmp_path / "venv")
    monkeypatch.setattr(install, "run", runs.append)
    (tmp_path / "venv").mkdir()
    (tmp_path / "requirements.txt").write_text("Django==5.2")
    for count in (2, 2):
        assert install.python() == tmp_path / "venv" / "bin" / "python"
        assert len(runs) == count
    (tmp_path / "requirements.txt").write_text("Django==6.0")
    install.python()
    assert len(runs) == 4


def test_an_installation_that_fails_says_why() -> None:
    with pytest.raises(install.Missing, match="no registry answers"):
        install.run([sys.executable, "-c", "import sys; sys.exit('no registry answers')"])


def test_whoever_is_faster_is_asked_as_many_times_more() -> None:
    numbers = baselines.Numbers(Size(calls=32_000, rounds=7), target=4)
    assert (numbers.theirs, numbers.ours, numbers.of_a_row) == (2000, 8000, 64_000)
    slower = baselines.Numbers(Size(calls=32_000, rounds=7), target=0.8)
    assert slower.ours == slower.theirs
