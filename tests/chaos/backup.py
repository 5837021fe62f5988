"""What docs/operations.md tells a DBA to type for backup and restore, typed."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.scenario import Violation

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"


def blocks(heading: str, language: str = "sh") -> list[str]:
    """The blocks of commands under a heading."""
    _, found, rest = DOCUMENT.read_text().partition(f"\n### {heading}\n")
    if not found:
        raise LookupError(f"docs/operations.md has no '{heading}'")
    chapter = re.split(r"^#{1,3} ", rest, maxsplit=1, flags=re.M)[0]
    return re.findall(rf"^```{language}\n(.*?)^```", chapter, re.S | re.M)


def archiving(folder: Path) -> dict[str, str]:
    """The settings of a server that archives into this folder."""
    (text,) = blocks("Archive the WAL", "ini")
    pairs = (line.split(" = ", 1) for line in text.replace("/backup/wal", str(folder)).splitlines())
    return {name: value.strip("'") for name, value in pairs}


def typed(commands: str, programs: Path, account: str = "", **environment: object) -> str:
    """Type them, as this account if we are root, with these programs; what they print. Raises Violation."""
    done = run(commands, programs, account, environment)
    if done.returncode != 0:
        raise Violation(f"{commands}\n{done.stdout}{done.stderr}")
    return done.stdout


def run(
    commands: str, programs: Path, account: str, environment: Mapping[str, object]
) -> subprocess.CompletedProcess[str]:
    """The same, whatever comes of them."""
    who = pwd.getpwnam(account) if account and os.geteuid() == 0 else None
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["/bin/sh", "-euc", commands],
        cwd="/",
        env=ours | {"PATH": path} | {name: str(value) for name, value in environment.items()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        user=who.pw_uid if who else None,
        group=who.pw_gid if who else None,
        extra_groups=[] if who else None,
        timeout=300,
    )
