"""The benchmarks work; what they measure is no matter of tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import measure, plot, report
from bench.drive import Sample
from bench.plans import require_plans
from bench.stage import SETUP, Database, Stage

ROOT = Path(__file__).parents[3]


@pytest.mark.pg18
def test_every_benchmark_runs_and_leaves_the_books_in_order(pg_url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--url", pg_url, "--out", str(tmp_path), "--save"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    kept = report.kept(tmp_path)
    assert {name: (tmp_path / f"{name}.json").exists() for name in measure.subjects()} == dict.fromkeys(
        measure.subjects(), True
    )
    assert [result.name for result, _ in kept if not result.floor or not result.ours] == []
    assert [
        sample for result, _ in kept for sample in (*result.floor, *result.ours) if sample["rate"] <= 0
    ] == []
    settings = json.loads((tmp_path / "create.json").read_text())["settings"]
    assert settings["server_version"].startswith("18")
    assert report.table(tmp_path).count("\n") == 2 + len(kept)


def test_the_sides_take_turns_and_the_first_round_is_not_counted() -> None:
    calls: list[str] = []

    def side(name: str, rate: float) -> Sample:
        calls.append(name)
        return Sample(rate=rate)

    row = measure.Row(
        name="x",
        title="x",
        floor_title="y",
        floor=lambda number: side("floor", 100 if number else 1),
        ours=lambda number: side("ours", 10 * number if number else 1),
        target=0.5,
        check=lambda: calls.append("checked"),
    )
    result = measure.measure(row, 3)
    assert calls == ["floor", "ours"] * 4 + ["checked"]
    assert (result.ratio, result.spread) == (0.2, (0.1, 0.3))


def test_figures_are_drawn_with_their_targets(tmp_path: Path) -> None:
    def result(name: str, title: str, ours: float, target: float | None) -> measure.Result:
        samples = [[{"rate": rate, "p95_ms": 0.0, "cpu_us": 0.0}] for rate in (100.0, ours)]
        return measure.Result(name, title, "the floor", target, samples[0], samples[1], [1.0])

    results = [
        result("met", "a < b & c", 80, 0.5),
        result("missed", "x", 40, 0.5),
        result("plain", "y", 20, None),
    ]
    report.save("create", results, {}, {}, tmp_path)
    document = tmp_path / "docs" / "performance.md"
    document.parent.mkdir()
    document.write_text(f"before\n{report.BEGIN}old\n{report.END}after\n")
    report.write_table(document, tmp_path)

    text = document.read_text()
    assert "old" not in text
    assert "![create: ratio of ours to the floor](plots/create.svg)" in text
    assert (text.startswith("before\n"), text.endswith("after\n")) == (True, True)
    drawn = ElementTree.fromstring((document.parent / "plots" / "create.svg").read_text())
    bars = [e for e in drawn.iter("{http://www.w3.org/2000/svg}rect") if e.get("height") == "16"]
    widths = [float(bar.get("width", "0")) for bar in bars]
    assert [round(width / widths[0], 2) for width in widths] == [1, 0.5, 0.25]
    assert [bar.get("fill") for bar in bars] == [plot.MET, plot.MISSED, plot.PLAIN]
    marks = [e for e in drawn.iter("{http://www.w3.org/2000/svg}line") if e.get("stroke-width") == "2"]
    assert len(marks) == 2
    words = [e.text for e in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "a < b & c, against the floor" in words


def test_wrong_books_stop_a_run() -> None:
    def wrong() -> None:
        raise RuntimeError("the books are wrong")

    row = measure.Row("x", "x", "y", lambda _: Sample(1), lambda _: Sample(1), None, check=wrong)
    with pytest.raises(RuntimeError, match="books"):
        measure.measure(row, 1)


@pytest.fixture
def database(db_url: str) -> Database:
    made = Database(db_url, db_url.rpartition("/")[2], Stage(db_url))
    made.run(SETUP.read_text(), "call bench.load_experts()")
    made.load("call bench.load_slots(0, 50)", "call bench.load_bookings(0, 20, 'pending', '1 hour', 5)")
    made.load("call bench.load_bookings(20, 20, 'cancelled', '90 days', 5)", "call bench.load_class(999, 40)")
    return made


def test_what_is_loaded_keeps_the_books(database: Database) -> None:
    database.require_sound()
    database.load(
        "update booking.slot_seats q set taken = 0, is_open = true where q.slot_id = bench.slot_id(7)"
    )
    with pytest.raises(RuntimeError, match="seats_match_bookings"):
        database.require_sound()


def test_a_question_without_its_index_stops_a_run(database: Database) -> None:
    require_plans(database, few_rows=True)
    database.run("drop index booking.bookings_by_student")
    with pytest.raises(RuntimeError, match="bookings_by_student:"):
        require_plans(database, few_rows=True)
