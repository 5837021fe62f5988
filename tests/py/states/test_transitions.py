"""Every pair of a state and what can happen to it ends as transitions.txt says, and the books stay right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.py.states.people import ANSWERS, Life
from tests.py.states.table import ALWAYS, Origin, read, result

SECTIONS = read()
CASES = [
    pytest.param(origin, section.rules, id=origin.title) for section in SECTIONS for origin in section.origins
]


@pytest.fixture
def conn(pgtap_db_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(pgtap_db_url, row_factory=dict_row) as connection:
        yield connection
        connection.rollback()


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
    )


@pytest.mark.parametrize(("origin", "rules"), CASES)
def test_every_decision_event_and_answer_has_its_one_outcome(
    conn: psycopg.Connection[Any], origin: Origin, rules: dict[str, str]
) -> None:
    life = Life(conn, hours=origin.hours, confirmation=origin.confirmation)
    for word in origin.way:
        assert life.do(word) == "", f"on the way to {origin.title}: {word}"
    assert life.state() == origin.state
    rows = []
    for word, rule in rules.items():
        expected = result(rule, origin.state)
        with conn.transaction(force_rollback=True):
            answer = life.do(word)
            state = life.state()
            broken = conn.execute("select invariant, detail from booking.check_invariants()").fetchall()
        got = answer if answer[:1].isdigit() else f"{state} {answer}".strip()
        if got != expected or (answer[:1].isdigit() and state != origin.state) or broken:
            rows.append((word, expected, f"{got} ({state})", str(broken or "")))
    if rows:
        head = ("what happened", "expected", "came (state)", "invariants broken")
        pytest.fail(f"from {origin.title}\n{_table([head, *rows])}", pytrace=False)


def test_the_table_has_every_pair() -> None:
    """Each state says what becomes of it by every word; answers only where a command is open."""
    for section in SECTIONS:
        for origin in section.origins:
            missing = ALWAYS - section.rules.keys()
            assert not missing, f"{origin.title} says nothing of {sorted(missing)}"
            is_open = len(origin.state.split()) > 1 and not origin.state.endswith("unrecorded")
            answers = section.rules.keys() & set(ANSWERS)
            assert bool(answers) == is_open, f"{origin.title}: answers {sorted(answers)}"


def test_every_state_that_is_reached_is_in_the_table() -> None:
    """No outcome leads to a pair of booking and payment that the table does not begin from."""
    known = {origin.state.split()[0] for section in SECTIONS for origin in section.origins}
    reached = {
        result(rule, origin.state).split()[0]
        for section in SECTIONS
        for origin in section.origins
        for rule in section.rules.values()
    }
    assert {state for state in reached if "/" in state} - known == set()
