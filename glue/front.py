"""What stands between the network and the application: takes each body in whole, then gives it to a thread.

Bodies are read by the event loop, bounded in size and time, so a client that sends slowly (or nothing more)
costs no thread. Who waits for Stripe costs no turn (`glue.turns`). Who has waited for a turn too long is told
so instead of being served. Probes have a thread of their own: whoever asks whether the process is alive hears
so also while every other thread waits for the database or for Stripe.

It speaks RSGI, granian's own interface: an answer goes straight from its thread to the server, and the event
loop need not wake up for it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from io import BytesIO
from queue import SimpleQueue
from tempfile import SpooledTemporaryFile
from threading import Thread
from typing import IO, TYPE_CHECKING, Any, Protocol

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # its documented name

from glue.turns import Turns

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_log = logging.getLogger(__name__)

Environ = dict[str, Any]
Answer = tuple[int, list[tuple[str, str]], bytes]
Taken = tuple[IO[bytes], int | None]
"""A body and its size, which is None when the client left before it was whole."""

LATE = "pgbooking.body_is_late"
"""In the WSGI environment: the body did not arrive in time, and is not there."""

BUSY = "pgbooking.server_is_busy"
"""In the WSGI environment: the request has waited for its turn too long, and is not to be carried out."""

TURN_SECONDS = 5.0
"""As long as the wait for a connection to the database: nobody learns later that the server is overloaded."""

IN_MEMORY = 64 * 1024
"""Bytes of a body that are kept in memory; more is kept in a file meanwhile."""

PROBES = ("/healthz", "/readyz", "/metrics")

UNREADABLE = "\xff"
"""Stands for a header's value that is not ASCII: it is there, and it is nothing that we take."""

SWEEP = 0.05
"""Seconds after which the event loop looks which answers have been given, and which bodies are late."""


class Headers(Protocol):
    """RSGI's."""

    def keys(self) -> list[str]: ...
    def items(self) -> list[tuple[str, str]]: ...


class Scope(Protocol):
    """RSGI's, as far as it is used."""

    http_version: str
    server: str
    client: str
    scheme: str
    method: str
    path: str
    query_string: str

    @property
    def headers(self) -> Headers: ...


class Transport(Protocol):
    """RSGI's HTTPProtocol, as far as it is used."""

    async def __call__(self) -> bytes: ...
    def __aiter__(self) -> Any: ...
    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...


class Front:
    """An RSGI application around a WSGI one. It works on `turns` requests at once, probes apart, while up to
    `aside` more wait for Stripe.

    `body_seconds`: time that a client has for its whole body. `limit`: bytes that a body to a path may have;
    of a larger one no more is read, and the application refuses it by its CONTENT_LENGTH.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        turns: int,
        aside: int,
        body_seconds: float,
        limit: Callable[[str], int],
        turn_seconds: float = TURN_SECONDS,
    ) -> None:
        self._app = app
        self._seconds = body_seconds
        self._turn_seconds = turn_seconds
        self._limit = limit
        self._waiting: SimpleQueue[_Request | None] = SimpleQueue()
        self._probes: SimpleQueue[_Request | None] = SimpleQueue()
        self._answered: deque[_Request] = deque()
        self._bodies: dict[asyncio.Task[Any], float] = {}
        """Who reads a body, and until when it may; the oldest first."""
        self._late: set[asyncio.Task[Any]] = set()
        self._open = 0
        self._is_swept = False
        work = [(self._waiting, Turns(turns))] * (turns + aside) + [(self._probes, Turns(1))]
        self._threads = [
            Thread(target=self._work, args=queue_and_turns, name=f"request-{number}", daemon=True)
            for number, queue_and_turns in enumerate(work)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends its threads, after what they have in hand."""
        for _ in self._threads[1:]:
            self._waiting.put(None)
        self._probes.put(None)
        for thread in self._threads:
            thread.join()

    async def __rsgi__(self, scope: Scope, transport: Transport) -> None:
        """One request. A client that leaves before its body is whole is not heard."""
        environ = _environ(scope)
        loop = asyncio.get_running_loop()
        is_whole = True
        body: IO[bytes] = BytesIO()
        if "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ:
            most = self._limit(environ["PATH_INFO"])
            taken = await self._take(environ, transport, most)
            if taken is None:
                environ[LATE], is_whole = True, False
            else:
                body, size = taken
                if size is None:
                    body.close()
                    return
                is_whole = size <= most
                environ["CONTENT_LENGTH"] = str(size)
                environ.pop("HTTP_TRANSFER_ENCODING", None)  # its length is known now
        environ["wsgi.input"] = body
        request = _Request(environ, transport, is_whole, loop.create_future())
        self._open += 1
        self._sweep(loop)
        queue = self._probes if environ["PATH_INFO"] in PROBES else self._waiting
        queue.put(request)
        try:
            await request.done
        finally:
            body.close()

    async def _take(self, environ: Environ, transport: Transport, most: int) -> Taken | None:
        """None when it is late. Of a body that is too large no more is read."""
        declared = int(environ["CONTENT_LENGTH"]) if "CONTENT_LENGTH" in environ else None
        if (declared or 0) > most:
            return BytesIO(), declared
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._bodies[task] = loop.time() + self._seconds
        self._sweep_soon(loop)
        try:
            if declared is not None and declared <= IN_MEMORY:
                content = await transport()
                return BytesIO(content), len(content) if len(content) == declared else None
            return await _spooled(transport, declared, most)
        except asyncio.CancelledError:
            if task not in self._late or task.uncancel():
                raise
            return None
        except ProtocolClosed:
            return BytesIO(), None
        finally:
            del self._bodies[task]
            self._late.discard(task)

    def _work(self, queue: SimpleQueue[_Request | None], turns: Turns) -> None:
        """A thread's life."""
        while True:
            turns.keep()
            request = queue.get()
            if request is None:
                turns.leave()
                return
            # Not a probe: that the database is away, for which they wait as long, is what they have to say.
            if time.monotonic() - request.since > self._turn_seconds and queue is not self._probes:
                request.environ[BUSY] = True
            try:
                status, headers, content = self._answer(request.environ)
                if not request.is_whole:
                    headers.append(("connection", "close"))  # the rest would be taken for the next request
                request.transport.response_bytes(status, headers, content)
            except ProtocolClosed:
                pass  # whoever asked has left
            except BaseException:  # a thread that ended would take its turn with it
                _log.exception("the application broke off")  # the server answers 500
            self._answered.append(request)
            del request

    def _answer(self, environ: Environ) -> Answer:
        """The application's whole answer."""
        begun: list[tuple[int, list[tuple[str, str]]]] = []

        def start(
            status: str, headers: list[tuple[str, str]], _exc_info: Any = None
        ) -> Callable[[bytes], Any]:
            begun[:] = [(int(status[:3]), headers)]
            return lambda _: None

        parts: Iterable[bytes] = self._app(environ, start)
        try:
            content = b"".join(parts)
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()
        [(status, headers)] = begun
        return status, headers, content

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends the tasks of requests that were answered, now and again while there are some."""
        while self._answered:
            request = self._answered.popleft()
            self._open -= 1
            if not request.done.done():
                request.done.set_result(None)
        self._sweep_soon(loop)

    def _sweep_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if (self._open or self._bodies) and not self._is_swept:
            self._is_swept = True
            loop.call_later(SWEEP, self._sweep_again, loop)

    def _sweep_again(self, loop: asyncio.AbstractEventLoop) -> None:
        """One timer for all: one for each body was a twentieth of a request."""
        self._is_swept = False
        now = loop.time()
        for task, until in self._bodies.items():
            if until > now:
                break
            if task not in self._late and task.cancel():
                self._late.add(task)
        self._sweep(loop)


class _Request:
    """What a thread needs to answer; `done` is the event loop's."""

    __slots__ = ("done", "environ", "is_whole", "since", "transport")

    def __init__(
        self, environ: Environ, transport: Transport, is_whole: bool, done: asyncio.Future[None]
    ) -> None:
        self.environ = environ
        self.transport = transport
        self.is_whole = is_whole
        self.since = time.monotonic()
        self.done = done


async def _spooled(transport: Transport, declared: int | None, most: int) -> Taken:
    """A body that is large or of unknown length, piece by piece.

    Of the latter the server does not say whether it is cut short; then it is no JSON any more, and no
    signature fits.
    """
    body: Any = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
    size = 0
    try:
        async for piece in transport:
            size += len(piece)
            if size > most:
                break
            body.write(piece)
        body.seek(0)
    except BaseException:
        body.close()
        raise
    is_cut = declared is not None and size < declared
    return body, None if is_cut else size


_ALWAYS: Environ = {
    "GATEWAY_INTERFACE": "CGI/1.1",
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}


def _environ(scope: Scope) -> Environ:
    """The request's part of the WSGI environment (PEP 3333).

    Headers whose name has an underscore are left out: X_Forwarded_For would pass for X-Forwarded-For, past a
    proxy that replaces only that.
    """
    host, _, port = scope.server.rpartition(":")
    client, _, _ = scope.client.rpartition(":")
    path = scope.path
    environ = {
        **_ALWAYS,
        "REQUEST_METHOD": scope.method,
        "PATH_INFO": path if path.isascii() else path.encode("utf-8", "replace").decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host.strip("[]"),
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": client.strip("[]"),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.errors": sys.stderr,
    }
    headers = scope.headers
    seen = set()
    for name, value in headers.items():
        seen.add(name)
        variable = _variable(name)
        if variable is not None:
            environ[variable] = f"{environ[variable]},{value}" if variable in environ else value
    for name in headers.keys():  # noqa: SIM118 -- not a mapping
        if name not in seen and (variable := _variable(name)) is not None:
            environ[variable] = UNREADABLE
    return environ


@lru_cache(256)
def _variable(name: str) -> str | None:
    """What a header is called in WSGI's environment; None: it is left out."""
    if "_" in name:
        return None
    variable = name.upper().replace("-", "_")
    return variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}"
