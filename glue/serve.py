"""Runs the application under granian, a production server, in worker processes with threads."""

from __future__ import annotations

import gc
import os
import resource
import shutil
import socket
import sys
import tempfile
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, NoReturn

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from glue import logs
from glue.settings import Settings, SettingsError

if TYPE_CHECKING:
    from glue.front import Front

STOP_TIMEOUT = 30
"""Seconds that requests and commands in hand have to finish after SIGTERM."""


CONNECTIONS = 4096
"""Open connections of one worker process; a further one waits to be accepted."""

_TURNS = "PGBOOKING_TURNS"
"""How the parent tells its worker processes."""


def application() -> Front:
    """The application of one worker process, from its environment: granian calls it after the fork."""
    # Not imported by the parent: prometheus_client decides on import whether it counts for several processes.
    from glue.app import body_limit, create_app
    from glue.front import Front
    from glue.invoices.renderer import MOST_WAITING

    settings = Settings.from_env(os.environ)
    logs.configure(settings)
    _let_work_go_on()
    app = create_app(settings)
    # What is here now stays, so nobody need look through it again; what a request leaves behind is little.
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 20, 20)
    return Front(
        app,
        turns=int(os.environ[_TURNS]),
        aside=settings.max_concurrent_payments + MOST_WAITING,
        body_seconds=settings.client_timeout_seconds,
        limit=body_limit,
    )


def main(host: str = "127.0.0.1", port: int = 8000, workers: int = 1, threads: int | None = None) -> None:
    """Serves until SIGTERM or SIGINT, and then lets the requests in hand finish.

    `threads`: how many requests each worker process works on at once, by default one for each of its
    connections to the database. Those that wait for Stripe or for a PDF are not among them: each has a thread
    more.
    `port` 0 takes a free one. Settings that do not allow a start end in exit code 2, an address that is taken
    in exit code 1, each with one line on standard error.
    """
    try:
        settings = Settings.from_env(os.environ)
        logs.configure(settings)
    except SettingsError as error:
        _stop(2, str(error))
    try:
        port = _free_port(host, port)
    except OSError as error:
        _stop(1, f"cannot listen on {host}:{port}: {error.strerror}")
    with ExitStack() as cleanup:
        if settings.metrics_enabled and workers > 1 and "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            shared = tempfile.mkdtemp(prefix="pgbooking-metrics-")
            cleanup.callback(shutil.rmtree, shared, ignore_errors=True)
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
        os.environ[_TURNS] = str(threads or settings.database_pool_size)
        server = Server(
            "glue.serve:application",
            factory=True,
            address=host,
            port=port,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=settings.client_timeout_seconds * 1000),
            backpressure=_connections(),
            websockets=False,
            workers=workers,
            respawn_failed_workers=True,
            workers_kill_timeout=STOP_TIMEOUT,
            log_level=LogLevels.error,
        )
        server.on_startup(lambda: print(f"pgbooking serves {url(host, port)}", flush=True))
        server.serve()


def _let_work_go_on() -> None:
    """Whoever is woken up waits for its turn: it does not push aside a thread, or the database, that works.

    Linux's SCHED_BATCH, where nobody has chosen otherwise. A request that asks Stripe is handed on several
    times (docs/performance.md).
    """
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with suppress(OSError):  # where it is not allowed, it is slower
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _connections() -> int:
    """How many connections a process may hold: as many as we wish, or files that it may open allow."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = CONNECTIONS + 1024
    if most != resource.RLIM_INFINITY:
        files = min(files, most)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    return max(128, min(CONNECTIONS, files - 256))


def url(host: str, port: int) -> str:
    """Where to reach the server."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _free_port(host: str, port: int) -> int:
    """The port itself when it can be had, any free one for 0. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def _stop(code: int, message: str) -> NoReturn:
    print(f"pgbooking: {message}", file=sys.stderr)
    raise SystemExit(code)
