"""Run one pgTAP file the way psql would: every statement in one go, on a database of its own."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.abc import Query
from psycopg.rows import scalar_row
from pytest_pgtap.pgtap import Runner


class FileRunner(Runner):  # type: ignore[misc]
    """A runner that leaves transactions to the file, and shows where a statement failed."""

    def run(self, query: Query) -> list[str]:
        text = query if isinstance(query, str) else ""
        cursor = self.conn.cursor(row_factory=scalar_row)
        failure: psycopg.Error | None = None
        rows: list[Any] = []
        try:
            cursor.execute(query)
            rows = self._collectrows(cursor)
        except psycopg.Error as error:
            failure = error
        if failure is not None:
            pytest.fail(_describe(failure, text), pytrace=False)
        return [str(row) for row in rows if row is not None]


def _describe(error: psycopg.Error, text: str) -> str:
    diag = error.diag
    position = int(diag.statement_position or 0)
    place = f"line {text.count(chr(10), 0, position) + 1}: " if position else ""
    first = place + " ".join(part for part in (diag.severity, diag.sqlstate, diag.message_primary) if part)
    rest = [part for part in (diag.message_detail, diag.message_hint, diag.context) if part]
    return "\n".join([first, *rest])
