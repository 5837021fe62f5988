"""More than a server can take, of everything: who asks for something reasonable meanwhile is served."""

from __future__ import annotations

import json
import math
import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import requests

from glue.invoices.renderer import MOST_WAITING
from glue.sandbox.signing import signature_header
from tests.chaos import sabotage
from tests.chaos.actors import Server
from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, Violation, require
from tests.chaos.stage import Stage, fresh
from tests.py.http.site import WEBHOOK_SECRET, WEBHOOKS, Person, as_server, base_env, token
from tests.py.http.test_serve import granian
from tests.py.mirror.world import KEY, wait_until

BIG = "bodies of 100 MB"
SLOW = "slow clients"
POOL = "every connection to the database waits"
PAYMENTS = "every call to Stripe hangs"
EVENTS = "100 webhooks at once"
BOOKINGS = "50 bookings at once"
MEMORY = "memory"
KINDS = (BIG, SLOW, POOL, PAYMENTS, EVENTS, BOOKINGS, MEMORY)
TURNS = 6
REQUESTS = 20_000
GROWTH = 50 * 1024 * 1024
"""Bytes by which the server may grow over all requests."""
PATIENCE = 5.0
"""Seconds that somebody reasonable waits for an answer. A call that hangs is given up after 8."""
BLOCK = b"x" * 65_536


class House(Stage):
    """A stage with `pgbooking serve` as in production. `many`: more clients than twice its threads."""

    url_of_server: str
    process: subprocess.Popen[str]
    many: int
    size: int
    """Bytes of a body that is too large."""
    slowest = 0.0
    """Seconds until somebody reasonable was answered, the most."""

    def person(self, user: str, role: str = "student", server: Server | None = None) -> Person:
        return Person(server.url if server else self.url_of_server, user, f"Bearer {token(user, role)}")

    def connect(self) -> socket.socket:
        parts = urlsplit(self.url_of_server)
        return socket.create_connection((parts.hostname, parts.port), timeout=60)

    def memory(self) -> int:
        """Bytes of the server's processes."""
        parent = psutil.Process(self.process.pid)
        return sum(each.memory_info().rss for each in (parent, *parent.children(recursive=True)))

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        """As somebody reasonable. Raises Violation when there is no answer, or a late one."""
        began = time.monotonic()
        try:
            answer = requests.request(method, self.url_of_server + path, timeout=PATIENCE, **more)
        except requests.RequestException as error:
            raise Violation(f"{method} {path} is not served: {type(error).__name__}") from None
        seconds = time.monotonic() - began
        require(seconds < PATIENCE, f"{method} {path} is served after {seconds:.1f} s")
        self.slowest = max(self.slowest, seconds)
        return answer

    def require_served(self) -> None:
        """Somebody else asks whether the server is alive, looks at bookings, and books."""
        self.require_alive()
        student = {"Authorization": self.person("visitor").authorization}
        answer = self.ask("GET", "/api/bookings", headers=student)
        require(answer.status_code == 200, f"a list was refused: {answer.text}")
        slot, _ = self.offer(48)
        answer = self.ask("POST", "/api/bookings/create", json={"slotId": str(slot)}, headers=student)
        require(answer.status_code == 201, f"a booking was refused: {answer.text}")

    def require_alive(self) -> None:
        answer = self.ask("GET", "/healthz")
        require(answer.status_code == 200, f"the server is not alive: {answer.text}")


class Load(Scenario[House]):
    title = (
        "Load: 100 MB bodies, slow clients, hanging database or Stripe, 100 webhooks and 50 bookings at once"
    )
    tries = TURNS * len(KINDS)
    short = len(KINDS)
    per_stage = TURNS * len(KINDS)
    controls = (
        Control("a body has a limit", python=sabotage.endless_bodies, tries=7),
        Control(
            "a body is whole before it costs a thread",
            python=sabotage.bodies_on_threads,
            tries=7,
            first=KINDS.index(SLOW),
        ),
        Control(
            "probes have a thread of their own",
            python=sabotage.probes_in_line,
            tries=7,
            first=KINDS.index(POOL),
        ),
        Control(
            "few requests wait for Stripe at once",
            python=sabotage.endless_calls,
            tries=7,
            first=KINDS.index(PAYMENTS),
        ),
        Control("what was answered is forgotten", python=sabotage.leak, tries=7, first=KINDS.index(MEMORY)),
    )

    def __init__(self) -> None:
        self._warm = 0
        self._grown: list[int] = []
        self._slowest = 0.0
        self._counts = {"requests": 0, "clients at once, most": 0}

    @contextmanager
    def stage(self, place: Place, removed: Control | None) -> Iterator[House]:
        pool, payments = (2, 2) if self.quick else (8, 10)
        with fresh(House, place, removed) as made, ExitStack() as stack:
            env = base_env(as_server(made.url), place.sandbox.url) | {
                "STRIPE_SECRET_KEY": KEY,
                "LOG_LEVEL": "CRITICAL",
                "DATABASE_POOL_SIZE": str(pool),
                "MAX_CONCURRENT_PAYMENTS": str(payments),
                "CLIENT_TIMEOUT_SECONDS": "60",
                "LOCK_TIMEOUT_MS": "60000",
                "STATEMENT_TIMEOUT_MS": "60000",
                "LEAK": "500000" if self.quick else "30000",  # see sabotage.leak
            }
            before = ""
            if removed is not None and removed.python is not None:
                before = (
                    f"from {removed.python.__module__} import {removed.python.__name__} as remove; remove(); "
                )
            made.url_of_server, made.process = stack.enter_context(granian(env, threads=None, before=before))
            made.many = 2 * (pool + payments + MOST_WAITING) + 4
            made.size = (20 if self.quick else 100) * 1024 * 1024
            self._warm = 0
            try:
                yield made
            finally:
                self._slowest = max(self._slowest, made.slowest)

    def attempt(self, stage: House, number: int, rng: random.Random) -> str:
        stage.kind = KINDS[number % len(KINDS)]
        {
            BIG: self.big,
            SLOW: self.slow,
            POOL: self.pool,
            PAYMENTS: self.payments,
            EVENTS: self.events,
            BOOKINGS: self.bookings,
            MEMORY: self.mixed,
        }[stage.kind](stage, rng)
        stage.require_served()
        stage.heal()
        stage.require_sound()
        return stage.kind

    # -- what is too much

    def big(self, stage: House, rng: random.Random) -> None:
        """100 MB by Content-Length or in chunks: 413, and most of it is not taken."""
        over = threading.Event()
        before = stage.memory()
        with ThreadPoolExecutor(4) as senders:
            sent = [
                senders.submit(send_big, stage, over, path, chunked)
                for path in (WEBHOOKS, "/api/bookings/create")
                for chunked in (False, True)
            ]
            try:
                stage.require_served()
            finally:
                over.set()
            for each in sent:
                for answer, taken in each.result():
                    require(answer in (b"", b"HTTP/1.1 413"), f"answered {answer!r}")
                    require(taken < stage.size, f"{taken} bytes were taken")
        grown = stage.memory() - before
        require(grown < GROWTH, f"grown by {grown} bytes")

    def slow(self, stage: House, rng: random.Random) -> None:
        """Clients that stop in the middle of the headers, of the body, or of a chunk."""
        count = stage.many * 2 if self.quick else 600
        self._counts["clients at once, most"] = max(self._counts["clients at once, most"], count)
        with ExitStack() as stack:
            clients = [stack.enter_context(stage.connect()) for _ in range(count)]
            for number, client in enumerate(clients):
                client.sendall(BEGUN[number % len(BEGUN)])
            stage.require_served()
            for client in clients:
                client.setblocking(False)
                with suppress(BlockingIOError):
                    said = client.recv(100)
                    raise Violation(f"the fault was over before others were served: {said!r}")

    def pool(self, stage: House, rng: random.Random) -> None:
        """Everybody who books waits for a lock. Afterwards each is served, or told to come again."""
        slot = stage.slot(1000)
        with ThreadPoolExecutor(stage.many) as clients:
            with psycopg.connect(stage.url) as holder:
                holder.execute("select from booking.slots where id = %s for update", (slot,))
                holder.execute("select from booking.slot_seats where slot_id = %s for update", (slot,))
                asked = [
                    clients.submit(
                        stage.person(f"waiting-{number}").post,
                        "/api/bookings/create",
                        {"slotId": str(slot)},
                    )
                    for number in range(stage.many)
                ]
                wait_until(stage.sql, f"{WAITING} = {2 if self.quick else 8}")
                stage.require_alive()
            told = [each.result() for each in asked]
        booked = sum(answer.status_code == 201 for answer in told)
        for answer in told:
            later = answer.status_code == 503 and "Retry-After" in answer.headers
            require(answer.status_code == 201 or later, f"refused: {answer.text}")
        row = stage.sql.execute(
            "select count(*) as n from booking.bookings where slot_id = %s", (slot,)
        ).fetchone()
        assert row is not None
        require(row["n"] == booked, f"{row['n']} bookings, {booked} were told so")
        require(booked > 0, "nobody was served")

    def payments(self, stage: House, rng: random.Random) -> None:
        """Stripe does not answer: as many wait for it as may, one more is told `pending` at once."""
        most = 2 if self.quick else 10
        held = [stage.authorized() for _ in range(stage.many)]
        stage.control.barrier(
            "hang", when="before", times=stage.many, path="/v1/payment_intents", method="POST"
        )
        with ThreadPoolExecutor(stage.many) as clients:

            def confirm(booking: Any) -> requests.Response:
                expert = stage.person(booking.expert, "expert")
                return expert.post(
                    "/api/bookings/expert/confirm", {"bookingId": str(booking.id), "action": "confirm"}
                )

            first: list[Future[requests.Response]] = [clients.submit(confirm, each) for each in held[:most]]
            try:
                stage.control.wait_barrier("hang", most, timeout=60)
                more = [clients.submit(confirm, each) for each in held[most:]]
                stage.require_served()
            finally:
                stage.control.release_barrier("hang")
            for each in first + more:
                answer = each.result()
                require(answer.status_code == 200, f"a decision was refused: {answer.text}")
                require(answer.json()["mirror"] in ("done", "pending"), f"{answer.text}")

    def events(self, stage: House, rng: random.Random) -> None:
        """The events of many payments at once, each from a connection of its own, in any order."""
        stage.deliver()
        begun = len(stage.control.events())
        for _ in range(4 if self.quick else 34):
            booking = stage.book()
            stage.pay(stage.create_intent(booking))
        events = stage.control.events()[begun:]
        stage.delivered += len(events)
        rng.shuffle(events)
        self._counts["clients at once, most"] = max(self._counts["clients at once, most"], len(events))
        with ThreadPoolExecutor(len(events)) as clients:
            told = list(clients.map(lambda event: posted(stage, event), events))
        require({answer.status_code for answer in told} == {200}, f"refused: {told[0].text}")
        held = stage.sql.execute(
            "select p.status::text as status from booking.payments p"
            " where p.stripe_payment_intent_id = any (%s)",
            ([event["data"]["object"]["id"] for event in events],),
        ).fetchall()
        require({row["status"] for row in held} == {"authorized"}, f"payments are {held}")

    def bookings(self, stage: House, rng: random.Random) -> None:
        """Fifty students at once want one of forty seats."""
        count, seats = (10, 8) if self.quick else (50, 40)
        slot = stage.slot(seats)
        with ThreadPoolExecutor(count) as clients:
            told = list(
                clients.map(lambda number: booked(stage, f"eager-{slot}-{number}", str(slot)), range(count))
            )
        codes = sorted(answer.status_code for answer in told)
        require(codes == [201] * seats + [409] * (count - seats), f"answers are {codes}")

    def mixed(self, stage: House, rng: random.Random) -> None:
        """All kinds of requests, good and bad, one after the other from a few clients."""
        count = 150 if self.quick else math.ceil(REQUESTS / TURNS)
        if not self._warm:
            self._requests(stage, 50 if self.quick else 2000)
            self._warm = stage.memory()
        self._requests(stage, count)
        self._counts["requests"] += count
        grown = stage.memory() - self._warm
        self._grown.append(grown)
        require(grown < GROWTH, f"grown by {grown} bytes")

    def _requests(self, stage: House, count: int) -> None:
        slot = str(stage.slot(100_000))
        stage.pay(stage.create_intent(stage.book()))
        event = stage.control.events()[-1]

        def some(first: int) -> None:
            with requests.Session() as session:
                for number in range(first, count, 4):
                    status, answer = one_of_many(session, stage, slot, event, number)
                    require(answer.status_code == status, f"{status} expected: {answer.text}")

        with ThreadPoolExecutor(4) as clients:
            list(clients.map(some, range(4)))

    def facts(self) -> dict[str, Any]:
        return {
            **self._counts,
            "seconds until somebody else is served, longest": round(self._slowest, 2),
            "megabytes grown, most": round(max(self._grown, default=0) / 2**20, 1),
        }


WAITING = (
    "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    " and application_name = 'pgbooking-http' having count(*)"
)
BEGUN = (
    f"POST {WEBHOOKS} HTTP/1.1\r\nHost: shop\r\nX-".encode(),
    f"POST {WEBHOOKS} HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\n{{".encode(),
    f"POST {WEBHOOKS} HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{{".encode(),
    b"",
)
"""What slow clients send before they send no more."""


def send_big(stage: House, over: threading.Event, path: str, chunked: bool) -> list[tuple[bytes, int]]:
    """Again and again until it is over: how each was answered, and how much was taken."""
    found = []
    size = stage.size
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    bearer = stage.person("big").authorization
    head = (
        f"POST {path} HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n"
        f"Authorization: {bearer}\r\n{length}\r\n\r\n"
    )
    block = b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK) if chunked else BLOCK
    while True:
        taken, answer = 0, b""
        with stage.connect() as client:
            with suppress(OSError):
                client.sendall(head.encode())
                while taken < size:
                    client.sendall(block)
                    taken += len(BLOCK)
                client.sendall(b"0\r\n\r\n" if chunked else b"")
            with suppress(OSError):
                answer = client.recv(12)
        found.append((answer, taken))
        if over.is_set():
            return found


def posted(stage: House, event: Any) -> requests.Response:
    """An event as Stripe sends it."""
    body = json.dumps(event).encode()
    headers = {"Content-Type": "application/json", "Stripe-Signature": signature_header(body, WEBHOOK_SECRET)}
    return requests.post(stage.url_of_server + WEBHOOKS, data=body, headers=headers, timeout=60)


def booked(stage: House, student: str, slot: str) -> requests.Response:
    """As a client that comes again when it is told to."""
    while True:
        answer = stage.person(student).post(
            "/api/bookings/create", {"slotId": slot}, headers={"Idempotency-Key": student}
        )
        if answer.status_code != 503:
            return answer


def one_of_many(
    session: requests.Session, stage: House, slot: str, event: dict[str, Any], number: int
) -> tuple[int, requests.Response]:
    """One request of the mix, and the status that it should be answered with. The event says again, under an
    id of its own, what is known already."""
    person = stage.person(f"guest-{number % 1000}")
    headers = {"Authorization": person.authorization}
    buyer = {"Authorization": stage.person(f"buyer-{slot}-{number}").authorization}
    told = json.dumps({**event, "id": f"evt_{slot}_{number}"}).encode()
    signed = {"Content-Type": "application/json", "Stripe-Signature": signature_header(told, WEBHOOK_SECRET)}
    asks: tuple[tuple[int, str, str, dict[str, Any]], ...] = (
        (200, "GET", "/healthz", {}),
        (200, "GET", "/api/bookings", {"headers": headers}),
        (200, "GET", f"/api/slots?from={FROM}&to={TO}", {"headers": headers}),
        (401, "GET", "/api/bookings", {"headers": {"Authorization": f"Bearer {number}"}}),
        (404, "GET", f"/nothing/{number}", {}),
        (400, "POST", WEBHOOKS, {"data": b"x" * 5000, "headers": {"Stripe-Signature": f"t={number},v1=0"}}),
        (400, "POST", "/api/bookings/create", {"json": {"slotId": str(number)}, "headers": headers}),
        (413, "POST", "/api/bookings/create", {"json": {"slotId": "x" * 70_000}, "headers": headers}),
        (200, "GET", "/readyz", {}),
        (404, "GET", f"/api/bookings/00000000-0000-7000-8000-{number:012}", {"headers": headers}),
        (201, "POST", "/api/bookings/create", {"json": {"slotId": slot}, "headers": buyer}),
        (200, "POST", WEBHOOKS, {"data": told, "headers": signed}),
    )
    status, method, path, more = asks[number % len(asks)]
    return status, session.request(method, stage.url_of_server + path, timeout=60, **more)


FROM, TO = "2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z"
SCENARIO = Load
