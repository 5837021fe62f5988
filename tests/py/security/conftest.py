"""One site for all tests here that leave nothing of others changed, with everything switched on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_postgresql.executors import NoopExecutor

from glue.sandbox.process import SandboxProcess
from tests.conftest import _clone, _url_of
from tests.py.http.conftest import sandbox, site
from tests.py.http.site import Site
from tests.py.security.stage import Stage

__all__ = ["sandbox", "site"]


@pytest.fixture(scope="session")
def lasting_site(booking_template: NoopExecutor, sandbox: SandboxProcess) -> Iterator[Site]:
    """A server that offers every route there is, METRICS_ENABLED among them."""
    database = _clone(booking_template)
    with database, Site(_url_of(database), sandbox, metrics_enabled=True).open() as opened:
        yield opened


@pytest.fixture(scope="session")
def stage(lasting_site: Site) -> Stage:
    return Stage(lasting_site)
