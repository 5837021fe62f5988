"""The documents say what the code does: their SQL runs, their lists are complete."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.conftest import Connect

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
FUNCTIONS = sorted((ROOT / "db" / "functions").glob("*/*.sql"))


def _sql_blocks(document: str) -> str:
    return "\n".join(re.findall(r"^```sql\n(.*?)^```", (DOCS / document).read_text(), re.S | re.M))


def test_the_examples_of_the_sql_interface_run_from_top_to_bottom(db_url: str) -> None:
    done = subprocess.run(
        ["psql", "-X", "-v", "ON_ERROR_STOP=1", db_url],
        input=_sql_blocks("sql-api.md"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_public_function_has_an_example(connect: Connect) -> None:
    granted = connect().execute(
        """select distinct p.proname from pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) a
           where p.pronamespace = 'booking'::regnamespace and a.grantee <> p.proowner"""
    )
    examples = _sql_blocks("sql-api.md")
    assert sorted(f["proname"] for f in granted if f"booking.{f['proname']}(" not in examples) == []


def test_every_code_that_a_function_raises_is_in_the_list_of_errors() -> None:
    listed = (DOCS / "errors.md").read_text()
    raised = {
        code
        for file in FUNCTIONS
        for code in re.findall(r"(?:refuse\(\d+,|message =) '([a-z_]+)'", file.read_text())
    }
    assert raised
    assert sorted(code for code in raised if f"`{code}`" not in listed) == []


def test_the_events_to_subscribe_are_those_that_are_applied() -> None:
    source = (ROOT / "db/functions/webhooks/process_webhook_event.sql").read_text()
    applied = set(re.findall(r"'((?:payment_intent|charge|refund|checkout)\.[a-z_.]+)'", source))
    block = re.search(r"exactly these events:\s+```\n(.*?)```", (DOCS / "operations.md").read_text(), re.S)
    assert block is not None
    assert set(block.group(1).split()) == applied


def test_every_test_that_security_names_is_there_and_every_one_of_security_is_named() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    linked = {link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")}
    assert {link for link in linked if not (ROOT / link).is_file()} == set()
    tests = {str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "py" / "security").glob("test_*.py")}
    assert tests <= linked
