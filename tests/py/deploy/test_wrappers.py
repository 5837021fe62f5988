"""db/sqitch is generated: what a new migration, function or release changes in it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from glue import sqitch as wrappers

THEN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("migrations/0001.a.sql", "migrations/0001.a.rollback.sql", "functions/core/one.sql"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("create table booking.things ();\n")
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / "sqitch" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def plan(files: dict[str, str]) -> list[str]:
    return [line.split(" ")[0] for line in files["sqitch.plan"].splitlines() if line and line[0] != "%"]


def test_a_second_run_changes_nothing(root: Path) -> None:
    files = wrappers.generate(root, "0.1.0", THEN)
    write(root, files)

    assert wrappers.generate(root, "0.1.0", NOW) == files


def test_a_new_migration_comes_before_the_functions_of_its_release(root: Path) -> None:
    write(root, wrappers.generate(root, "0.1.0", THEN))
    (root / "migrations/0002.b.sql").write_text("create type booking.kind as enum ();\n")

    files = wrappers.generate(root, "0.1.0", NOW)

    assert plan(files) == ["0001.a", "0002.b", "functions-0.1.0"]
    assert "0002.b [0001.a] 2026-02-01T00:00:00Z" in files["sqitch.plan"]
    assert "functions-0.1.0 [0002.b] 2026-01-01T00:00:00Z" in files["sqitch.plan"]
    assert "'booking.kind'::regtype" in files["verify/0002.b.sql"]
    assert "\\ir ../../migrations/0002.b.rollback.sql" in files["revert/0002.b.sql"]


def test_only_the_newest_release_loads_the_functions(root: Path) -> None:
    write(root, wrappers.generate(root, "0.1.0", THEN))
    (root / "migrations/0002.b.sql").write_text("")

    files = wrappers.generate(root, "0.2.0", NOW)

    assert plan(files) == ["0001.a", "functions-0.1.0", "0002.b", "functions-0.2.0"]
    assert "\\ir" not in files["deploy/functions-0.1.0.sql"]
    assert "\\ir ../../functions/core/one.sql" in files["deploy/functions-0.2.0.sql"]


def test_a_migration_outside_a_transaction_gets_no_begin(root: Path) -> None:
    (root / "migrations/0002.b.sql").write_text(
        "-- transactional: false\ncreate index concurrently x on y (z);\n"
    )

    files = wrappers.generate(root, "0.1.0", NOW)

    assert "BEGIN" not in files["deploy/0002.b.sql"]
    assert "BEGIN" in files["deploy/0001.a.sql"]


def test_the_command_writes_what_is_missing_and_removes_what_is_not_wanted(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wrappers, "sql_root", lambda: root)

    assert wrappers.main(["--check"]) == 1
    assert wrappers.main([]) == 0
    assert wrappers.main(["--check"]) == 0
    (root / "sqitch/deploy/old.sql").write_text("")
    assert wrappers.main(["--check"]) == 1
    capsys.readouterr()
    assert wrappers.main([]) == 0

    assert capsys.readouterr().out == "deploy/old.sql\n"
    assert not (root / "sqitch/deploy/old.sql").exists()
