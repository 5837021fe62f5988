"""The sandbox as an HTTP/1.1 server: one thread a connection, keep-alive, one write an answer."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from glue.sandbox.api import Api, Request, Response
from glue.sandbox.control_api import PREFIX, Control
from glue.sandbox.delivery import Config, Endpoint
from glue.sandbox.errors import StripeError
from glue.sandbox.persistence import Keeper
from glue.signals import stopped_by_signals

BODY_LIMIT = 1024 * 1024
TICK_SECONDS = 1.0
_logger = logging.getLogger(__name__)
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class SandboxServer(ThreadingHTTPServer):
    """Listens at once; `serve_forever` answers. Port 0 picks a free one (`url` tells which).

    A keeper saves the state every second and at the end.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, host: str, port: int, api: Api, keeper: Keeper | None = None) -> None:
        self.api = api
        self._keeper = keeper
        self.control = Control(api)
        self._stopped = threading.Event()
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def serve_forever(self, poll_interval: float = 0.1) -> None:
        """Answer until `shutdown`. Timers also fire when nobody calls."""
        self.api.deliveries.start()
        threading.Thread(target=self._ticks, name="clock", daemon=True).start()
        try:
            super().serve_forever(poll_interval)
        finally:
            self._stopped.set()
            self.api.barriers.release_all()
            self.api.deliveries.stop()
            if self._keeper is not None:
                self._keeper.save()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A client that hangs up in the middle is nothing to report."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            _logger.exception("request failed")

    def _ticks(self) -> None:
        pause = TICK_SECONDS
        while not self._stopped.wait(pause):
            self.api.tick()
            if self._keeper is not None:
                began = time.monotonic()
                self._keeper.save()
                # A large state must not keep the sandbox busy with writing.
                pause = max(TICK_SECONDS, 20 * (time.monotonic() - began))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: SandboxServer

    def answer(self) -> None:
        """Read one request and write its answer, or nothing at all for a dropped connection."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_LIMIT:
            self.close_connection = True
            self._write(
                Response(413, b'{"error": {"type": "invalid_request_error", "message": "Too large"}}')
            )
            return
        body = self.rfile.read(length) if length else b""
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, path, query, headers, body)
        try:
            if path.startswith(PREFIX):
                response = self.server.control.handle(request)
            else:
                response = self.server.api.handle(request)
        except Exception:
            _logger.exception("%s %s failed", self.command, path)
            error = StripeError(500, "api_error", "The sandbox itself failed; see its log.")
            response = Response(500, str(error.body("")).encode())
        if response.drop:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._write(response)

    do_GET = do_POST = do_DELETE = do_PUT = answer

    def _write(self, response: Response) -> None:
        lines = [f"HTTP/1.1 {response.status} {_PHRASES.get(response.status, '')}"]
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        lines.append(f"Content-Length: {len(response.body)}")
        if self.close_connection:
            lines.append("Connection: close")
        self.wfile.write("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + response.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: GET /_sandbox/requests is the log."""


def create_server(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    webhook_url: str | None = None,
    webhook_secret: str | Sequence[str] = (),
    api_keys: Sequence[str] = (),
    delivery: Config | None = None,
    data_file: str | os.PathLike[str] | None = None,
) -> SandboxServer:
    """A server that listens and waits for `serve_forever`.

    `api_keys`: the only keys accepted; none means every `sk_test_...`. Raises ValueError for a webhook URL
    without a secret or a data file that cannot be read, OSError when the port is taken. With `data_file` the
    state outlives the server: it is read now and saved every second and at the end.
    """
    api = Api(tuple(api_keys), delivery)
    if webhook_url:
        secrets = (webhook_secret,) if isinstance(webhook_secret, str) else tuple(webhook_secret)
        if not all(secrets) or not secrets:
            raise ValueError("webhook_secret: is missing")
        api.deliveries.set_endpoints([Endpoint(webhook_url, secrets)])
    keeper = None
    if data_file is not None:
        keeper = Keeper(api, Path(data_file))
        keeper.load()
    return SandboxServer(host, port, api, keeper)


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    webhook_url: str | None = None,
    webhook_secret: str | Sequence[str] = (),
    api_keys: Sequence[str] = (),
    delivery: Config | None = None,
    data_file: str | os.PathLike[str] | None = None,
    on_ready: Callable[[str], None] | None = None,
    exit_on_eof: bool = False,
) -> None:
    """Run until SIGTERM or SIGINT (main thread only). `on_ready` gets the base URL; by default it is printed.

    With `exit_on_eof` it also ends when standard input does, so that it never outlives the process that
    started it.
    """
    server = create_server(
        host=host,
        port=port,
        webhook_url=webhook_url,
        webhook_secret=webhook_secret,
        api_keys=api_keys,
        delivery=delivery,
        data_file=data_file,
    )

    with server, stopped_by_signals(server.shutdown):
        if exit_on_eof:
            threading.Thread(target=_until_eof, args=(server.shutdown,), daemon=True).start()
        if on_ready is None:
            print(f"Stripe sandbox ready at {server.url}", flush=True)
        else:
            on_ready(server.url)
        server.serve_forever()


def _until_eof(stop: Callable[[], None]) -> None:
    # Not sys.stdin: its lock would still be held when the interpreter ends.
    while os.read(0, 1024):
        pass
    stop()
