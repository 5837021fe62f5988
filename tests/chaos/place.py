"""Where scenarios run: a PostgreSQL server with a template to clone, and Stripe's sandbox."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property

import psycopg
from psycopg import sql

from glue import deploy
from glue.sandbox.process import SandboxProcess, running
from tests.pg.servers import running_server

TEMPLATE = "chaos_template"
_numbers = itertools.count(1)


class Place:
    """`url` leads to database postgres of a server, as superuser; `template` is a database of it that is
    deployed already, `sandbox` one that runs already."""

    def __init__(self, url: str, template: str = "", sandbox: SandboxProcess | None = None) -> None:
        self._url = url
        self._template = template
        self._sandbox = sandbox
        self._stack = ExitStack()

    def close(self) -> None:
        self._stack.close()

    @cached_property
    def sandbox(self) -> SandboxProcess:
        """One for all; its books are emptied for each stage."""
        return self._sandbox or self._stack.enter_context(running())

    @contextmanager
    def database(self) -> Iterator[str]:
        """URL of a fresh database with everything deployed, as superuser; gone afterwards."""
        name = self.new_database()
        try:
            yield self.at(name)
        finally:
            self._run(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    def new_database(self) -> str:
        """The same without an end: its name."""
        if not self._template:
            self._make(TEMPLATE)
            deploy.migrate(self.at(TEMPLATE))
            self._template = TEMPLATE
        name = f"chaos_{os.getpid()}_{next(_numbers)}"  # several processes may share the server
        self._make(name, self._template)
        return name

    def _make(self, name: str, template: str = "template0") -> None:
        self._run(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        )

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement)

    def at(self, name: str) -> str:
        """The URL of a database."""
        return f"{self._url.rpartition('/')[0]}/{name}"


@contextmanager
def own_place(version: int = 18) -> Iterator[Place]:
    """With a server of its own."""
    with running_server(version) as cluster:
        place = Place(cluster.url())
        try:
            yield place
        finally:
            place.close()
