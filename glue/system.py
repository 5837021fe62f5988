"""The whole system on one machine, for development: PostgreSQL, login roles, sandbox, server and worker.

`System` starts them, watches them and stops them in order. Each is the same program as in production
(`pgbooking serve`, `pgbooking worker`), with its own process and the rights that it needs, no more.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import psycopg
import urllib3
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from glue import deploy
from glue.children import Child, ChildError, Interrupts
from glue.embedded import Cluster
from glue.logins import Login, bracketed, connected, make_url
from glue.sandbox.control import ControlError, SandboxControl
from glue.sessions import explain, libpq_url

__all__ = ["DATABASE", "Ports", "Secrets", "System", "SystemFailure", "mint"]

DATABASE = "booking"
WEBHOOK_PATH = "/api/webhooks/stripe"
OPERATOR_GROUPS = ("booking_app", "booking_cron", "booking_dba")
"""A person who looks after all of it: reconciling records what Stripe says, as the server does."""
SERVER_READY = "pgbooking serves "
SANDBOX_READY = "Stripe sandbox ready at "
START_SECONDS = 180
STOP_SECONDS = 35
"""More than the server gives its requests in hand."""

# What the launcher decides; a value of the caller's environment would mean another system.
_DECIDED = (
    "DATABASE_URL",
    "STRIPE_SECRET_KEY",
    "STRIPE_PUBLISHABLE_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "STRIPE_WEBHOOK_IPS",
    "STRIPE_API_BASE",
    "CHECKOUT_SUCCESS_URL",
    "CHECKOUT_CANCEL_URL",
    "CRON_SECRET",
    "JWT_SECRET",
    "JWT_JWKS_URL",
    "JWT_AUDIENCE",
    "JWT_ISSUER",
    "LOG_DIR",
)
# What a developer may set to try it out, and what would make the demo depend on who runs it.
_TUNED = (
    "DATABASE_POOL_SIZE",
    "LOCK_TIMEOUT_MS",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "LOG_RETENTION_DAYS",
    "MAINTENANCE_INTERVAL_SECONDS",
    "MAX_CONCURRENT_PAYMENTS",
    "METRICS_ENABLED",
    "OUTBOX_STUCK_SECONDS",
    "PROMETHEUS_MULTIPROC_DIR",
    "RATE_LIMIT_MAX_REQUESTS",
    "RATE_LIMIT_STORAGE_URI",
    "RATE_LIMIT_WINDOW_MS",
    "STATEMENT_TIMEOUT_MS",
    "TRUSTED_PROXIES",
)

EXPECTED = (OSError, RuntimeError, psycopg.Error, urllib3.exceptions.HTTPError, ControlError)
"""What may go wrong on a machine; anything else is a bug and keeps its trace."""

THROW_AWAY_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "log_min_duration_statement": "-1",
}


class SystemFailure(RuntimeError):
    """The system cannot be started or kept up; the message is for a person."""


@dataclass(frozen=True)
class Secrets:
    """Made at the first start; nothing of it is ever a default."""

    jwt: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    cron: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    webhook: str = field(default_factory=lambda: f"whsec_{secrets.token_urlsafe(24)}", repr=False)
    stripe: str = field(default_factory=lambda: f"sk_test_{secrets.token_hex(16)}", repr=False)
    server_password: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    operator_password: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    """Tells our login roles from those of another installation on the same server."""


@dataclass(frozen=True)
class Ports:
    """Where to listen on; 0 takes a free one."""

    server: int = 0
    sandbox: int = 0


class System:
    """Everything that a booking needs, in `folder`.

    `database_url`: an administrator's URL of a server to use instead of the embedded one. `keep`: whether the
    data outlives the run; otherwise all of it is gone afterwards, on a given server too, where it lives in a
    database of its own. `verbose`: gets the log lines of the processes instead of the folder's log files.
    `lock`: a descriptor that stays open until PostgreSQL has stopped, even when we are killed.
    """

    def __init__(
        self,
        folder: Path,
        known: Secrets,
        interrupts: Interrupts,
        *,
        keep: bool,
        host: str = "127.0.0.1",
        ports: Ports | None = None,
        database_url: str | None = None,
        verbose: Callable[[str], None] | None = None,
        lock: int | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.secrets = known
        self.deployed = deploy.Deployed()
        self.url = ""
        self.sandbox_url = ""
        self.admin_url = ""
        self.server_url = ""
        """Connection URL of the login of server and worker."""
        self.operator_url = ""
        """Connection URL of the login for statistics, checks and maintenance."""
        self._interrupts = interrupts
        self._keep = keep
        self._host = host
        self._ports = ports or Ports()
        self._given_url = database_url
        self._verbose = verbose
        self._lock = lock
        self._cluster: Cluster | None = None
        self._children: dict[str, Child] = {}
        self._makers: dict[str, Callable[[], None]] = {}
        self._deaths: list[float] = []
        self._stack = ExitStack()
        suffix = f"_{known.name}" if database_url else ""
        self._logins = (
            Login(f"pgbooking_server{suffix}", known.server_password, ("booking_app", "booking_cron")),
            Login(f"pgbooking_operator{suffix}", known.operator_password, OPERATOR_GROUPS),
        )

    # -- what a caller uses ------------------------------------------------------------------------------

    @property
    def control(self) -> SandboxControl:
        return SandboxControl(self.sandbox_url)

    @property
    def ports(self) -> Ports:
        """The ports in use, to be given again at the next start."""
        return Ports(_port_of(self.url), _port_of(self.sandbox_url))

    def last_log_lines(self, count: int = 20) -> list[str]:
        """The newest lines of the log files."""
        lines: list[str] = []
        for file in sorted((self.folder / "logs").glob("*.log")):
            lines += file.read_text(errors="replace").splitlines()[-count:]
        return lines[-count:]

    @property
    def processes(self) -> dict[str, int]:
        """Process ids by name."""
        return {name: child.pid for name, child in self._children.items()}

    @contextmanager
    def running(self) -> Iterator[System]:
        """Everything started, migrated and ready; stopped at the end, whatever happened.

        Raises SystemFailure.
        """
        try:
            try:
                self._start()
            except EXPECTED as error:
                text = explain(error) if isinstance(error, psycopg.Error) else str(error)
                raise SystemFailure("\n    ".join([text, *self.last_log_lines(5)])) from error
            yield self
        finally:
            self._interrupts.over()
            self._stack.close()

    def check(self) -> None:
        """Raises SystemFailure when one of the processes has ended."""
        for child in self._children.values():
            if not child.is_running():
                raise SystemFailure(str(child.ended()))

    def mend(self) -> list[str]:
        """Start again what has ended, at the same address; returns the names. Raises SystemFailure."""
        mended = []
        if self._cluster is not None and not _is_alive(self._cluster):
            self._note_death("PostgreSQL does not stay up")
            self._cluster.start()
            mended.append("PostgreSQL")
        for name, child in list(self._children.items()):
            if not child.is_running():
                self._note_death(str(child.ended()))
                child.stop(0)
                try:
                    self._makers[name]()
                except ChildError as error:
                    raise SystemFailure(str(error)) from error
                mended.append(name)
        return mended

    # -- how it is done ----------------------------------------------------------------------------------

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        held = self._interrupts.held
        with held():
            self._launch_sandbox()
        with held():
            self.admin_url = self._database()
        with held():
            self.deployed = deploy.migrate(self.admin_url)
        with held():
            self._make_logins()
        self._sandbox_is_ready()
        with held():
            self._launch_worker()
            self._launch_server()
        self._server_is_ready()

    def _database(self) -> str:
        if self._given_url:
            return self._given_url if self._keep else self._throw_away_database(libpq_url(self._given_url))
        folder = self.folder / "postgres"
        self._cluster = Cluster(folder, settings=None if self._keep else THROW_AWAY_SETTINGS)
        # Last in, first out: the undertaker watches until PostgreSQL has stopped.
        remove = None if self._keep else self.folder
        self._stack.enter_context(_undertaker(self._cluster, remove=remove, lock=self._lock))
        self._stack.callback(self._cluster.stop, "fast" if self._keep else "immediate")
        self._cluster.start()
        return self._cluster.ensure_database(DATABASE)

    def _throw_away_database(self, url: str) -> str:
        name = f"pgbooking_demo_{self.secrets.name}"
        with connected(url) as conn:
            conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        self._stack.callback(self._remove_database, url, name)
        return make_url(conninfo_to_dict(url) | {"dbname": name})

    def _remove_database(self, url: str, name: str) -> None:
        with connected(url) as conn:
            conn.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
            for login in self._logins:
                conn.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(login.role)))

    def _make_logins(self) -> None:
        with connected(self.admin_url) as conn:
            for login in self._logins:
                login.ensure(conn)
        self.server_url, self.operator_url = (login.url(self.admin_url) for login in self._logins)
        for url in (self.server_url, self.operator_url):
            with connected(url):
                pass  # a pg_hba.conf that refuses them shows here, and not as a server that cannot start

    def _launch_sandbox(self) -> None:
        ports = self.ports if self.url else self._ports
        arguments = ["--port", str(ports.sandbox), "--api-key", self.secrets.stripe, "--exit-on-eof"]
        if self._keep:
            arguments += ["--data-file", str(self.folder / "sandbox.json")]
        if ports.server:  # events that were not delivered when it stopped are sent at once
            url = _reachable(f"http://{bracketed(self._host)}:{ports.server}") + WEBHOOK_PATH
            arguments += ["--webhook-url", url, "--webhook-secret", self.secrets.webhook]
        self._launch("sandbox", "glue.sandbox", arguments, SANDBOX_READY)
        self._makers["sandbox"] = self._relaunch_sandbox

    def _relaunch_sandbox(self) -> None:
        self._launch_sandbox()
        self._sandbox_is_ready()

    def _sandbox_is_ready(self) -> None:
        line = self._children["sandbox"].wait_ready(START_SECONDS)
        self.sandbox_url = line.removeprefix(SANDBOX_READY)

    def _launch_worker(self) -> None:
        self._launch("worker", "glue.children", ["worker"])
        self._makers["worker"] = self._launch_worker

    def _launch_server(self) -> None:
        port = _port_of(self.url) or self._ports.server
        arguments = ["serve", "--host", self._host, "--port", str(port)]
        self._launch("server", "glue.children", arguments, SERVER_READY)
        self._makers["server"] = self._relaunch_server

    def _relaunch_server(self) -> None:
        self._launch_server()
        self._server_is_ready()

    def _server_is_ready(self) -> None:
        server = self._children["server"]
        self.url = _reachable(server.wait_ready(START_SECONDS).removeprefix(SERVER_READY))
        with urllib3.PoolManager(retries=urllib3.Retry(connect=20, backoff_factor=0.05)) as http:
            answer = http.request("GET", f"{self.url}/readyz", timeout=START_SECONDS)
        if answer.status != 200:
            raise ChildError(f"the server is not ready: {answer.data.decode()}{server.said()}")
        self.control.set_webhook(self.url + WEBHOOK_PATH, self.secrets.webhook)

    def _launch(self, name: str, module: str, arguments: list[str], ready: str = "") -> None:
        if name not in self._children:
            self._stack.callback(self._stop_child, name)
        self._children[name] = Child(
            name, module, arguments, self._environment(), output=self._output(name), ready=ready
        )

    def _stop_child(self, name: str) -> None:
        self._children[name].stop(STOP_SECONDS)

    def _environment(self) -> dict[str, str]:
        """Of a child: the caller's, without what means another system, with what means this one."""
        unwanted = {*_DECIDED, *(() if self._keep else _TUNED)}
        ours = {
            name: value
            for name, value in os.environ.items()
            if name not in unwanted and not name.startswith("PG")
        }
        if not self._verbose:
            ours["LOG_DIR"] = str(self.folder / "logs")
        return ours | {
            "DATABASE_URL": self.server_url,
            "STRIPE_SECRET_KEY": self.secrets.stripe,
            "STRIPE_WEBHOOK_SECRET": self.secrets.webhook,
            "STRIPE_API_BASE": self.sandbox_url,
            "CRON_SECRET": self.secrets.cron,
            "JWT_SECRET": self.secrets.jwt,
        }

    def _output(self, name: str) -> Callable[[str], None]:
        show = self._verbose
        if show is None:
            return lambda _line: None  # the log files have it; Child remembers the last lines
        return lambda line: show(f"{name}: {line}")

    def _note_death(self, message: str) -> None:
        now = time.monotonic()
        self._deaths = [moment for moment in self._deaths if moment > now - 60] + [now]
        if len(self._deaths) > 5:
            raise SystemFailure(message)


def mint(secret: str, sub: str, role: str, lifetime: timedelta = timedelta(hours=1)) -> str:
    """A token for a person, as `pgbooking token` makes it."""
    now = datetime.now(UTC)
    return jwt.encode(
        {"sub": sub, "role": role, "iat": now, "exp": now + lifetime}, secret, algorithm="HS256"
    )


@contextmanager
def _undertaker(cluster: Cluster, *, remove: Path | None, lock: int | None) -> Iterator[None]:
    """A process that stops PostgreSQL if it still runs when our end of its pipe closes: when the block ends,
    and also when we are killed. `remove`: a folder that it then removes. `lock`: a descriptor that it keeps
    open, and the lock with it, until PostgreSQL is gone.
    """
    script = (
        'cat >/dev/null; read -r pid 2>/dev/null <"$1/postmaster.pid" && kill -s "$3" "$pid" '
        '&& while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done; [ -z "$2" ] || rm -rf "$2"'
    )
    arguments = [str(cluster.data), str(remove or ""), "QUIT" if remove else "INT"]
    with subprocess.Popen(
        ["/bin/sh", "-c", script, "pgbooking-undertaker", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=() if lock is None else (lock,),
        cwd="/",
    ):
        yield


def _is_alive(cluster: Cluster) -> bool:
    with suppress(OSError, IndexError, ValueError):
        os.kill(int((cluster.data / "postmaster.pid").read_text().splitlines()[0]), 0)
        return True
    return False


def _port_of(url: str) -> int:
    return int(url.rpartition(":")[2]) if url else 0


def _reachable(url: str) -> str:
    """A wildcard address is for listening; one reaches it as the machine itself."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
