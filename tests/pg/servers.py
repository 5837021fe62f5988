"""Start a throw-away PostgreSQL for a test run: 18 from the wheel, 15 from Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from glue.embedded import Cluster, embedded_bin_dir

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
DEBIAN_15_EXTENSIONS = Path("/usr/share/postgresql/15/extension")
CRON_DATABASE = "with_cron"
"""The one database of the PostgreSQL 15 server in which pg_cron lives."""

# Nothing here is worth keeping through a crash, all else is as in production.
_FAST: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "autovacuum": "off",
    "jit": "off",
    "log_min_duration_statement": "-1",
    "log_lock_waits": "off",
}

_OF_VERSION: Mapping[int, Mapping[str, str]] = {
    15: {
        "shared_preload_libraries": "pg_cron",
        "cron.database_name": CRON_DATABASE,
        "cron.host": "127.0.0.1",
        "cron.timezone": "UTC",
    },
    18: {"extension_control_path": f"{DEBIAN_15_EXTENSIONS.parent}:$system"},
}

# Debian's package beside a file of it that proves it is installed.
_NEEDED: Mapping[int, Mapping[str, Path]] = {
    15: {
        "postgresql-15": DEBIAN_15 / "postgres",
        "postgresql-15-pgtap": DEBIAN_15_EXTENSIONS / "pgtap.control",
        "postgresql-15-cron": DEBIAN_15_EXTENSIONS / "pg_cron.control",
        "postgresql-15-plpgsql-check": DEBIAN_15_EXTENSIONS / "plpgsql_check.control",
    },
    18: {"postgresql-15-pgtap": DEBIAN_15_EXTENSIONS / "pgtap.control"},
}


def missing_packages(version: int) -> list[str]:
    """Debian packages that a run on this version needs and the machine does not have."""
    return [package for package, proof in _NEEDED[version].items() if not proof.exists()]


@contextmanager
def running_server(
    version: int, settings: Mapping[str, str] | None = None, port: int | None = None
) -> Iterator[Cluster]:
    """A server of this major version, gone with its data afterwards, also when this process is killed.

    `port`: always this one; by default any free one.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"pgbooking-pg{version}-", dir=_memory()))
    cluster = Cluster(
        folder,
        port=port,
        settings={**_FAST, **_OF_VERSION[version], **(settings or {})},
        auth="trust",
        bin_dir=DEBIAN_15 if version == 15 else embedded_bin_dir(),
        system_user="postgres" if version == 15 else "pgserver",
    )
    with _undertaker(cluster):
        cluster.start()
        try:
            if version == 15:
                cluster.ensure_database(CRON_DATABASE)
            yield cluster
        finally:
            cluster.stop("immediate")
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _undertaker(cluster: Cluster) -> Iterator[None]:
    """A process that buries the server when our end of its pipe closes, as it does when we are killed."""
    script = (
        'cat >/dev/null; read -r pid 2>/dev/null <"$1/pg/postmaster.pid" && kill -QUIT "$pid"; '
        'sleep 1; rm -rf "$1"'
    )
    with subprocess.Popen(
        ["/bin/sh", "-c", script, "undertaker", str(cluster.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    ) as process:
        try:
            yield
        finally:
            process.kill()


def _memory() -> str | None:
    """A folder in memory when there is one with room, else the usual place for temporary files."""
    shm = Path("/dev/shm")
    if shm.is_dir() and os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > 4 * 1024**3:
        return str(shm)
    return None
