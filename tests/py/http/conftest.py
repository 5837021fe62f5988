"""One sandbox process for the run, a site of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_postgresql.executors import NoopExecutor
from pytest_postgresql.janitor import DatabaseJanitor

from glue.sandbox.process import SandboxProcess, running
from tests.py.http.site import Site


@pytest.fixture(scope="session")
def sandbox() -> Iterator[SandboxProcess]:
    with running() as process:
        yield process


@pytest.fixture(scope="session")
def lasting_site(booking_template: NoopExecutor, sandbox: SandboxProcess) -> Iterator[Site]:
    """One site for all tests that show a refusal, which leaves nothing behind."""
    server = booking_template
    database = DatabaseJanitor(
        user=server.user,
        host=server.host,
        port=server.port,
        dbname=f"{server.dbname}_lasting",
        template_dbname=server.template_dbname,
    )
    url = f"postgresql://{server.user}@{server.host}:{server.port}/{database.dbname}"
    with database, Site(url, sandbox).open() as opened:
        yield opened


@pytest.fixture
def site(db_url: str, sandbox: SandboxProcess) -> Iterator[Site]:
    """A fresh database, an empty sandbox and a server."""
    with Site(db_url, sandbox).open() as opened:
        yield opened
