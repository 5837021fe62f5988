"""An HTTP server that answers as a test tells it, for what no Stripe would answer on purpose."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What to send. A body that is not bytes is sent as JSON."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


Act = Reply | Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Seen:
    """A request that came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


class Scripted:
    """Gives its replies in order, the last one for ever."""

    def __init__(self) -> None:
        self.replies: deque[Act] = deque()
        self.seen: list[Seen] = []
        self.url = ""

    def say(self, *replies: Act) -> None:
        self.replies.extend(replies)

    def next(self) -> Act:
        return self.replies.popleft() if len(self.replies) > 1 else self.replies[0]


@contextmanager
def scripted_server() -> Iterator[Scripted]:
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.seen.append(Seen(self.command, self.path, headers, body))
            act = script.next()
            if not isinstance(act, Reply):
                act(self)
                return
            content = act.body if isinstance(act.body, bytes) else json.dumps(act.body).encode()
            self.send_response(act.status)
            for name, value in act.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def drop(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without a byte."""
    handler.close_connection = True
    handler.connection.close()
