"""What others have made, from PyPI and npm, into folders beside this file: `.venv` and `node_modules`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
VENV = FOLDER / ".venv"
MODULES = FOLDER / "node_modules"
NODE = 20
"""The oldest version of Node that stripe-sync-engine starts with."""


class Missing(Exception):
    """It could not be installed; `str()` says what and why."""


def python() -> Path:
    """The Python of Django, FastAPI and dj-stripe, installed when it is not. Raises `Missing`."""
    pinned = FOLDER / "requirements.txt"
    stamp = VENV / ".installed"
    if not _is_done(stamp, pinned):
        _say("Django, FastAPI and dj-stripe", VENV)
        run([sys.executable, "-m", "venv", "--clear", str(VENV)])
        run(
            [
                str(VENV / "bin" / "pip"),
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
                str(pinned),
            ]
        )
        _mark(stamp, pinned)
    return VENV / "bin" / "python"


def node() -> Path:
    """Node, with stripe-sync-engine installed when it was not. Raises `Missing`."""
    program = shutil.which("node")
    if program is None or shutil.which("npm") is None:
        raise Missing(f"node {NODE} or newer and npm are not installed")
    version = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < NODE:
        raise Missing(f"node is {version}; {NODE} or newer is needed")
    pinned = FOLDER / "package-lock.json"
    stamp = MODULES / ".installed"
    if not _is_done(stamp, pinned):
        _say("stripe-sync-engine", MODULES)
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(FOLDER)])
        _mark(stamp, pinned)
    return Path(program)


def _is_done(stamp: Path, pinned: Path) -> bool:
    return stamp.exists() and stamp.read_text() == _digest(pinned)


def _mark(stamp: Path, pinned: Path) -> None:
    stamp.write_text(_digest(pinned))


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _say(what: str, where: Path) -> None:
    print(f"installing {what} into {where}", file=sys.stderr)


def run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=FOLDER,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from None
    if done.returncode != 0:
        raise Missing(f"{' '.join(command[:2])} failed: {(done.stderr or done.stdout).strip()[-800:]}")
