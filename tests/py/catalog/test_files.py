"""Every function has its file, every file its test, and both say what they must."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Connect

ROOT = Path(__file__).parents[3]
FUNCTIONS = sorted((ROOT / "db" / "functions").glob("*/*.sql"))
TESTS = ROOT / "tests" / "sql"


def area_and_name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_there_are_files() -> None:
    assert len(FUNCTIONS) > 60


@pytest.mark.parametrize("path", FUNCTIONS, ids=area_and_name)
def test_a_function_file_is_whole(path: Path) -> None:
    """A contract, one name, nothing for the public, a comment."""
    text = path.read_text()
    header = re.match(r"(--.*\n)+", text)
    assert header, "begins with its contract"
    assert re.search(r"\bLocks\b", header[0]), "the contract names the locks"
    assert "Errors:" in header[0], "the contract names the errors"
    made = re.findall(r"^create or replace (?:function|procedure) booking\.(\w+)", text, re.MULTILINE)
    assert set(made) == {path.stem}, "its name is the function's"
    revoked = re.findall(
        r"^revoke all on (?:function|procedure) booking\.(\w+)\([^;]*from public;", text, re.MULTILINE
    )
    assert revoked == made
    commented = re.findall(r"^comment on (?:function|procedure) booking\.(\w+)\(", text, re.MULTILINE)
    assert commented == made


@pytest.mark.parametrize("path", FUNCTIONS, ids=area_and_name)
def test_a_function_has_its_test_file(path: Path) -> None:
    assert (TESTS / path.parent.name / f"test_{path.stem}.sql").is_file()


def test_a_test_file_has_its_function() -> None:
    known = {area_and_name(path) for path in FUNCTIONS}
    areas = {path.parent.name for path in FUNCTIONS}
    tested = {
        f"{path.parent.name}/{path.stem.removeprefix('test_')}"
        for path in TESTS.glob("*/test_*.sql")
        if path.parent.name in areas
    }
    assert tested - known == set()


def test_readiness_asks_for_something_of_the_newest_migration_that_makes_something() -> None:
    files = sorted(p for p in (ROOT / "db/migrations").glob("[0-9]*.sql") if "rollback" not in p.name)
    creates = re.compile(r"^create (?:unique )?(?:table|type|domain|index) (?:booking\.)?(\w+)", re.MULTILINE)
    made = [each for each in (creates.findall(p.read_text()) for p in files) if each][-1]
    asked = (ROOT / "db/functions/statistics/get_readiness.sql").read_text()
    assert any(f"to_reg{kind}('booking.{name}')" in asked for name in made for kind in ("type", "class"))


def test_the_cron_route_runs_what_the_procedure_runs() -> None:
    """Two lists of one thing: HTTP answers with counts, the procedure commits between its batches."""
    procedure = (ROOT / "db/functions/maintenance/run_maintenance.sql").read_text()
    route = (ROOT / "glue/routes/cron.py").read_text()
    parts = set(re.findall(r"'(\w+)'", procedure.partition("array[")[2].partition("]")[0]))
    assert parts
    assert {part for part in parts if f"booking.{part}(" not in route} == set()


def test_every_error_that_a_contract_names_is_raised_somewhere() -> None:
    raised = set()
    named = set()
    for path in FUNCTIONS:
        text = path.read_text()
        raised |= set(re.findall(r"booking\.refuse\(\s*\d+,\s*'(\w+)'", text))
        raised |= set(re.findall(r"message = '(\w+)'", text))
        header = re.match(r"(--.*\n)+", text)
        assert header
        errors = header[0].replace("\n--", " ").partition("Errors:")[2]
        for group in re.findall(r"PT\d{3} ([^·;]*)", errors):
            named |= set(re.findall(r"\b[a-z]+_[a-z_]+\b", re.sub(r"\([^)]*\)", "", group)))
    assert named - raised == set()
    assert raised - named == set()


def test_every_function_of_the_database_has_its_file(connect: Connect) -> None:
    rows = (
        connect()
        .execute("select distinct proname from pg_proc where pronamespace = 'booking'::regnamespace")
        .fetchall()
    )
    assert {row["proname"] for row in rows} == {path.stem for path in FUNCTIONS}
