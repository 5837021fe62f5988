"""PgBouncer in front of a test's database."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

PGBOUNCER = "/usr/sbin/pgbouncer"


@contextmanager
def running_pooler(
    db_url: str, mode: str, *, role: str = "", connections: int = 20, settings: str = ""
) -> Iterator[str]:
    """URL of db_url through a PgBouncer in that mode with so many connections to the server, each as `role`.
    `settings`: more lines of its configuration."""
    parts = conninfo_to_dict(db_url)
    account = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    folder = Path(tempfile.mkdtemp(prefix="pgbooking-bouncer-", dir="/tmp"))
    folder.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    become = f" connect_query='set role {role}'" if role else ""
    conf = folder / "pgbouncer.ini"
    conf.write_text(
        f"[databases]\n* = host={parts['host']} port={parts['port']} user=postgres{become}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = {mode}\ndefault_pool_size = {connections}\n"
        f"user = {account}\n{settings}"
    )
    process = subprocess.Popen([PGBOUNCER, str(conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _answering(f"postgresql://postgres@127.0.0.1:{port}/{parts['dbname']}", process)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _answering(url: str, process: subprocess.Popen[bytes]) -> str:
    while process.poll() is None:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            continue
        return url
    raise AssertionError("pgbouncer did not start")
