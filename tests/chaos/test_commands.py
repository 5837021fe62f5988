"""What a command line promises, and that it starts what it names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.chaos import results
from tests.chaos.commands import main
from tests.chaos.scenario import Report

pytestmark = pytest.mark.pg18  # the runs bring their own
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("part", [("--only", "3"), ("--control", "the lease of a dead process runs out")])
def test_a_part_of_a_run_is_not_kept(part: tuple[str, str]) -> None:
    before = results.table()
    told = CliRunner().invoke(main, ["kills", *part, "--save"])
    assert told.exit_code == 2
    assert "--save keeps whole runs" in told.output
    assert results.table() == before


def test_the_command_of_one_try_names_it() -> None:
    row = json.loads(results.line(Report("kills", None, 3, tried=1, only=17)))
    assert row["command"] == ".venv/bin/python -m tests.chaos kills --only 17 --seed 3 --no-controls"


def test_scenarios_run_side_by_side_without_a_terminal() -> None:
    command = [sys.executable, "-m", "tests.chaos", "holds", "capacity", "--tries", "1", "--no-controls"]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [json.loads(line)["violations"] for line in done.stdout.splitlines()] == [0, 0]
