"""What the README shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Connect

REPOSITORY = Path(__file__).resolve().parents[3]
README = (REPOSITORY / "README.md").read_text()


def test_its_sql_runs(connect: Connect) -> None:
    (block,) = re.findall(r"```sql\n(.*?)```", README, re.S)
    application, operator = connect("booking_app"), connect("booking_dba")
    last = ""
    answers: list[Any] = []
    for statement in (part.strip() for part in re.sub(r"--.*", "", block).split(";")):
        if not statement:
            continue
        who = operator if "check_invariants" in statement else application
        row = who.execute(statement.replace("…", last)).fetchone()
        answers.append(row)
        last = str(next(iter(row.values()))) if row and "stats" not in statement else last
    assert len(answers) == 6
    assert answers[2]["status"] == "pending"
    assert answers[3] == {"refund_percent": 100, "refund_amount": 0, "currency": "usd"}
    assert answers[-1] is None


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_its_links_lead_somewhere(target: str) -> None:
    assert (REPOSITORY / target).exists()


def test_its_make_targets_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in set(re.findall(r"make (\w+)   |`make (\w+)`", README)):
        name = "".join(target)
        assert re.search(rf"^{name}:", makefile, re.M), name
