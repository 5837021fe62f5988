"""Run yoyo, sqitch and pg_dump as a DBA does, and small sets of SQL files to deploy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from glue.embedded import embedded_bin_dir

REPOSITORY = Path(__file__).resolve().parents[3]
DB = REPOSITORY / "db"


def run(*command: str, cwd: Path = REPOSITORY, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, without a terminal; its output is shown when it fails."""
    environment = {
        **os.environ,
        "SQITCH_FULLNAME": "Test",
        "SQITCH_EMAIL": "test@example.com",
        "PSQLRC": "/dev/null",
    }
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done


def yoyo(action: str, url: str, root: Path = DB, *options: str) -> None:
    """Stock yoyo, as documented: yoyo apply --database postgresql+psycopg://... db/migrations."""
    program = str(Path(sys.executable).with_name("yoyo"))
    database = url.replace("postgresql://", "postgresql+psycopg://", 1)
    run(
        program,
        action,
        "--batch",
        "--no-config-file",
        *options,
        "--database",
        database,
        str(root / "migrations"),
    )


def sqitch(action: str, url: str, *options: str) -> None:
    """Stock sqitch, as documented: cd db/sqitch && sqitch deploy --verify db:pg:..."""
    run("sqitch", action, *options, url.replace("postgresql://", "db:pg://", 1), cwd=DB / "sqitch")


def dump(url: str) -> str:
    """pg_dump of schema booking: structure, owners, rights and data, without the dates of deployment."""
    text = run(str(embedded_bin_dir() / "pg_dump"), "--schema=booking", f"--dbname={url}").stdout
    text = re.sub(r"^\\(un)?restrict .*$", "", text, flags=re.M)
    return re.sub(r"^(COPY booking\.deployed_functions .*?)\n.*?^\\\.$", r"\1", text, flags=re.M | re.S)


def schema_exists(url: str) -> bool:
    """Whether anything of schema booking is there."""
    import psycopg

    with psycopg.connect(url) as conn:
        return conn.execute("select from pg_namespace where nspname = 'booking'").fetchone() is not None


def as_user(url: str, user: str) -> str:
    """The same database for another login."""
    parts = conninfo_to_dict(url)
    return f"postgresql://{user}@{parts['host']}:{parts['port']}/{parts['dbname']}"


def copy_of_db(folder: Path) -> Path:
    """A copy of db/ that a test may edit."""
    return Path(shutil.copytree(DB, folder / "db"))
