"""Where the commands of these tests keep their data."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty folder. Pytest's own are closed to the account that PostgreSQL runs as when we are root."""
    folder = Path(tempfile.mkdtemp(prefix="pgbooking-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
