"""What migrate says when the connection is not what it needs."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from glue import deploy, sessions

Pooler = Callable[[str], str]


@pytest.fixture
def pooler(db_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pooler]:
    """pooler(mode) -> URL of db_url through a PgBouncer in that mode."""
    parts = conninfo_to_dict(db_url)
    account = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with ExitStack() as stack:

        def start(mode: str) -> str:
            folder = Path("/tmp") / f"pgbooking-bouncer-{os.getpid()}-{mode}"
            folder.mkdir()
            stack.callback(_remove, folder)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            conf = folder / "pgbouncer.ini"
            conf.write_text(
                f"[databases]\n* = host={parts['host']} port={parts['port']} user=postgres\n"
                f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
                f"auth_type = any\npool_mode = {mode}\nuser = {account}\n"
            )
            process = subprocess.Popen(
                ["/usr/sbin/pgbouncer", str(conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            url = f"postgresql://postgres@127.0.0.1:{port}/{parts['dbname']}"
            while process.poll() is None:
                try:
                    psycopg.connect(url).close()
                except psycopg.OperationalError:
                    continue
                return url
            raise AssertionError("pgbouncer did not start")

        yield start


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_a_transaction_pooler_is_refused(pooler: Pooler) -> None:
    with pytest.raises(deploy.DeployError, match="pooler in transaction mode"):
        deploy.migrate(pooler("transaction"))


def test_a_session_pooler_is_accepted(pooler: Pooler) -> None:
    assert deploy.migrate(pooler("session")) == deploy.Deployed()


def test_an_unreachable_server_is_one_line() -> None:
    with pytest.raises(deploy.DeployError, match="the database cannot be reached") as caught:
        deploy.migrate("postgresql://nobody:hunter2@127.0.0.1:1/nothing")

    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://[::1", "nonsense", "mysql://here"])
def test_what_is_not_a_url_is_refused(url: str) -> None:
    with pytest.raises(deploy.DeployError, match="this is not a PostgreSQL URL"):
        deploy.migrate(url)


def test_the_urls_of_other_tools_are_understood(db_url: str) -> None:
    assert deploy.pending(db_url.replace("postgresql://", "postgresql+psycopg://")) == []
    assert deploy.pending(db_url.replace("postgresql://", "postgres://")) == []


def test_an_old_server_is_refused(db_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "OLDEST_SERVER", 990000)

    with pytest.raises(deploy.DeployError, match="PostgreSQL 15 or newer is needed"):
        deploy.migrate(db_url)


def test_a_server_that_goes_away_in_the_middle_is_one_line(empty_db_url: str) -> None:
    def cut(phase: str, name: str, number: int, total: int) -> None:
        if phase == "migration" and number == 2:
            with psycopg.connect(empty_db_url.rsplit("/", 1)[0] + "/postgres", autocommit=True) as conn:
                conn.execute(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s",
                    [empty_db_url.rsplit("/", 1)[1]],
                )

    with pytest.raises(deploy.DeployError, match=r"0002.* failed: terminating connection|closed"):
        deploy.migrate(empty_db_url, report=cut)

    assert deploy.migrate(empty_db_url).migrations[0].startswith("0002")
