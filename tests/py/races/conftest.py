"""An arena for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.py.races.helpers import Arena
from tests.py.races.helpers import arena as open_arena


@pytest.fixture
def arena(db_url: str) -> Iterator[Arena]:
    """A fresh database; after the test no session may have run into a deadlock."""
    with open_arena(db_url) as made:
        yield made
