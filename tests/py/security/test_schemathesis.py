"""Schemathesis against the running server: no 5xx, and no answer that the OpenAPI document does not describe.

`PGBOOKING_SECURITY_TRIES` (default 5): examples for each operation, beside those that cover the document.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.py.security import stage as things
from tests.py.security.rights import RIGHTS, Right
from tests.py.security.stage import Stage

pytestmark = pytest.mark.pg18  # the documents and answers are those of the server, whatever the database

SEED = 10
TRIES = int(os.environ.get("PGBOOKING_SECURITY_TRIES", "5"))

# What is right by the document and wrong by a rule between fields (an end before its begin, a signature) is
# refused with 400.
NOT_ASKED = "positive_data_acceptance"


def caller_of(right: Right) -> str:
    return next((role for role in right.roles if role not in ("nobody", "stranger")), "student")


@pytest.mark.parametrize("caller", ["student", "expert", "admin", "scheduler"])
def test_whatever_the_document_allows_or_forbids_is_answered_as_it_says(
    stage: Stage, tmp_path: Path, caller: str
) -> None:
    """Each operation is tried by the first who may call it: what others get, test_rights.py shows."""
    mine = [name for name, right in RIGHTS.items() if caller_of(right) == caller]
    assert mine
    parties = stage.new_parties()
    make = things.refund_request if caller == "admin" else things.booking
    known = make(stage, parties).fields["id"]
    (tmp_path / "schemathesis.toml").write_text(f'[parameters]\n"path.id" = "{known}"\n')
    header = stage.authorization(caller, parties.by_role(caller))["Authorization"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{stage.site.base}/openapi.json"),
            *("--header", f"Authorization: {header}", "--seed", str(SEED), "--max-examples", str(TRIES)),
            *("--phases", "coverage,fuzzing", "--exclude-checks", NOT_ASKED, "--continue-on-failure"),
            *("--generation-database", "none", "--warnings", "off", "--no-color"),
            *(part for name in mine for part in ("--include-name", name)),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Test cases:" in done.stdout
