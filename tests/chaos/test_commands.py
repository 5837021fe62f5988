"""What a command line promises before anything is broken."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tests.chaos import results
from tests.chaos.commands import main
from tests.chaos.scenario import Report

pytestmark = pytest.mark.pg18  # no database


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
