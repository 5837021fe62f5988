"""Two nodes under Patroni: the primary killed or cut off under load, nothing lost that was acknowledged."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from threading import Event
from typing import Any
from uuid import UUID

import psycopg
import requests
import stripe
from psycopg.rows import dict_row

from glue import deploy
from glue.reconcile import Reconciler
from glue.sandbox.signing import signature_header
from tests.chaos.cases import CAPTURE, REFUND, OfBooking
from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, Violation, require, spread
from tests.chaos.stage import Stage
from tests.pg.patroni import Host, Node, Pair, running_pair
from tests.py.http.site import WEBHOOK_SECRET, WEBHOOKS
from tests.py.mirror.world import Booking

CLIENTS = 4
PATIENCE = 180
"""Seconds until a client gives a request up, and the run with it."""
PAYING = 3
"""Every so many-th booking is not paid."""
_numbers = itertools.count(1)

POSTGRES = "SIGKILL of PostgreSQL"
MACHINE = "SIGKILL of PostgreSQL and Patroni"
STRICT = "the same, strictly synchronous"
ASYNCHRONOUS = "the same, asynchronous: reconciled"
PATRONI = "SIGKILL of Patroni alone, PostgreSQL goes on"
FROM_ALL = "cut off from everybody"
FROM_CLUSTER = "cut off from etcd and standby, not from the server"
FROM_STANDBY = "cut off from the standby"
FROM_ETCD = "cut off from etcd"
FROM_SERVER = "cut off from the server"

KILLS = (*[POSTGRES] * 9, *[MACHINE] * 8, *[STRICT] * 4, *[ASYNCHRONOUS] * 3)
"""Twenty and one with synchronous replication."""
CUTS = (FROM_ALL, FROM_CLUSTER, FROM_STANDBY, FROM_ETCD, FROM_SERVER)
WAITING = "select from pg_stat_activity where wait_event = 'SyncRep'"

NOT_SYNCHRONOUS = Control("a commit is answered when the standby has it", tries=3)


@dataclass
class Wish:
    """A student wants a seat, under a key. `told`: every booking that an answer named; `intent`: likewise."""

    student: str
    key: str
    told: list[UUID] = field(default_factory=list)
    intent: str = ""
    is_lost: bool = False
    """An answer said that the booking, once told, is not there."""


@dataclass
class Crowd:
    """What people wished, what they were told, and what Stripe was told of its events."""

    slot: UUID
    wishes: list[Wish] = field(default_factory=list)
    decisions: list[tuple[OfBooking, Booking]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    over: Event = field(default_factory=Event)
    unserved: int = 0
    """Requests that got no answer, or 503."""
    served: list[tuple[float, float]] = field(default_factory=list)
    """When a request was made and when it was answered, of those that were answered well."""

    @property
    def answered(self) -> int:
        return sum(bool(wish.told) for wish in self.wishes)

    def asked(self, ask: Callable[[], requests.Response], *, until_over: bool = False) -> requests.Response:
        """The answer, asked for again as long as there is none."""
        give_up = time.monotonic() + PATIENCE
        while True:
            began = time.monotonic()
            with suppress(requests.RequestException):
                answer = ask()
                if answer.status_code != 503:
                    if answer.ok:
                        self.served.append((began, time.monotonic()))
                    return answer
            self.unserved += 1
            require(time.monotonic() < give_up, "a request is not served any more")
            if until_over and self.over.is_set():
                raise requests.ConnectionError
            time.sleep(0.02)


class Nodes(Stage):
    """A stage on two nodes."""

    pair: Pair

    def __init__(self, pair: Pair, url: str, place: Place, removed: Control | None) -> None:
        self.pair = pair
        self.removed = removed
        super().__init__(url, place, removed)
        # a thread that nobody answers is free again after this and glue.db.GRACE
        self.settings = replace(self.settings, statement_timeout_ms=3_000, lock_timeout_ms=2_000)

    def reconnect(self) -> None:
        """A superuser's session at the primary of now."""
        self.sql.close()
        self.sql = patiently(partial(psycopg.connect, self.url, autocommit=True, row_factory=dict_row))

    def ask_seat(self, crowd: Crowd, wish: Wish) -> requests.Response:
        return self.person(wish.student).post(
            "/api/bookings/create", {"slotId": str(crowd.slot)}, headers={"Idempotency-Key": wish.key}
        )

    def ask_intent(self, wish: Wish) -> requests.Response:
        return self.person(wish.student).post("/api/payment/create-intent", {"bookingId": str(wish.told[-1])})

    def post_event(self, event: Any) -> requests.Response:
        body = json.dumps(event).encode()
        headers = {
            "Content-Type": "application/json",
            "Stripe-Signature": signature_header(body, WEBHOOK_SECRET),
        }
        return requests.post(self.survivor.url + WEBHOOKS, data=body, headers=headers, timeout=30)


class Failover(Scenario[Nodes]):
    title = "PostgreSQL's primary killed or cut off, Patroni makes the standby the primary"
    tries = 30
    short = 1
    per_stage = 15
    controls = (NOT_SYNCHRONOUS,)

    def __init__(self) -> None:
        self._counts = {"bookings acknowledged": 0, "events acknowledged": 0, "requests without an answer": 0}
        self._lost = {"bookings acknowledged and lost": 0, "PaymentIntents orphaned and found": 0}
        self._taken_over: dict[str, int] = {}
        self._recovery: dict[str, list[float]] = {}

    @contextmanager
    def stage(self, place: Place, removed: Control | None) -> Iterator[Nodes]:
        changes = {"synchronous_mode": removed is not NOT_SYNCHRONOUS}
        with running_pair(separate=not self.quick, **changes) as pair:
            with psycopg.connect(pair.url("postgres"), autocommit=True) as connection:
                connection.execute("create database chaos")
            url = pair.url("chaos")
            deploy.migrate(url)
            made = Nodes(pair, url, place, removed)
            try:
                made.remove_guard()
                yield made
            finally:
                made.close()

    def attempt(self, stage: Nodes, number: int, rng: random.Random) -> str:
        kinds = (POSTGRES,) if self.quick else (*KILLS, PATRONI, *CUTS)
        stage.kind = kind = spread(kinds, number)
        if not self.quick and not stage.removed:
            self.configure(stage, kind)
        crowd = Crowd(stage.slot(10_000))
        if kind != ASYNCHRONOUS:
            crowd.decisions = [(case, case.before(stage)) for case in (CAPTURE, REFUND, CAPTURE)]
        began = datetime.now(UTC) - timedelta(minutes=1)
        with ThreadPoolExecutor(CLIENTS + 2) as people:
            work = [people.submit(book_on, stage, crowd) for _ in range(CLIENTS)]
            work += [people.submit(decide_on, stage, crowd), people.submit(post_events, stage, crowd)]
            try:
                wait_for(lambda: crowd.answered >= rng.randrange(3, 12) or failed(work))
                before = stage.pair.primary()
                seconds = self.strike(stage, crowd, kind)
                taken_over = stage.pair.primary() is not before
                if not self.quick:  # it takes some seconds until the old primary follows the new one
                    stage.pair.wait_until_whole()
            finally:
                crowd.over.set()
                stage.pair.mend()
                stage.pair.revive()
            for each in work:
                each.result()
        self._recovery.setdefault(kind, []).append(seconds)
        self._taken_over[kind] = self._taken_over.get(kind, 0) + taken_over
        if kind in (MACHINE, STRICT):  # nobody is left who could start the old one again in place
            require(taken_over, "the standby did not take over")
        stage.reconnect()
        if kind == ASYNCHRONOUS:
            self.reconcile(stage, crowd, began)
            return kind
        self.require_kept(stage, crowd)
        stage.heal()
        for case, booking in crowd.decisions:
            case.require_effect(stage, booking)
        stage.require_sound()
        return kind

    def configure(self, stage: Nodes, kind: str) -> None:
        wanted = {
            "synchronous_mode": kind != ASYNCHRONOUS,
            "synchronous_mode_strict": kind == STRICT,
        }
        if any(stage.pair.settings[name] != value for name, value in wanted.items()):
            stage.pair.configure(**wanted)

    # -- the fault

    def strike(self, stage: Nodes, crowd: Crowd, kind: str) -> float:
        """The fault, and its end; the longest time in seconds in which nobody was served."""
        pair = stage.pair
        primary = pair.primary()
        if kind in CUTS:
            return self.cut_off(stage, crowd, kind, primary)
        if kind == PATRONI:
            primary.kill_programs()
            began = time.monotonic()
            wait_for(lambda: pair.other(primary).says("primary"))
            require(primary.postmaster(), "there are not two primaries")
            pair.revive()
            return pause_since(crowd, began)
        self.fall_behind(primary, crowd)
        primary.kill_postgres() if kind == POSTGRES else primary.kill()
        began = time.monotonic()
        if kind == STRICT:  # alone, the other one must not acknowledge anything
            wait_for(lambda: pair.other(primary).says("primary"))
            pair.revive()
        seconds = pause_since(crowd, began)
        pair.revive()
        return seconds

    def fall_behind(self, primary: Node, crowd: Crowd) -> None:
        """The primary's last commits do not reach the standby: until one waits for that, or three do not."""
        answered = crowd.answered
        primary.stop_sending()
        with psycopg.connect(primary.url, autocommit=True) as there:
            wait_for(lambda: there.execute(WAITING).fetchone() is not None or crowd.answered > answered + 3)

    def cut_off(self, stage: Nodes, crowd: Crowd, kind: str, primary: Node) -> float:
        pair = stage.pair
        standby = pair.other(primary)
        others: dict[str, tuple[Host, ...]] = {
            FROM_ALL: (pair.etcd, standby, pair.server),
            FROM_CLUSTER: (pair.etcd, standby),
            FROM_STANDBY: (standby,),
            FROM_ETCD: (pair.etcd,),
            FROM_SERVER: (pair.server,),
        }
        for other in others[kind]:
            pair.cut(primary, other)
        began = time.monotonic()
        if kind == FROM_SERVER:  # nobody else can take over: Patroni finds nothing wrong
            unserved = crowd.unserved
            wait_for(lambda: crowd.unserved >= unserved + CLIENTS)
            pair.mend()
            return pause_since(crowd, time.monotonic())
        if kind != FROM_STANDBY:
            wait_for(lambda: standby.says("primary"))
        seconds = pause_since(crowd, began)
        pair.mend()
        return seconds

    # -- what must hold

    def require_kept(self, stage: Nodes, crowd: Crowd) -> None:
        """Whatever was acknowledged is there, and every wish came true once."""
        rows = stage.sql.execute(
            "select b.id, b.student_id, p.stripe_payment_intent_id as intent from booking.bookings b"
            " left join booking.payments p on p.id = b.payment_id where b.slot_id = %s",
            (crowd.slot,),
        ).fetchall()
        there = {row["id"]: row for row in rows}
        lost = [wish for wish in crowd.wishes if wish.is_lost or not set(wish.told) <= there.keys()]
        require(not lost, f"{len(lost)} acknowledged bookings are lost")
        for wish in crowd.wishes:
            require(len(set(wish.told)) == 1, f"one wish came to {len(set(wish.told))} bookings")
            intent = there[wish.told[0]]["intent"]
            require(intent == wish.intent, "an acknowledged PaymentIntent is lost")
        require(len(rows) == len(crowd.wishes), f"{len(rows)} bookings of {len(crowd.wishes)} wishes")
        for event in crowd.events:
            known = "select booking.is_webhook_processed(p_event_id => %s) as known"
            row = stage.sql.execute(known, (event,)).fetchone()
            require(row and row["known"], "an acknowledged event is lost")
        self.count(crowd)

    def count(self, crowd: Crowd) -> None:
        self._counts["bookings acknowledged"] += len(crowd.wishes) + len(crowd.decisions)
        self._counts["events acknowledged"] += len(crowd.events)
        self._counts["requests without an answer"] += crowd.unserved

    def reconcile(self, stage: Nodes, crowd: Crowd, began: datetime) -> None:
        """What was acknowledged may be gone; every PaymentIntent that nobody knows any more is named."""
        self.count(crowd)
        there = {row["id"] for row in stage.sql.execute("select id from booking.bookings")}
        lost = [wish for wish in crowd.wishes if not set(wish.told) <= there]
        require(lost, "nothing was lost: the primary was not ahead of its standby")
        self._lost["bookings acknowledged and lost"] += len(lost)
        for wish in crowd.wishes:
            if wish not in lost:  # their students ask again: the same PaymentIntent, if it was forgotten
                stage.ask_intent(wish)
        stage.delivered = 0  # Stripe sends everything again
        stage.heal()
        ours = {str(row["id"]) for row in stage.sql.execute("select id from booking.payments")}
        orphans = {
            row["id"]
            for row in stage.control.books()["payment_intents"]
            if row["metadata"].get("payment_id") not in ours and row["id"] not in stage.orphans
        }
        end = datetime.now(UTC) + timedelta(minutes=1)
        found = Reconciler(stage.db, stage.gateway, stage.mirror, patience=0).run(began, end).differences
        odd = {(row["kind"], row["stripe_id"]) for row in found if row["stripe_id"] not in stage.orphans}
        require(odd == {("missing_here", intent) for intent in orphans}, f"reconciled: {odd}, not {orphans}")
        self._lost["PaymentIntents orphaned and found"] += len(orphans)
        for intent in orphans:  # as docs/operations.md says
            with suppress(stripe.InvalidRequestError):
                stage.customer.v1.payment_intents.cancel(intent)
        stage.orphans |= orphans
        stage.heal()
        stage.require_sound(alerts={"reconciliation_difference"} if orphans else ())
        stage.resolve_alerts()

    def facts(self) -> dict[str, Any]:
        every = sorted(itertools.chain(*self._recovery.values())) or [0.0]
        return {
            **self._counts,
            **self._lost,
            "the standby took over, by fault": self._taken_over,
            "seconds in which nobody is served, median": round(every[len(every) // 2], 1),
            "seconds in which nobody is served, longest": round(every[-1], 1),
            "seconds in which nobody is served, by fault": {
                kind: [round(each, 1) for each in sorted(waits)] for kind, waits in self._recovery.items()
            },
        }


# -- people ------------------------------------------------------------------------------------------------


def book_on(stage: Nodes, crowd: Crowd) -> None:
    """Books and pays for one student after the other, and asks again until each is served."""
    while not crowd.over.is_set():
        number = next(_numbers)
        wish = Wish(f"guest-{number}", f"key-{number}")
        crowd.wishes.append(wish)
        answer = crowd.asked(partial(stage.ask_seat, crowd, wish))
        require(answer.status_code == 201, f"a seat was refused: {answer.text}")
        wish.told.append(UUID(answer.json()["bookingId"]))
        answer = crowd.asked(partial(stage.ask_intent, wish))
        if answer.status_code == 404:
            wish.is_lost = True
            continue
        require(answer.status_code == 200, f"a PaymentIntent was refused: {answer.text}")
        wish.intent = answer.json()["paymentIntentId"]
        if number % PAYING:
            stage.pay(wish.intent)
        # the same again, as by an impatient client
        answer = crowd.asked(partial(stage.ask_seat, crowd, wish))
        require(answer.status_code == 201, f"a repeated request was refused: {answer.text}")
        wish.told.append(UUID(answer.json()["bookingId"]))


def decide_on(stage: Nodes, crowd: Crowd) -> None:
    """Experts confirm and a student cancels; they ask again until they are told that it is done."""
    for case, booking in crowd.decisions:
        answer = crowd.asked(partial(case.ask, stage, booking))
        decided = answer.status_code == 409 and answer.json()["error"]["code"] == "already_processed"
        require(answer.status_code == 200 or decided, f"a decision was refused: {answer.text}")


def post_events(stage: Nodes, crowd: Crowd) -> None:
    """Stripe posts its events, each until it is answered."""
    sent = len(stage.control.events())
    with suppress(requests.ConnectionError):
        while not crowd.over.is_set():
            for event in stage.control.events()[sent:]:
                answer = crowd.asked(partial(stage.post_event, event), until_over=True)
                require(answer.status_code == 200, f"an event was refused: {answer.text}")
                crowd.events.append(event["id"])
                sent += 1
            time.sleep(0.02)


def pause_since(crowd: Crowd, began: float) -> float:
    """Seconds of the longest time since then in which nobody was answered well, until somebody is again."""
    now = time.monotonic()
    wait_for(lambda: any(asked > now for asked, _ in crowd.served))
    times = [began, *sorted(answered for _, answered in crowd.served if answered > began)]
    return max(later - earlier for earlier, later in pairwise(times))


def failed(work: list[Any]) -> bool:
    return any(each.done() and each.exception() for each in work)


def wait_for(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        require(time.monotonic() < give_up, "it does not come about")
        time.sleep(0.01)


def patiently(connect: Callable[[], psycopg.Connection[Any]]) -> psycopg.Connection[Any]:
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return connect()
        except psycopg.OperationalError as error:
            if time.monotonic() > give_up:
                raise Violation(f"there is no primary: {error}") from error
            time.sleep(0.05)


SCENARIO = Failover
