"""What stands between the network and the application: bodies, headers, threads."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]

from glue.front import BUSY, LATE, PROBES, UNREADABLE, Front
from glue.turns import step_aside

Environ = dict[str, Any]
LIMIT = 100


class Echo:
    """A WSGI application that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Environ, bytes]] = []
        self.closed = 0

    def __call__(self, environ: Environ, start: Callable[..., Any]) -> Iterable[bytes]:
        self.asked.append((environ, environ["wsgi.input"].read()))
        start("201 Created", [("X-Answer", "é")])
        return Parts(self)


class Parts:
    """An answer that wants to be closed."""

    def __init__(self, echo: Echo) -> None:
        self._echo = echo

    def __iter__(self) -> Iterator[bytes]:
        return iter((b"he", b"llo"))

    def close(self) -> None:
        self._echo.closed += 1


@pytest.fixture
def echo() -> Echo:
    return Echo()


@contextmanager
def front(app: Any, **changes: Any) -> Iterator[Front]:
    made = Front(app, **{"turns": 2, "aside": 1, "body_seconds": 60, "limit": lambda _: LIMIT, **changes})
    yield made
    made.close()


class Scope:
    """What granian says of a request; a value of None is one that it cannot read."""

    http_version, scheme, method = "1.1", "http", "POST"
    server, client, query_string = "127.0.0.1:80", "[2001:db8::1]:5", "q=%20"

    def __init__(self, path: str, headers: Iterable[tuple[str, str | None]]) -> None:
        self.path = path
        self._headers = list(headers)

    @property
    def headers(self) -> Scope:
        return self

    def keys(self) -> list[str]:
        return list(dict(self._headers))

    def items(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self._headers if value is not None]


NEVER, LEAVES = object(), object()


class Transport:
    """Hands over these parts of a body, and keeps the answer. At NEVER nothing comes any more, at LEAVES the
    client is gone."""

    def __init__(self, parts: Iterable[Any]) -> None:
        self._parts = list(parts)
        self.sent: list[tuple[int, list[tuple[str, str]], bytes]] = []
        self.read = 0

    async def __call__(self) -> bytes:
        return b"".join([part async for part in self._take(raises=True)])

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._take(raises=False)

    async def _take(self, *, raises: bool) -> AsyncIterator[bytes]:
        for part in self._parts:
            if part is NEVER:
                await asyncio.Event().wait()
            if part is LEAVES:
                if raises:
                    raise ProtocolClosed
                return
            self.read += 1
            yield part

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.sent.append((status, headers, body))


def ask(
    made: Front,
    parts: Iterable[Any] = (),
    headers: Iterable[tuple[str, str | None]] = (),
    path: str = "/a",
) -> Transport:
    """What comes of one request."""
    transport = Transport(parts)
    asyncio.run(made.__rsgi__(Scope(path, headers), transport))
    return transport


def test_a_request_reaches_the_application_as_it_was_sent_and_its_answer_goes_back(echo: Echo) -> None:
    with front(echo) as made:
        transport = ask(
            made,
            [b"12", b"", b"345"],
            [("content-length", "5"), ("content-type", "a/b"), ("x-a", "1"), ("x-a", "2")],
            "/a b/é",
        )
    assert transport.sent == [(201, [("X-Answer", "é")], b"hello")]
    [(environ, content)] = echo.asked
    assert content == b"12345"
    assert environ["PATH_INFO"] == "/a b/Ã©"
    assert (environ["QUERY_STRING"], environ["REMOTE_ADDR"]) == ("q=%20", "2001:db8::1")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("127.0.0.1", "80")
    assert (environ["CONTENT_LENGTH"], environ["CONTENT_TYPE"]) == ("5", "a/b")
    assert environ["HTTP_X_A"] == "1,2"
    assert echo.closed == 1


def test_a_header_that_cannot_be_read_is_there_all_the_same(echo: Echo) -> None:
    with front(echo) as made:
        ask(made, (), [("idempotency-key", None), ("x_y", None)])
    [(environ, _)] = echo.asked
    assert environ["HTTP_IDEMPOTENCY_KEY"] == UNREADABLE
    assert "HTTP_X_Y" not in environ


def test_a_body_of_unknown_length_gets_one(echo: Echo) -> None:
    with front(echo) as made:
        ask(made, [b"x" * 60, b"x" * 40], [("transfer-encoding", "chunked")])
    [(environ, content)] = echo.asked
    assert (environ["CONTENT_LENGTH"], len(content)) == ("100", 100)
    assert "HTTP_TRANSFER_ENCODING" not in environ


def test_of_a_body_that_is_too_large_no_more_is_read(echo: Echo) -> None:
    with front(echo) as made:
        asked = [ask(made, [NEVER], [("content-length", "101")])]
        asked += [ask(made, [b"x" * 60, b"x" * 41, NEVER], [("transfer-encoding", "chunked")])]
    assert [environ["CONTENT_LENGTH"] for environ, _ in echo.asked] == ["101", "101"]
    assert [transport.read for transport in asked] == [0, 2]
    # or the client would use the connection again, and find it closed
    assert [("connection", "close") in transport.sent[0][1] for transport in asked] == [True, True]


def test_the_limit_is_that_of_the_path(echo: Echo) -> None:
    with front(echo, limit=lambda path: 5 if path == "/a b" else 1) as made:
        ask(made, [b"12345"], [("content-length", "5")], "/a b")
    assert echo.asked[0][1] == b"12345"


@pytest.mark.parametrize("header", [("content-length", "2"), ("transfer-encoding", "chunked")])
def test_a_body_that_does_not_arrive_is_late(echo: Echo, header: tuple[str, str]) -> None:
    with front(echo, body_seconds=0.01) as made:
        transport = ask(made, [b"x", NEVER], [header])
    [(environ, _)] = echo.asked
    assert environ[LATE] is True
    assert ("connection", "close") in transport.sent[0][1]


def test_who_cancels_a_request_is_not_told_that_its_body_is_late(echo: Echo) -> None:
    async def cancelled(made: Front) -> None:
        scope, transport = Scope("/a", [("content-length", "2")]), Transport([b"x", NEVER])
        task = asyncio.create_task(made.__rsgi__(scope, transport))
        while not transport.read:
            await asyncio.sleep(0)
        task.cancel()
        await task

    with front(echo) as made, pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled(made))
    assert echo.asked == []


@pytest.mark.parametrize("length", ["5", "70000"])
@pytest.mark.parametrize("parts", [[b"12", LEAVES], [b"12"]], ids=["said", "cut short"])
def test_who_leaves_before_the_body_is_whole_is_not_heard(echo: Echo, parts: list[Any], length: str) -> None:
    with front(echo, limit=lambda _: 10**6) as made:
        assert ask(made, parts, [("content-length", length)]).sent == []
    assert echo.asked == []


def test_a_header_cannot_pass_for_another_one_by_an_underscore(echo: Echo) -> None:
    with front(echo) as made:
        ask(made, (), [("x-forwarded-for", "192.0.2.1"), ("x_forwarded_for", "10.0.0.1")])
    [(environ, _)] = echo.asked
    assert environ["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"


@pytest.mark.parametrize("fault", [ZeroDivisionError, SystemExit])
def test_an_application_that_breaks_off_does_not_take_its_thread_with_it(
    echo: Echo, fault: type[BaseException]
) -> None:
    def app(environ: Environ, start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/broken":
            raise fault
        return echo(environ, start)

    with front(app, turns=1, aside=0) as made:
        assert ask(made, path="/broken").sent == []
        assert ask(made).sent[0][0] == 201


def test_an_answer_that_nobody_waits_for_any_more_does_no_harm(echo: Echo) -> None:
    class Gone(Transport):
        def response_bytes(self, *_: Any) -> None:
            raise ProtocolClosed

    with front(echo, turns=1) as made:
        asyncio.run(made.__rsgi__(Scope("/a", ()), Gone(())))
        assert ask(made).sent[0][0] == 201


def test_without_a_body_there_is_nothing_to_wait_for(echo: Echo) -> None:
    with front(echo) as made:
        ask(made)
    assert echo.asked[0][1] == b""


def test_probes_are_answered_while_every_other_thread_waits() -> None:
    waiting, over = threading.Event(), threading.Event()

    def app(environ: Environ, start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            waiting.set()
            over.wait(30)
        start("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    async def probed(made: Front) -> list[bytes]:
        slow = asyncio.create_task(made.__rsgi__(Scope("/slow", ()), Transport(())))
        assert await asyncio.to_thread(waiting.wait, 30)
        asked = [Transport(()) for _ in PROBES]
        for path, transport in zip(PROBES, asked, strict=True):
            await made.__rsgi__(Scope(path, ()), transport)
        assert not slow.done()
        over.set()
        await slow
        return [transport.sent[0][2] for transport in asked]

    with front(app, turns=1) as made:
        assert asyncio.run(probed(made)) == [b"/healthz", b"/readyz", b"/metrics"]


class Pairs:
    """A WSGI application that answers whether two requests are in hand at once; at /aside, after one that has
    stepped aside."""

    def __init__(self) -> None:
        self._meeting = threading.Barrier(2)
        self.waiting, self.over = threading.Event(), threading.Event()

    def __call__(self, environ: Environ, start: Callable[..., Any]) -> Iterable[bytes]:
        start("200 OK", [])
        if environ["PATH_INFO"] == "/aside":
            step_aside()
            self.waiting.set()
            self.over.wait(30)
            return [b"back"]
        try:
            self._meeting.wait(0.2)
        except threading.BrokenBarrierError:
            self._meeting.reset()
            return [b"alone"]
        return [b"together"]


async def pair(made: Front) -> list[bytes]:
    asked = [Transport(()), Transport(())]
    await asyncio.gather(*(made.__rsgi__(Scope("/a", ()), transport) for transport in asked))
    return [transport.sent[0][2] for transport in asked]


@pytest.mark.parametrize(("turns", "seen"), [(1, b"alone"), (2, b"together")])
def test_so_many_requests_are_in_hand_at_once(turns: int, seen: bytes) -> None:
    with front(Pairs(), turns=turns, aside=2) as made:
        assert asyncio.run(pair(made)) == [seen, seen]


def test_who_steps_aside_lets_another_one_in_and_has_no_turn_to_give_twice() -> None:
    app = Pairs()

    async def all_in_turn(made: Front) -> None:
        aside = asyncio.create_task(made.__rsgi__(Scope("/aside", ()), Transport(())))
        assert await asyncio.to_thread(app.waiting.wait, 30)
        assert await pair(made) == [b"alone", b"alone"]
        assert not aside.done()
        app.over.set()
        await aside
        assert await pair(made) == [b"alone", b"alone"]

    with front(app, turns=1, aside=1) as made:
        asyncio.run(all_in_turn(made))


def test_a_probe_says_what_it_has_to_say_however_long_it_waited(echo: Echo) -> None:
    with front(echo, turn_seconds=-1) as made:
        for path in PROBES:
            ask(made, path=path)
    assert [BUSY in environ for environ, _ in echo.asked] == [False] * len(PROBES)


@pytest.mark.parametrize(("seconds", "is_busy"), [(-1, True), (60, None)])
def test_who_has_waited_too_long_is_known(echo: Echo, seconds: float, is_busy: bool | None) -> None:
    with front(echo, turn_seconds=seconds) as made:
        ask(made)
    assert echo.asked[0][0].get(BUSY) is is_busy


def test_the_application_reads_a_large_body_like_a_small_one(echo: Echo) -> None:
    whole = b"x" * 200_000
    with front(echo, limit=lambda _: 10**6) as made:
        ask(made, [whole[:70_000], whole[70_000:]], [("content-length", "200000")])
    assert echo.asked[0][1] == whole
    assert not isinstance(echo.asked[0][0]["wsgi.input"], io.BytesIO)
    assert echo.asked[0][0]["wsgi.input"].closed
