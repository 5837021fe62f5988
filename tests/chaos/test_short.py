"""Every scenario for a few seconds: the promises hold, and without a guard they do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_postgresql.executors import NoopExecutor

from tests.chaos import results
from tests.chaos.commands import SEED
from tests.chaos.place import Place
from tests.chaos.scenario import Control, load, names, run

# The faults are those of processes and networks, the same on every version; make chaos takes minutes of them.
pytestmark = pytest.mark.pg18


@pytest.fixture(scope="module")
def place(pg_url: str, booking_template: NoopExecutor) -> Iterator[Place]:
    made = Place(pg_url, str(booking_template.template_dbname))
    yield made
    made.close()


@pytest.mark.parametrize("name", names())
def test_what_was_promised_holds(place: Place, name: str) -> None:
    scenario = load(name)
    scenario.quick = True
    report = run(scenario, place, seed=SEED, tries=scenario.short)
    assert report.found == []
    assert report.tried == scenario.short


@pytest.mark.parametrize(
    ("name", "control"),
    [(name, control) for name in names() for control in load(name).controls],
    ids=lambda each: each if isinstance(each, str) else each.name,
)
def test_without_its_guard_the_same_tries_violate_it(place: Place, name: str, control: Control) -> None:
    scenario = load(name)
    scenario.quick = True
    report = run(
        scenario,
        place,
        seed=SEED,
        tries=scenario.tries,
        first=control.first,
        control=control,
        until_violated=True,
    )
    assert report.violations == 1
    print(report.found)


def test_every_scenario_has_a_control() -> None:
    assert [name for name in names() if not load(name).controls] == []


def test_the_figures_of_the_document_are_those_of_the_runs() -> None:
    document = results.DOCUMENT.read_text()
    assert results.BEGIN + results.table() + results.END in document
    assert [row for row in results.kept() if (row["violations"] > 0) != bool(row["control"])] == []
