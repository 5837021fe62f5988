"""`pgbooking invoices`: issued, found, printed from the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg.rows import dict_row

import cli

Pgbooking = Callable[..., Result]
BUILDERS = Path(__file__).parents[2] / "sql" / "helpers" / "test_builders.sql"


@pytest.fixture
def pgbooking(db_url: str) -> Pgbooking:
    """pgbooking(*arguments) -> what the command answered, as a login of the administrators."""
    with psycopg.connect(db_url, autocommit=True) as conn:
        conn.execute(
            "do $$ begin create role booking_cli_test in role booking_dba;"
            " exception when duplicate_object or unique_violation then null; end $$"
        )

    def run(*arguments: str) -> Result:
        env = {"DATABASE_URL": f"{db_url}?options=-crole%3Dbooking_cli_test"}
        return CliRunner().invoke(cli.main, ["invoices", *arguments], env=env)

    return run


@pytest.fixture
def books(db_url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A superuser's connection, with the builders of the SQL tests."""
    with psycopg.connect(db_url, autocommit=True, row_factory=dict_row) as conn:
        with conn.transaction():
            conn.execute(BUILDERS.read_bytes())
        yield conn


def paid(books: psycopg.Connection[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return books.execute(
        "select b as booking, (test.payment(b)).id as payment, test.student(b) as student"
        " from (select test.captured_booking() as b from generate_series(1, %s) offset 0) x",
        (count,),
    ).fetchall()


def numbers(answer: Result) -> list[str]:
    assert answer.exit_code == 0, answer.output
    return [row["number"] for row in json.loads(answer.stdout)]


def test_all_that_are_missing_are_issued_in_batches(
    pgbooking: Pgbooking, books: psycopg.Connection[dict[str, Any]]
) -> None:
    paid(books, 5)
    answer = pgbooking("issue", "--batch", "2")
    assert (answer.exit_code, answer.stdout) == (0, "5 payments invoiced, 0 left\n")
    assert json.loads(pgbooking("issue", "--json").stdout) == {"issued": 0, "missing": 0}


def test_what_one_call_did_is_under_one_request_id_in_the_audit_log(
    pgbooking: Pgbooking, books: psycopg.Connection[dict[str, Any]]
) -> None:
    for _ in range(2):
        paid(books, 3)
        assert pgbooking("issue", "--batch", "2").exit_code == 0
    rows = books.execute(
        "select a.request_id, count(*) from booking.audit_log a where a.action = 'invoice.issued' group by 1"
    ).fetchall()
    assert [row["count"] for row in rows] == [3, 3]
    assert all(re.fullmatch(r"cli-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", r["request_id"]) for r in rows)


def test_one_payment_is_issued_and_again_it_is_the_same(
    pgbooking: Pgbooking, books: psycopg.Connection[dict[str, Any]]
) -> None:
    [one, _] = paid(books, 2)
    first = json.loads(pgbooking("issue", "--payment", str(one["payment"]), "--json").stdout)
    assert first["number"].endswith("-000001")
    assert pgbooking("issue", "--payment", str(one["payment"])).stdout == f"{first['number']} version 1\n"
    nobody = pgbooking("issue", "--payment", "01890000-0000-7000-8000-000000000001")
    assert nobody.exit_code == 1
    assert "payment_not_found" in nobody.stderr


def test_a_search_narrows_down(pgbooking: Pgbooking, books: psycopg.Connection[dict[str, Any]]) -> None:
    people = paid(books, 3)
    pgbooking("issue")
    everything = numbers(pgbooking("search", "--json"))
    assert [number[-1] for number in everything] == ["3", "2", "1"]
    assert numbers(pgbooking("search", "--json", "--limit", "2")) == everything[:2]
    assert numbers(pgbooking("search", "--json", "--number", everything[1])) == everything[1:2]
    assert numbers(pgbooking("search", "--json", "--student", people[0]["student"])) == everything[2:]
    assert numbers(pgbooking("search", "--json", "--status", "credited")) == []
    assert numbers(pgbooking("search", "--json", "--to", "2020-01-01")) == []
    table = pgbooking("search").stdout
    assert table.splitlines()[0].split()[:3] == ["number", "issued_at", "status"]
    assert all(number in table for number in everything)
    wrong = pgbooking("search", "--status", "paid")
    assert wrong.exit_code == 1
    assert "invalid_request" in wrong.stderr


def test_pdfs_are_written_one_file_each(
    pgbooking: Pgbooking, books: psycopg.Connection[dict[str, Any]], tmp_path: Path
) -> None:
    people = paid(books, 3)
    pgbooking("issue")
    everything = numbers(pgbooking("search", "--json"))
    books.execute(
        "select * from booking.correct_invoice('ann', (select id from booking.invoices where number = %s),"
        " '{\"name\": \"Zoë\"}', 'a typo')",
        (everything[0],),
    )
    folder = tmp_path / "all"
    answer = pgbooking("pdf", "--from", "2020-01-01", "--out", str(folder), "--timeout", "300")
    assert answer.exit_code == 0, answer.output
    assert {path.name for path in folder.iterdir()} == {
        f"{everything[0]}-v2.pdf", f"{everything[1]}.pdf", f"{everything[2]}.pdf",
    }  # fmt: skip
    assert all(path.read_bytes().startswith(b"%PDF-") for path in folder.iterdir())

    one = tmp_path / "one"
    named = pgbooking("pdf", everything[0], "--version", "1", "--out", str(one), "--timeout", "300", "--json")
    assert json.loads(named.stdout) == [str(one / f"{everything[0]}.pdf")]
    assert people


def test_what_to_print_must_be_said_and_be_there(pgbooking: Pgbooking, tmp_path: Path) -> None:
    assert pgbooking("pdf", "--out", str(tmp_path)).exit_code == 2
    unknown = pgbooking("pdf", "INV-2026-999999", "--out", str(tmp_path))
    assert unknown.exit_code == 1
    assert "there is no invoice INV-2026-999999" in unknown.stderr
