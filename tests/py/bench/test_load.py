"""The client of the benchmarks asks what it was given, no more and no less."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import psutil
import pytest

from bench.load import Server, load, request


class Counting(BaseHTTPRequestHandler):
    """Answers 201, or to a body `bad` 500."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    seen: Counter[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen[self.headers["X-Who"], body] += 1
        self.wfile.write(b"HTTP/1.1 %d x\r\nContent-Length: 2\r\n\r\n{}" % (500 if body == b"bad" else 201))

    def log_message(self, format: str, *args: object) -> None:
        pass


class Local:
    """A server within this process."""

    def __init__(self, port: int) -> None:
        self.port = port

    def processes(self) -> list[psutil.Process]:
        return [psutil.Process()]

    def said(self) -> str:
        return ""


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[Server]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield cast(Server, Local(server.server_address[1]))
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[tuple[Server, Counter[tuple[str, bytes]]]]:
    seen: Counter[tuple[str, bytes]] = Counter()
    with listening(type("Handler", (Counting,), {"seen": seen})) as answering:
        yield answering, seen


@pytest.mark.pg18
@pytest.mark.parametrize(("count", "connections"), [(1, 1), (50, 1), (103, 8), (3, 5)])
def test_each_request_is_sent_once_and_counted(
    server: tuple[Server, Counter[tuple[str, bytes]]], count: int, connections: int
) -> None:
    answering, seen = server
    wanted = [(f"who-{number}", b"body %d\n" % number * (number % 3)) for number in range(count)]
    answered = load(
        answering, [request("/x", body, {"X-Who": who}) for who, body in wanted], connections=connections
    )
    assert seen == Counter(wanted)
    assert answered.statuses == {201: count}
    assert len(answered.ms) == count
    assert answered.sample.rate == count / answered.seconds
    assert 0 < answered.ms[0] <= answered.ms[-1] <= answered.seconds * 1001


@pytest.mark.pg18
def test_an_answer_of_another_status_stops_a_run(
    server: tuple[Server, Counter[tuple[str, bytes]]],
) -> None:
    answering, _ = server
    asked = [request("/x", b"bad", {"X-Who": "a"}), request("/x", b"good", {"X-Who": "b"})]
    with pytest.raises(RuntimeError, match="500: 1"):
        load(answering, asked, connections=1)
    assert load(answering, asked, connections=1, allowed=(201, 500)).statuses == {500: 1, 201: 1}


@pytest.mark.pg18
def test_the_client_keeps_no_file_open() -> None:
    # wrk never uses a connection whose descriptor is beyond a bound, and does not say so
    found: list[str] = []

    class Looking(Counting):
        def do_POST(self) -> None:
            for client in psutil.Process().children():
                if client.name() == "wrk":
                    found.extend(Path(file.path).name for file in client.open_files())
            super().do_POST()

    Looking.seen = Counter()
    with listening(Looking) as answering:
        load(answering, [request("/x", b"", {"X-Who": "a"})], connections=1)
    assert found == ["errors"]  # its standard error
