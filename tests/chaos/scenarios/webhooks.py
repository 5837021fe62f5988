"""Stripe's events in every order, twice, many at once, forged, stale, under changing secrets, poisoned."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import requests
from flask import Flask
from psycopg.types.json import Jsonb
from werkzeug.test import TestResponse

import glue.routes.webhooks
from glue.app import create_app
from glue.sandbox.signing import signature_header
from tests.chaos.explore import Explorer, orders_of
from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, require
from tests.chaos.stage import Stage, fresh
from tests.chaos.stories import NAMES, Tale, record, slot_of
from tests.py.http.site import OLD_WEBHOOK_SECRET, WEBHOOK_SECRET, WEBHOOKS
from tests.py.mirror.world import Row, wait_until

PLAY = (Path(__file__).parents[1] / "play.sql").read_bytes()
CLIENTS = 20
TURNS = 50
"""How often each kind is tried in a full run."""
ALL, DRAWN = 450, 150
"""Of a story with at most so many orders each is told from its beginning, of others so many drawn ones."""
FLIPPED = 10_000
"""Bits of a body, and as many of a header."""
TOLERANCE = 300
NEW, OLD, REMOVED = WEBHOOK_SECRET, OLD_WEBHOOK_SECRET, "whsec_removed_long_ago"

ORDERS = "orders of a story"
AT_ONCE = "one event, 20 at once"
FLIPS = "a bit is flipped"
SECRETS = "stale, replayed, rotated"
POISON = "poison"
KINDS = (ORDERS, AT_ONCE, FLIPS, SECRETS, POISON)

COVERED = "orders, each of them tried"
STATES = "states that they pass through"
STEPS = "steps told from a state"
TOLD = "orders told from beginning to end"

FLIPPABLE = ("bits flipped in a body", "bits flipped in a header")

WAITING = (
    "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    f" having count(*) = {CLIENTS}"
)
POISONED = """
create table play.poison (payment_id uuid primary key, state text not null);
create function play.poison() returns trigger language plpgsql as $$
declare
  v_state text := (select p.state from play.poison p where p.payment_id = new.id);
begin
  if v_state is not null then
    raise exception 'poison' using errcode = v_state;
  end if;
  return new;
end
$$;
grant usage on schema play to public;
grant select on play.poison to public;
create trigger poison before update on booking.payments for each row execute function play.poison();
"""


class Gate(Stage):
    """A stage with the tools to tell events again."""

    def __init__(self, url: str, place: Place, removed: Control | None) -> None:
        super().__init__(url, place, removed)
        self.sql.execute(PLAY)
        self.sql.execute(POISONED)
        self.sql.execute("set synchronous_commit = off")
        self.settings = replace(
            self.settings, database_pool_size=CLIENTS + 4, lock_timeout_ms=60_000, statement_timeout_ms=60_000
        )
        self.slots: dict[str, UUID | None] = {}
        self.app = cache(self._app)

    def _app(self, secrets: tuple[str, ...]) -> Flask:
        """The application in this process, knowing these secrets."""
        made = create_app(
            replace(self.settings, stripe_webhook_secrets=secrets, database_pool_size=2), self.db
        )
        services = made.extensions["pgbooking"]
        for each in (services.mirror, services.gateway, services.invoices):
            self._stack.callback(each.close)
        return made

    def post(
        self, body: bytes, header: str | None = None, *, secrets: tuple[str, ...] = (NEW, OLD)
    ) -> TestResponse:
        """A webhook to the application in this process; signed with NEW unless a header is given."""
        signature = signature_header(body, NEW) if header is None else header
        with self.app(secrets).test_client() as client:
            return client.post(
                WEBHOOKS,
                data=body,
                content_type="application/json",
                environ_overrides={"HTTP_STRIPE_SIGNATURE": signature},
            )

    def value(self, query: Any, *params: Any) -> Any:
        row = self.sql.execute(query, params).fetchone()
        assert row is not None
        return next(iter(row.values()))

    def play(self, tale: Tale, order: list[int]) -> Row:
        """What a tale comes to when its steps are told in this order."""
        if tale.name not in self.slots:
            self.slots[tale.name] = slot_of(self, tale)
        steps = [tale.steps[number].told for number in order]
        found: Row = self.value("select play.play(%s, 5000, %s)", self.slots[tale.name], Jsonb(steps))
        return found

    def paid(self, tale: Tale) -> tuple[UUID, Row]:
        """Somebody has paid for a class, and nobody has heard: the payment, and the event that tells it."""
        if tale.name not in self.slots:
            self.slots[tale.name] = slot_of(self, tale)
        tag = str(self.value("select nextval('play.tags')"))
        booking = self.value("select play.booking(%s, %s)", self.slots[tale.name], tag)
        payment = self.value("select payment_id from booking.bookings where id = %s", booking)
        [step] = [each for each in tale.steps if each.what == "payment_intent.succeeded"]
        text = (
            json.dumps(step.told["event"]).replace("PAYMENT", str(payment)).replace("BOOKING", str(booking))
        )
        event: Row = json.loads(text.replace("TAG", f"TAG{tag}"))
        return payment, event

    def came_in(self, payment: UUID) -> list[int]:
        """What the ledger says came in, one number a time."""
        rows = self.sql.execute(
            "select amount from booking.transfers where payment_id = %s and kind = 'capture'", (payment,)
        )
        return [row["amount"] for row in rows]

    def require_invariants(self) -> None:
        broken = self.sql.execute("select * from booking.check_invariants()").fetchall()
        require(not broken, f"invariants are violated: {broken}")


def body_of(event: Row) -> bytes:
    return json.dumps(event).encode()


def unchecked() -> Callable[[], None]:
    """Nobody looks at signatures."""
    module = glue.routes.webhooks
    checked = module.verified_payload

    def mend() -> None:
        module.verified_payload = checked

    module.verified_payload = lambda settings, body, signature: body.decode(errors="replace")
    return mend


def timeless() -> Callable[[], None]:
    """A signature stays good for ever."""
    module = glue.routes.webhooks
    before = module.TOLERANCE

    def mend() -> None:
        module.TOLERANCE = before

    module.TOLERANCE = 10**9
    return mend


class Webhooks(Scenario[Gate]):
    title = "Webhooks in every order, twice, 20 at once, forged, stale, poisoned"
    tries = TURNS * len(KINDS)
    short = len(KINDS)
    per_stage = 125
    controls = (
        Control(
            "a status that is reached is never left",
            edits=(
                (
                    "payments/apply_payment_status.sql",
                    "elsif p_target = 'authorized' and not v_status = any (v_before_hold) then",
                    "elsif false then",
                ),
            ),
            tries=25,
        ),
        Control(
            "one delivery claims the event's id",
            edits=(
                (
                    "webhooks/process_webhook_event.sql",
                    "w.stripe_event_id = v_id and w.status = 'failed' for no key update",
                    "w.stripe_event_id = v_id for no key update",
                ),
            ),
            tries=25,
            first=KINDS.index(AT_ONCE),
        ),
        Control("signatures are checked", python=unchecked, tries=25, first=KINDS.index(FLIPS)),
        Control("signatures grow old", python=timeless, tries=25, first=KINDS.index(SECRETS)),
        Control(
            "who was tried least is tried first",
            edits=(
                (
                    "webhooks/retry_failed_webhooks.sql",
                    "order by w.attempts, w.received_at",
                    "order by w.received_at",
                ),
            ),
            tries=25,
            first=KINDS.index(POISON),
        ),
    )

    def __init__(self) -> None:
        self._counts = dict.fromkeys(
            (COVERED, STATES, STEPS, TOLD, "repeated events", "at once", *FLIPPABLE, "signatures"), 0
        )
        self._pairs: list[tuple[Tale, tuple[int, ...]]] = []
        self._tales: list[Tale] = []
        """Those of which every order is tried."""
        self._first: dict[str, Row] = {}

    @contextmanager
    def stage(self, place: Place, removed: Control | None) -> Iterator[Gate]:
        tales = recorded(place, FEW if self.quick else NAMES)
        if not self._pairs:
            self._tales = [tales[name] for name in (SHORT if self.quick else NAMES)]
            most = (3, 3) if self.quick else (ALL, DRAWN)
            self._pairs = [
                (tale, order)
                for tale in tales.values()
                for order in tale.orders(*most, random.Random(tale.name))
            ]
        with fresh(Gate, place, removed) as made:
            self._first = {}
            yield made

    def attempt(self, stage: Gate, number: int, rng: random.Random) -> str:
        turn, kind = divmod(number, len(KINDS))
        stage.kind = KINDS[kind]
        {
            ORDERS: self.orders,
            AT_ONCE: self.at_once,
            FLIPS: self.flips,
            SECRETS: self.secrets,
            POISON: self.poison,
        }[stage.kind](stage, turn, rng)
        stage.require_invariants()
        return stage.kind

    def orders(self, stage: Gate, turn: int, rng: random.Random) -> None:
        """Every order of a story comes to what Stripe's own order comes to, also when events come again."""
        every = 1 if self.quick else TURNS
        for tale in self._tales[turn % every :: every]:
            with fresh(Gate, stage.place, stage.removed) as made:
                explorer = Explorer(made, tale)
                explorer.explore()
            self._counts[COVERED] += orders_of(tale)
            self._counts[STATES] += len(explorer.states)
            self._counts[STEPS] += explorer.told
        for tale, order in self._pairs[turn % every :: every]:
            if tale.name not in self._first:
                self._first[tale.name] = stage.play(tale, list(range(len(tale.steps))))
            told = list(order)
            events = [place for place in range(len(told)) if tale.steps[told[place]].is_event]
            for place in sorted(rng.sample(events, rng.randrange(min(4, len(events) + 1))), reverse=True):
                told.insert(rng.randrange(place + 1, len(told) + 1), told[place])
                self._counts["repeated events"] += 1
            self._counts[TOLD] += 1
            names = " > ".join(tale.steps[number].what for number in told)
            try:
                found = stage.play(tale, told)
            except psycopg.Error as error:
                require(False, f"{tale.name}: {names}: {error}")
                raise
            first = self._first[tale.name]
            odd = {key: (first[key], found[key]) for key in first if first[key] != found[key]}
            require(not odd, f"{tale.name}: {names}: not as in Stripe's order: {odd}")

    def at_once(self, stage: Gate, turn: int, rng: random.Random) -> None:
        """The same event from many clients: all wait for the payment, then all go on."""
        with ThreadPoolExecutor(CLIENTS) as clients:
            for _ in range(1 if self.quick else 10):
                payment, event = stage.paid(TALES["instant"])
                body = body_of(event)
                headers = {
                    "Stripe-Signature": signature_header(body, NEW),
                    "Content-Type": "application/json",
                }
                address = f"{stage.survivor.url}{WEBHOOKS}"
                with psycopg.connect(stage.url) as holder:
                    holder.execute("select from booking.payments where id = %s for update", (payment,))
                    sent = [
                        clients.submit(requests.post, address, body, headers=headers, timeout=120)
                        for _ in range(CLIENTS)
                    ]
                    wait_until(stage.sql, WAITING)
                told = [each.result() for each in sent]
                require({each.status_code for each in told} == {200}, f"refused: {told[0].text}")
                results = sorted(each.json()["result"] for each in told)
                require(
                    results == ["duplicate"] * (CLIENTS - 1) + ["processed"], f"not processed once: {results}"
                )
                require(stage.came_in(payment) == [5000], f"captured {stage.came_in(payment)}")
                self._counts["at once"] += CLIENTS

    def flips(self, stage: Gate, turn: int, rng: random.Random) -> None:
        """One bit of the body, or of the header, is another one: 400, and nothing is stored."""
        payment, event = stage.paid(TALES["instant"])
        body = body_of(event)
        header = signature_header(body, NEW).encode()
        before = self._stored(stage)
        for _ in range(20 if self.quick else FLIPPED // TURNS):
            for what, whole in zip(FLIPPABLE, (body, header), strict=True):
                place, wrong = rng.randrange(len(whole)), bytearray(whole)
                wrong[place] ^= 1 << rng.randrange(8)
                sent, signed = (wrong, header) if whole is body else (body, wrong)
                answer = stage.post(bytes(sent), signed.decode("latin-1"))
                require(answer.status_code == 400, f"{what} at {place}: {answer.status_code}")
                self._counts[what] += 1
        require(self._stored(stage) == before, "something was stored")
        answer = stage.post(body, header.decode())
        require(answer.get_json() == {"received": True, "result": "processed"}, f"refused: {answer.text}")
        require(stage.came_in(payment) == [5000], "no effect")

    def secrets(self, stage: Gate, turn: int, rng: random.Random) -> None:
        """Which signatures are taken while secrets change and clocks go on; a replayed body has no effect."""
        both, after = (NEW, OLD), (NEW,)
        now = int(time.time())
        fresh_at = now - rng.randrange(TOLERANCE - 60)
        stale_at = now - TOLERANCE - 1 - rng.choice((0, rng.randrange(3600), rng.randrange(10**9)))
        cases: list[tuple[tuple[str, ...], int, tuple[str, ...], bool]] = [
            ((NEW,), fresh_at, both, True),
            ((OLD,), fresh_at, both, True),
            ((OLD, NEW), fresh_at, both, True),
            ((REMOVED, OLD), fresh_at, both, True),
            ((OLD, NEW), fresh_at, after, True),
            ((OLD,), fresh_at, after, False),
            ((REMOVED,), fresh_at, both, False),
            ((NEW,), stale_at, both, False),
            ((OLD, NEW), stale_at, both, False),
            ((NEW,), stale_at, after, False),
        ]
        rng.shuffle(cases)
        for signers, at, known, taken in cases:
            payment, event = stage.paid(TALES["instant"])
            body = body_of(event)
            header = signature_header(body, signers, timestamp=at)
            before = self._stored(stage)
            answer = stage.post(body, header, secrets=known)
            said = f"signed by {signers}, {now - at} s ago, known are {known}: {answer.text}"
            require(answer.status_code == (200 if taken else 400), said)
            require(taken or self._stored(stage) == before, f"stored: {said}")
            require(stage.came_in(payment) == ([5000] if taken else []), f"effect: {said}")
            again = stage.post(body, header, secrets=known)
            require(again.status_code == answer.status_code, f"replayed: {said}")
            require(not taken or again.get_json()["result"] == "duplicate", f"replayed: {again.text}")
            require(stage.came_in(payment) == ([5000] if taken else []), f"replayed, effect: {said}")
            old = stage.post(body, signature_header(body, NEW, timestamp=stale_at))
            require(old.status_code == 400, f"a body of {now - stale_at} s ago was taken")
            self._counts["signatures"] += 3

    def poison(self, stage: Gate, turn: int, rng: random.Random) -> None:
        """Some events can not be applied: the others go on, and those that are healed are applied by the
        retries although the poison is older."""
        poison = [stage.paid(TALES["instant"]) for _ in range(rng.randrange(1, 5))]
        sick = [stage.paid(TALES["instant"]) for _ in range(rng.randrange(1, 6))]
        for payment, _ in poison + sick:
            state = rng.choice(("P0001", "22012", "23514", "XX000", "PT409"))
            stage.sql.execute("insert into play.poison values (%s, %s)", (payment, state))
        for _, event in poison + sick:
            require(stage.post(body_of(event)).status_code == 500, "a poison event was applied")
            well, other = stage.paid(TALES["instant"])
            require(stage.post(body_of(other)).status_code == 200, "another event was held back")
            require(stage.came_in(well) == [5000], "another event had no effect")
        self._heal(stage, sick)
        at_once = rng.randrange(1, 4)
        for _ in range(math.ceil((len(poison) + len(sick)) / at_once)):
            stage.value("select booking.retry_failed_webhooks(%s)", at_once)
        for payment, event in sick:
            require(stage.came_in(payment) == [5000], "a healed event was not applied by the retries")
            require(stage.post(body_of(event)).get_json()["result"] == "duplicate", "applied twice")
        payment, event = poison[0]
        require(stage.post(body_of(event)).status_code == 500, "Stripe was told that all is well")
        kinds = stage.alerts()
        require(kinds.count("webhook_failed") == len(poison), f"alerts are {kinds}")
        self._heal(stage, poison)
        # of one, Stripe's own repetition comes first
        require(stage.post(body_of(event)).get_json()["result"] == "processed", "not applied when healed")
        for _ in range(math.ceil(len(poison) / at_once)):
            stage.value("select booking.retry_failed_webhooks(%s)", at_once)
        for payment, _ in poison:
            require(stage.came_in(payment) == [5000], "not applied when healed")
        require("webhook_failed" not in stage.alerts(), "an alert stays open")

    def _heal(self, stage: Gate, events: list[tuple[UUID, Row]]) -> None:
        payments = [payment for payment, _ in events]
        stage.sql.execute("delete from play.poison where payment_id = any (%s)", (payments,))

    def _stored(self, stage: Gate) -> Row:
        row = stage.sql.execute(
            "select (select count(*) from booking.webhook_events) as events,"
            " (select count(*) from booking.booking_events) as trail,"
            " (select count(*) from booking.transfers) as ledger,"
            " (select md5(string_agg(p::text, '' order by p.id)) from booking.payments p) as payments"
        ).fetchone()
        assert row is not None
        return row

    def facts(self) -> dict[str, Any]:
        return {**self._counts, "stories": len(TALES)}


TALES: dict[str, Tale] = {}


SHORT = ("instant", "authorize, capture")
FEW = ("instant", "authorize, capture", "authorize, cancel", "capture, cancel, the refund fails later")
"""In the short run: of which stories every order is tried, and of which some are told."""


def recorded(place: Place, names: Sequence[str]) -> dict[str, Tale]:
    """The stories, lived through once with all guards in place; in the end ours and Stripe's books agree."""
    if not TALES.keys() >= set(names):
        with fresh(Gate, place, None) as made:
            for name in names:
                TALES[name] = record(made, name)
                made.drain()
                if not name.startswith("Checkout"):  # a purchase that fails leaves its PaymentIntent behind
                    made.require_sound(alerts=("refund_failed", "dispute"))
    return {name: TALES[name] for name in names}


SCENARIO = Webhooks
