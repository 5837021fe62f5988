"""search_path and pg_temp: no function of ours looks for a name where its caller could have put something.

The tests of the functions themselves run again, behind a schema full of traps (hostile.sql): each path that
they know is walked with the caller's search_path and temporary objects turned against it.
`PGBOOKING_SECURITY_TRIES` (default 16): how many functions are tried without their guard.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
from pytest_postgresql.executors import NoopExecutor

from tests.conftest import _clone, _url_of
from tests.py.security.hijack import FILES, INVOKERS, hijacked, set_traps, weakened

pytestmark = pytest.mark.pg18  # names are looked up alike on every version

SEED = 10
TRIES = int(os.environ.get("PGBOOKING_SECURITY_TRIES", "16"))


@pytest.fixture(scope="module")
def hostile_url(pgtap_template: NoopExecutor) -> Iterator[str]:
    with _clone(pgtap_template) as database:
        url = _url_of(database)
        set_traps(url)
        yield url


@pytest.mark.parametrize("name", FILES)
def test_no_function_is_hijacked_on_any_path_that_its_tests_walk(hostile_url: str, name: str) -> None:
    assert hijacked(hostile_url, FILES[name]) == []


def test_without_their_search_path_functions_are_hijacked(hostile_url: str) -> None:
    """Else the traps show nothing. A function of few words may use no name that a trap stands for."""
    definers = [name for name in FILES if name not in INVOKERS]
    tried = definers if len(definers) < TRIES else random.Random(SEED).sample(definers, TRIES)
    caught = [name for name in tried if hijacked(hostile_url, FILES[name], *weakened(hostile_url, name))]
    assert len(caught) >= 0.75 * len(tried), f"seed {SEED}: {sorted({*tried} - {*caught})}"
