"""A database that lets nobody in, and throws out whoever is in."""

from __future__ import annotations

import time
from typing import Any, LiteralString

import psycopg
from psycopg.sql import SQL, Identifier


class Cut:
    """`sql` is a connection to another database of the server; the process `spared` stays in."""

    def __init__(self, sql: psycopg.Connection[Any], name: str, spared: int) -> None:
        self._sql = sql
        self._name = name
        self._spared = spared

    def cut(self) -> None:
        """Take the database away."""
        self._allow("false")
        until = time.monotonic() + 30
        while self.arriving():
            assert time.monotonic() < until, f"somebody has been coming in to {self._name} for 30 s"
            time.sleep(0.01)
        self._sql.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s and pid <> %s",
            (self._name, self._spared),
        )

    def mend(self) -> None:
        """Give it back."""
        self._allow("true")

    def arriving(self) -> bool:
        """Whether somebody is being let in who is not listed yet: so long one holds the lock on it."""
        holders = self._sql.execute(
            "select from pg_locks where locktype = 'object' and classid = 'pg_database'::regclass"
            " and objid = (select oid from pg_database where datname = %s)",
            (self._name,),
        )
        return holders.rowcount > 0

    def _allow(self, value: LiteralString) -> None:
        self._sql.execute(SQL("alter database {} allow_connections " + value).format(Identifier(self._name)))
