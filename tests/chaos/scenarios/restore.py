"""The database lost and restored to an earlier moment, while Stripe has gone on: nothing is done twice."""

from __future__ import annotations

import itertools
import json
import os
import pwd
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import requests
from stripe import InvalidRequestError

from glue.embedded import Cluster
from tests.chaos import sabotage
from tests.chaos.backup import archiving, blocks, run, typed
from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, Violation, require, spread
from tests.chaos.scenarios.database import connected, own_port
from tests.chaos.stage import Stage
from tests.pg.servers import _memory, _undertaker, running_server
from tests.py.http.site import WEBHOOK_SECRET, WEBHOOKS
from tests.py.mirror.world import KEY, PRICE, Row

TIME, LSN, NAME = "to a time", "to a place in the WAL", "to a name"
AS_WRITTEN, WORKER_FIRST, LATE = "as written", "a worker first", "a worker first, a day later"
KINDS = list(itertools.product((AS_WRITTEN, LATE, WORKER_FIRST), (TIME, LSN, NAME)))
VERSION, ACCOUNT = 15, "postgres"
"""Debian's: in the wheel of 18, pg_verifybackup does not even say its version."""
CLIENTS = 4
ASKED = PRICE // 5
BY_HAND = 100
"""Minor units that somebody gives back in Stripe's dashboard."""

PLANS: dict[str, tuple[tuple[str, ...], tuple[str, int, int]]] = {
    "pay": (("book", "intent", "pay"), ("authorized", 0, 0)),
    "confirm": (("book", "intent", "pay", "confirm"), ("captured", PRICE, 0)),
    "decline": (("book", "intent", "pay", "decline"), ("cancelled", 0, 0)),
    "cancel": (
        ("book", "intent", "pay", "confirm", "cancel"),
        ("partially_refunded", PRICE, PRICE // 2),
    ),
    "ask": (
        ("book", "intent", "pay", "confirm", "ask", "approve"),
        ("partially_refunded", PRICE, ASKED),
    ),
}
"""What people do one after the other, and what the payment comes to: status, captured, refunded."""

_numbers = itertools.count(1)


class Gone(Exception):
    """The database is away."""


@dataclass
class Step:
    """A request: when it was made and when it was answered, 0 for never."""

    name: str
    asked: float
    answered: float = 0.0


@dataclass
class Story:
    """What one student wishes, and what was said about it."""

    plan: str
    student: str
    key: str
    slot: UUID
    expert: str
    booking: UUID | None = None
    intent: str = ""
    request: str = ""
    given_back: str = ""
    """The PaymentIntent of which a part went back by hand."""
    steps: list[Step] = field(default_factory=list)

    def ended(self, name: str) -> bool:
        return any(step.name == name and step.answered for step in self.steps)


@dataclass(frozen=True)
class Point:
    """The moment to restore to: between these two of our clock, and as PostgreSQL wants it."""

    before: float
    after: float
    target: str


class Vault(Stage):
    """A stage on a server that archives its WAL, and that can be lost and restored."""

    cluster: Cluster
    backup: Path

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.stories: list[Story] = []
        self.work: list[Future[None]] = []
        self.gone = threading.Event()

    def open(self) -> None:
        """Stripe's events go to the server that people talk to."""
        self.control.set_webhook(self.survivor.url + WEBHOOKS, WEBHOOK_SECRET)
        # Stripe takes its time, so that the moment meets commands that are on their way
        self.control.fault("latency", ms=150, times=1_000_000, method="POST", path_regex=r"/capture|/refunds")

    @property
    def done(self) -> int:
        """Steps that were answered."""
        return sum(1 for story in self.stories for step in story.steps if step.answered)

    def wait_for(self, more: int) -> None:
        """Until so many more steps are answered."""
        enough, give_up = self.done + more, time.monotonic() + 120
        while self.done < enough:
            for each in self.work:
                if each.done():
                    each.result()
            require(time.monotonic() < give_up, "nobody gets on")
            time.sleep(0.01)

    def type(self, commands: str, **more: object) -> str:
        return typed(commands, self.cluster.bin_dir, ACCOUNT, ADMIN_URL=self.url, BACKUP=self.backup, **more)

    # -- the moment, the loss, the restore

    def mark(self, how: str) -> Point:
        """Now, while a refund is on its way if that comes about soon."""
        soon = time.monotonic() + 10
        while self.sql.execute(ON_ITS_WAY).fetchone() is None and time.monotonic() < soon:
            time.sleep(0.002)
        before = time.monotonic()
        setting, query = MARKS[how]
        row = self.sql.execute(query).fetchone()
        assert row is not None
        return Point(before, time.monotonic(), f"{setting} = '{row['mark']}'")

    def lose(self, *, disk: bool) -> None:
        """Lost at once. With the disk goes what was not archived."""
        if disk:
            row = self.sql.execute("select pg_walfile_name(pg_switch_wal()) as name").fetchone()
            assert row is not None
            archived = "select from pg_stat_archiver where last_archived_wal >= %s"
            give_up = time.monotonic() + 120
            while self.sql.execute(archived, (row["name"],)).fetchone() is None:
                if time.monotonic() > give_up:
                    state = self.sql.execute("select * from pg_stat_archiver").fetchone()
                    raise Violation(f"{row['name']} is not archived: {state}")
                time.sleep(0.01)
        self.cluster.stop("immediate")
        self.gone.set()

    def rebuild(self, point: Point, *, disk: bool) -> None:
        """As the document says."""
        folder = Path(tempfile.mkdtemp(prefix="pgbooking-restored-", dir=_memory()))
        _give(folder)
        restored = Cluster(folder, auth="trust", bin_dir=self.cluster.bin_dir, system_user=ACCOUNT)
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self._stack.enter_context(_undertaker(restored))
        self._stack.callback(restored.stop, "immediate")
        rescue, restore = blocks("Restore to a moment")
        if not disk:
            self.type(rescue, OLD=self.cluster.data)
        self.type(restore, DATA=restored.data, TARGET=point.target)
        self.sql.close()
        self.sql = connected(self.url)
        self.db.close()
        self.db = self.new_db()
        self.mirror = self.new_mirror()

    def close_shop(self) -> None:
        """The server ends with the database; Stripe's events reach nobody any more."""
        self.control.set_webhook(None)
        self.control.clear_faults()
        self.survivor.kill()
        self.__dict__.pop("survivor")
        self.delivered = len(self.control.events())

    # -- what the administrator types

    def administer(self, line: str, since: datetime, until: datetime | None) -> Row:
        """A line of the document with --json; what it printed."""
        to = f" --to {until:%Y-%m-%dT%H:%M:%SZ}" if until else ""
        environment = {
            "DATABASE_URL": f"{self.url}?options=-crole%3Dbooking_app",
            "STRIPE_SECRET_KEY": KEY,
            "STRIPE_API_BASE": self.stripe_url,
            "SINCE": f"{since:%Y-%m-%dT%H:%M:%SZ}",
        }
        done = run(f"{line} --json{to}", self.cluster.bin_dir, "", environment)
        require(done.returncode in (0, 1) and done.stdout, f"{line}: {done.stdout}{done.stderr}")
        return dict(json.loads(done.stdout))


MARKS = {
    TIME: ("recovery_target_time", "select clock_timestamp()::text as mark"),
    LSN: ("recovery_target_lsn", "select pg_current_wal_insert_lsn()::text as mark"),
    NAME: (
        "recovery_target_name",
        "select 'before it went wrong' as mark from pg_create_restore_point('before it went wrong')",
    ),
}
ON_ITS_WAY = (
    "select from booking.stripe_commands c where c.operation = 'create_refund' and c.status <> 'done' limit 1"
)


def _give(folder: Path) -> None:
    if os.geteuid() == 0:
        account = pwd.getpwnam(ACCOUNT)
        os.chown(folder, account.pw_uid, account.pw_gid)


class Restore(Scenario[Vault]):
    title = "Database lost and restored to a moment between, Stripe has gone on"
    tries = 18
    short = 1
    per_stage = 1
    controls = (
        Control(
            "a refund that Stripe has is reported",
            tries=9,
            first=6,
            edits=(
                (
                    "reconciliation/compare_with_stripe.sql",
                    "j.their_refunded is not null and not j.is_over),",
                    "false),",
                ),
            ),
        ),
        Control(
            "a command older than a day is looked for before it is sent",
            tries=9,
            first=1,
            python=sabotage.forgetful,
        ),
    )

    def __init__(self) -> None:
        self._counts = dict.fromkeys(
            (
                "steps before the moment",
                "steps lost",
                "differences found before Stripe's events were applied",
                "PaymentIntents of lost bookings, each of them named",
                "commands open at the moment",
            ),
            0,
        )

    @contextmanager
    def stage(self, place: Place, removed: Control | None) -> Iterator[Vault]:
        backup = Path(tempfile.mkdtemp(prefix="pgbooking-backup-", dir=_memory()))
        (backup / "wal").mkdir()
        _give(backup)
        _give(backup / "wal")
        try:
            with running_server(VERSION, archiving(backup / "wal"), own_port()) as cluster:
                own = Place(cluster.url(), sandbox=place.sandbox)
                made = Vault(own.at(own.new_database()), own, removed)  # it ends with its server
                made.cluster, made.backup = cluster, backup
                try:
                    made.remove_guard()
                    yield made
                finally:
                    made.gone.set()
                    made.close()
        finally:
            shutil.rmtree(backup, ignore_errors=True)

    def attempt(self, stage: Vault, number: int, rng: random.Random) -> str:
        order, how = spread(KINDS, number)
        disk = rng.random() < 0.5
        stage.kind = f"{how}, {order}"
        stage.open()
        plans = itertools.cycle(rng.sample([*PLANS, "cancel", "confirm"], len(PLANS) + 2))
        with ThreadPoolExecutor(CLIENTS) as clients:
            try:
                stage.work = [clients.submit(live_on, stage, plans) for _ in range(CLIENTS)]
                few = 3 if self.quick else 1
                stage.wait_for(rng.randrange(5, 15) // few)
                stage.type(*blocks("Take a base backup"))
                stage.wait_for(rng.randrange(5, 20) // few)
                point = stage.mark(how)
                stage.wait_for(rng.randrange(15, 40) // few)
                stage.lose(disk=disk)
            finally:
                stage.gone.set()
            for each in stage.work:
                each.result()
        stage.close_shop()
        while_away(stage, rng)
        stage.rebuild(point, disk=disk)
        self.require_exactly(stage, point)
        since, until = datetime.now(UTC) - timedelta(days=8), None
        replay, reconcile = blocks("Bring it in line with Stripe")[0].splitlines()
        reconcile += " --patience 0"
        if order == AS_WRITTEN:
            found = stage.administer(reconcile, since, None)["differences"]
            require_found(stage, found)
            self._counts["differences found before Stripe's events were applied"] += len(found)
        else:
            until = work_first(stage, timedelta(hours=25) if order == LATE else timedelta())
        told = stage.administer(replay, since, until)
        require(told["failed"] == 0, f"events could not be applied: {told}")
        found = stage.administer(reconcile, since, until)["differences"]
        require_found(stage, found)
        wrong = [row for row in found if row["kind"] != "missing_here"]
        require(not wrong, f"what a machine could heal is left: {wrong}")
        stage.orphans = gone_for_good(stage, [row["stripe_id"] for row in found])
        self._counts["PaymentIntents of lost bookings, each of them named"] += len(stage.orphans)
        for intent in stage.orphans:
            see_to(stage, intent)
        stage.lapse_leases()
        stage.drain()
        for story in stage.stories:
            go_through(stage, story, again=True)
        stage.heal()
        for story in stage.stories:
            judge(stage, story)
        stage.require_sound(alerts=("reconciliation_difference", "refund_unexpected"))
        return stage.kind

    def require_exactly(self, stage: Vault, point: Point) -> None:
        """What was acknowledged before the moment is there, and nothing that was asked for after it."""
        there = {row["student_id"]: row for row in stage.sql.execute("select * from booking.bookings")}
        for story in stage.stories:
            found = there.get(story.student)
            for step in story.steps:
                is_before = 0 < step.answered < point.before
                self._counts["steps before the moment"] += is_before
                self._counts["steps lost"] += step.answered > 0 and not is_before
                if step.name == "book":
                    require(found or not is_before, "a booking from before the moment is lost")
                    require(not found or step.asked < point.after, "a booking from after the moment is there")
                elif step.name in DECISIONS and is_before:
                    status = found and found["status"]
                    require(status in ("confirmed", "declined", "cancelled"), f"a decision is lost: {status}")
        open_ = stage.sql.execute(
            "select from booking.stripe_commands where status in ('pending', 'running')"
        )
        self._counts["commands open at the moment"] += open_.rowcount

    def facts(self) -> dict[str, Any]:
        return dict(self._counts)


DECISIONS = ("confirm", "decline", "cancel")

# -- what people do ----------------------------------------------------------------------------------------


def live_on(stage: Vault, plans: Iterator[str]) -> None:
    """One story after the other until the database is gone."""
    while not stage.gone.is_set():
        number, plan = next(_numbers), next(plans)
        try:
            slot, expert = stage.offer(10 if plan == "cancel" else 48)
            story = Story(plan, f"guest-{number}", f"key-{number}", slot, expert)
            stage.stories.append(story)
            go_through(stage, story)
        except (Gone, requests.RequestException, psycopg.Error):
            if not stage.gone.wait(60):
                raise
            return


def go_through(stage: Vault, story: Story, *, again: bool = False) -> None:
    """Every step of a story. Raises Gone when the database does not answer."""
    for name in PLANS[story.plan][0]:
        step = Step(name, time.monotonic())
        story.steps.append(step)
        STEPS[name](stage, story, again)
        step.answered = time.monotonic()


def answered(response: requests.Response, *fine: int, code: str = "") -> Row:
    """The answer's body. `code`: of a refusal that says that it was done before."""
    body = dict(response.json())
    if response.status_code in fine or (code and body.get("error", {}).get("code") == code):
        return body
    if response.status_code >= 500:
        raise Gone
    raise Violation(f"refused: {response.text}")


def book(stage: Vault, story: Story, again: bool) -> None:
    key = story.key
    if again and not stage.sql.execute("select from booking.slots where id = %s", (story.slot,)).rowcount:
        story.slot, story.expert = stage.offer(10 if story.plan == "cancel" else 48)
        key += "-again"
    body = {"slotId": str(story.slot)}
    response = stage.person(story.student).post(
        "/api/bookings/create", body, headers={"Idempotency-Key": key}
    )
    story.booking = UUID(answered(response, 201)["bookingId"])


def intent(stage: Vault, story: Story, again: bool) -> None:
    response = stage.person(story.student).post(
        "/api/payment/create-intent", {"bookingId": str(story.booking)}
    )
    story.intent = answered(response, 200, code="already_processed").get("paymentIntentId", story.intent)


def pay(stage: Vault, story: Story, again: bool) -> None:
    """The card is held; the event tells the server."""
    with suppress(InvalidRequestError):  # it was paid before
        stage.pay(story.intent)
    if again:
        stage.deliver()
        return
    page = f"/api/bookings/{story.booking}"
    while answered(stage.person(story.student).get(page), 200)["paymentStatus"] != "authorized":
        if stage.gone.is_set():
            raise Gone
        time.sleep(0.05)


def confirm(stage: Vault, story: Story, again: bool) -> None:
    action = "decline" if story.plan == "decline" else "confirm"
    body = {"bookingId": str(story.booking), "action": action}
    response = stage.person(story.expert, "expert").post("/api/bookings/expert/confirm", body)
    answered(response, 200, code="already_processed" if again else "")


def cancel(stage: Vault, story: Story, again: bool) -> None:
    response = stage.person(story.student).post("/api/bookings/cancel", {"bookingId": str(story.booking)})
    answered(response, 200, code="already_processed" if again else "")


def ask(stage: Vault, story: Story, again: bool) -> None:
    student = stage.person(story.student)
    rows = student.get("/api/refunds").json()["requests"] if again else []
    if rows:
        story.request = rows[0]["requestId"]
        return
    body = {"bookingId": str(story.booking), "amount": ASKED, "reason": "Half of it was missing."}
    story.request = answered(student.post("/api/refunds/request", body), 201)["requestId"]


def approve(stage: Vault, story: Story, again: bool) -> None:
    """The administrator looks at the alerts first, as the document says."""
    decision = "approve"
    if again and stage.sql.execute(TOLD, (story.booking,)).rowcount:
        decision = "reject"
    path = f"/api/admin/refunds/{story.request}/decision"
    response = stage.person("ann", "admin").post(path, {"decision": decision})
    answered(response, 200, code="already_processed" if again else "")


TOLD = (
    "select from booking.list_alerts() a join booking.payments p on p.id::text = a.detail ->> 'payment_id'"
    " where a.kind = 'refund_unexpected' and p.booking_id = %s"
)
STEPS: dict[str, Callable[[Vault, Story, bool], None]] = {
    "book": book,
    "intent": intent,
    "pay": pay,
    "confirm": confirm,
    "decline": confirm,
    "cancel": cancel,
    "ask": ask,
    "approve": approve,
}

# -- while the database is away, and afterwards ------------------------------------------------------------


def while_away(stage: Vault, rng: random.Random) -> None:
    """Students pay what was prepared for them, and somebody gives money back in the dashboard."""
    for story in stage.stories:
        if story.intent and not story.ended("pay") and rng.random() < 0.5:
            with suppress(InvalidRequestError):
                stage.pay(story.intent)
    captured = [story for story in stage.stories if story.plan == "confirm" and story.ended("confirm")]
    for story in captured[:2]:
        if stage.intent(story.intent)["captured"]:
            stage.customer.v1.refunds.create({"payment_intent": story.intent, "amount": BY_HAND})
            story.given_back = story.intent


def work_first(stage: Vault, pause: timedelta) -> datetime:
    """Somebody starts a worker too early, so much later; until when Stripe's events are to be applied."""
    stage.control.advance(seconds=pause.total_seconds())
    gateway = stage.new_gateway(now=lambda: datetime.now(UTC) + pause)
    stage.lapse_leases()
    stage.drain(stage.new_mirror(gateway))
    return datetime.now(UTC) + pause + timedelta(minutes=1)


def require_found(stage: Vault, found: Sequence[Row]) -> None:
    """The reconciliation found what the two books, laid side by side, show. What an open command explains is
    no difference."""
    ours = {str(row["id"]): row for row in stage.sql.execute("select * from booking.payments")}
    waiting = {row["stripe_id"] for row in stage.commands() if row["status"] in ("pending", "running")}
    expected = set()
    for theirs in stage.control.books()["payment_intents"]:
        row = ours.get(theirs["metadata"].get("payment_id", ""))
        if row is None:
            expected.add((theirs["id"], "missing_here"))
            continue
        for kind in ("captured", "refunded"):
            if row[f"amount_{kind}"] != theirs[kind] and theirs["id"] not in waiting:
                expected.add((theirs["id"], kind))
    kinds = ("missing_here", "captured", "refunded")
    listed = {(row["stripe_id"], row["kind"]) for row in found if row["kind"] in kinds}
    listed = {(intent, kind) for intent, kind in listed if intent not in waiting}
    require(listed == expected, f"found {listed - expected} too much, {expected - listed} too little")


def gone_for_good(stage: Vault, intents: Sequence[str]) -> set[str]:
    """Those whose booking is gone. The others are unpaid, and their students go on with them."""
    here = {str(row["payment_id"]) for row in stage.sql.execute("select * from booking.bookings")}
    found = set()
    for intent in intents:
        theirs = stage.intent(intent)
        if theirs["metadata"].get("payment_id") not in here:
            found.add(intent)
        else:
            unpaid = not theirs["charges"]
            require(unpaid, "a payment whose booking is here was not brought back by its events")
    return found


def see_to(stage: Vault, intent: str) -> None:
    """What the document tells a person to do with a PaymentIntent of a booking that is gone."""
    theirs = stage.intent(intent)
    if theirs["captured"] > theirs["refunded"]:
        stage.customer.v1.refunds.create({"payment_intent": intent})
    elif not theirs["captured"] and theirs["status"] != "canceled":
        stage.customer.v1.payment_intents.cancel(intent)


def judge(stage: Vault, story: Story) -> None:
    """The student has paid once and got back what he was to get back, over all PaymentIntents there were."""
    row = stage.sql.execute(
        "select p.status::text, p.amount_captured, p.amount_refunded, p.stripe_payment_intent_id as intent"
        " from booking.bookings b join booking.payments p on p.id = b.payment_id where b.id = %s",
        (story.booking,),
    ).fetchone()
    require(row, "a booking is lost")
    assert row is not None
    status, captured, refunded = PLANS[story.plan][1]
    if row["intent"] == story.given_back:
        status, refunded = ("partially_refunded", refunded + BY_HAND)
    mine = (row["status"], row["amount_captured"], row["amount_refunded"])
    require(mine == (status, captured, refunded), f"{story.plan}: the payment came to {mine}")
    for theirs in stage.control.books()["payment_intents"]:
        require(theirs["charges"] <= 1, f"{theirs['charges']} charges of one booking")
        if theirs["id"] in stage.orphans:
            require(theirs["captured"] == theirs["refunded"], "the money of a lost booking is kept")
            require(not theirs["amount_capturable"], "the hold of a lost booking is kept")


SCENARIO = Restore
