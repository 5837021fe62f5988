"""Days of 23 and 25 hours, leap days, wrong clocks, time that passes while somebody waits, every kind of
currency, and money given back in random parts."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import requests
from psycopg.rows import dict_row

from glue.routes.webhooks import TOLERANCE
from glue.sandbox.signing import signature_header
from tests.chaos import sabotage
from tests.chaos.actors import Server
from tests.chaos.cases import CAPTURE, OF_A_REQUEST, REFUND, Case
from tests.chaos.clocks import AstrayServer, AstrayWorker
from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, Violation, require
from tests.chaos.stage import Stage, fresh
from tests.py.http.site import WEBHOOK_SECRET, WEBHOOKS, token
from tests.py.mirror.world import Booking
from tests.py.races.helpers import CANCEL, CLEANUP, ROOT, Arena

SPLITS, ZONES, CURRENCIES, WAITS, CLOCKS, SERVERS = (
    "a payment given back in random parts",
    "hours that a change of the clocks adds or takes away",
    "a currency from price to invoice",
    "time passes while somebody waits for a lock",
    "the database's clock ten minutes wrong",
    "the server's clock ten minutes wrong",
)
KINDS = (ZONES, SPLITS, CURRENCIES, WAITS, CLOCKS, SERVERS, SPLITS, ZONES, SPLITS, SPLITS, SPLITS)
BATCH = 500
"""Payments of a try of SPLITS."""

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
CHANGES = [
    ("Europe/Berlin", datetime(2027, 3, 28, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2027, 10, 31, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2027, 3, 14, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2027, 11, 7, 6, tzinfo=UTC)),
    # half an hour
    ("Australia/Lord_Howe", datetime(2027, 4, 3, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2027, 10, 2, 15, 30, tzinfo=UTC)),
    # a leap day, and the turn of a year
    ("Asia/Kathmandu", datetime(2028, 2, 29, 0, tzinfo=UTC)),
    ("Pacific/Kiritimati", datetime(2028, 3, 1, 0, tzinfo=UTC)),
    ("Pacific/Pago_Pago", datetime(2028, 1, 1, 0, tzinfo=UTC)),
]
STEPS = {"bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10, "isk": 100, "ugx": 100}
"""The smallest amounts that Stripe takes, where they are not one minor unit."""
WHOLE = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split()  # noqa: SIM905
MONEY = (*WHOLE, *STEPS, "usd", "eur", "gbp", "chf", "huf", "twd", "inr", "mxn")
HERE = Path(__file__).parent.parent

CANCEL_FILE = "bookings/cancel_booking_transaction.sql"
_text = (ROOT / "db" / "functions" / CANCEL_FILE).read_text()
READ = "  v_now := booking.clock();\n"
WAIT = _text[_text.index("  select b.status, b.student_id") : _text.index(READ)]


class Era(Stage):
    """A stage whose clock can be moved, with the helpers of SQL tests in it."""

    def open(self) -> None:
        self.arena = Arena(self.url)
        self._stack.callback(self.leave)
        with self.sql.transaction():
            self.sql.execute((HERE / "splits.sql").read_bytes())

    def leave(self) -> None:
        for each in (*self.arena._sessions, self.arena.watch):
            each.close()

    def set_time(self, time: datetime | None) -> None:
        self.sql.execute("update test.time set at = %s", (time,))

    def shift_clock(self, minutes: int) -> None:
        self.sql.execute("update test.time set shift = %s * interval '1 minute'", (minutes,))

    def zone(self, name: str) -> psycopg.Connection[dict[str, Any]]:
        """A session that lives by the clocks of a place."""
        made = psycopg.connect(self.url, autocommit=True, row_factory=dict_row)
        self._stack.callback(made.close)
        made.execute("select set_config('timezone', %s, false)", (name,))
        return made


class Times(Scenario[Era]):
    title = "Changes of the clocks, wrong clocks, expiry while waiting, currencies, refunds in random parts"
    tries = 440
    short = 6
    per_stage = 22
    controls = (
        Control(
            "what is on its way back is not given again",
            edits=(
                (
                    "refunds/refundable_amount.sql",
                    "p.amount_captured - booking.refunds_promised(p.id)",
                    "p.amount_captured",
                ),
                (
                    "payments/settle_payment.sql",
                    "exit when not v_is_lost and"
                    " booking.refunds_promised(v_payment.id) - v_own <= v_payment.amount_captured;",
                    "exit when not v_is_lost;",
                ),
            ),
            tries=20,
            first=1,
        ),
        Control(
            "a day in the settings has 24 hours",
            sql=("drop trigger keep_settings on booking.settings",),
            tries=40,
        ),
        Control(
            "the clock is read after the wait",
            edits=((CANCEL_FILE, WAIT + READ, READ + WAIT),),
            tries=40,
            first=3,
        ),
        Control(
            "a key is trusted for an hour less than Stripe keeps it",
            python=sabotage.full_day,
            tries=44,
            first=KINDS.index(SERVERS),
        ),
        Control(
            "the database says when a command is due",
            python=sabotage.own_turns,
            tries=44,
            first=KINDS.index(SERVERS),
        ),
        Control(
            "requests are counted by a clock that nobody sets",
            python=sabotage.limits_by_the_day,
            tries=44,
            first=len(KINDS) + KINDS.index(SERVERS),  # a server that is ahead
        ),
    )

    _batch = BATCH

    def __init__(self) -> None:
        self._parts: Counter[str] = Counter()

    @contextmanager
    def stage(self, place: Place, removed: Control | None) -> Iterator[Era]:
        with fresh(Era, place, removed) as era:
            era.open()
            self._batch = 20 if self.quick or removed else BATCH
            yield era

    def attempt(self, stage: Era, number: int, rng: random.Random) -> str:
        kind = stage.kind = KINDS[number % len(KINDS)]
        try:
            match kind:
                case "a payment given back in random parts":
                    self._parts.update(split(stage, rng, self._batch))
                case "hours that a change of the clocks adds or takes away":
                    change_clocks(stage, rng)
                case "a currency from price to invoice":
                    sell_in(stage, rng.choice(MONEY), rng)
                case "time passes while somebody waits for a lock":
                    wait_too_long(stage, rng)
                case "the server's clock ten minutes wrong":
                    serve_astray(stage, 600 if number // len(KINDS) % 2 else -600, rng)
                case _:
                    run_late(stage, rng)
        finally:
            stage.set_time(None)
        require_invariants(stage)
        return kind

    def facts(self) -> dict[str, Any]:
        return dict(self._parts)


def require_invariants(stage: Era) -> None:
    broken = stage.sql.execute("select * from booking.check_invariants()").fetchall()
    require(not broken, f"invariants are violated: {broken}")


def split(stage: Era, rng: random.Random, count: int) -> dict[str, int]:
    """So many payments, on two connections at once."""
    currency = rng.choice(("usd", "jpy", "kwd", "isk"))
    amount = STEPS.get(currency, 1) * rng.choice((1, 2, 3, 7, 99, 1000, rng.randint(1, 99_999)))
    hours = rng.choice((1, 12, 48))

    def half(seed: float) -> int:
        given = 0
        with psycopg.connect(stage.url, autocommit=True) as conn:
            conn.execute("select setseed(%s)", (seed,))
            (slot,) = conn.execute(
                "select test.make_slot(%s * interval '1 hour', %s, 'instant', p_amount => %s,"
                " p_currency => %s)",
                (hours, count, amount, currency),
            ).fetchone() or (None,)
            for _ in range(count // 20):
                try:
                    row = conn.execute(
                        "select sum(test.split(%s)) from generate_series(1, 10)", (slot,)
                    ).fetchone()
                except psycopg.errors.RaiseException as error:
                    raise Violation(str(error)) from None
                assert row is not None
                given += int(row[0])
        return given

    with ThreadPoolExecutor(2) as pool:
        given = sum(pool.map(half, (rng.random(), rng.random())))
    return {"payments given back in parts": count // 20 * 20, "parts that came to be": given}


def change_clocks(stage: Era, rng: random.Random) -> None:
    """Every rule that counts hours counts those that pass, in sessions of any time zone."""
    place, change = rng.choice(CHANGES)
    here, other = (
        stage.zone(place),
        stage.zone(rng.choice(("UTC", "Asia/Tokyo", *(zone for zone, _ in CHANGES)))),
    )
    starts = (
        change
        + rng.choice((-HOUR, 0 * HOUR, HOUR, 12 * HOUR, 23 * HOUR))
        + rng.choice((0, 30, 59)) * timedelta(minutes=1)
    )
    stage.set_time(starts - 10 * DAY)
    (row,) = here.execute("select test.book(test.make_slot(%s * interval '1 hour')) as booking", (240,))
    booking = row["booking"]
    here.execute("select test.capture(%s)", (booking,))
    # the policy
    for notice, percent in ((24 * HOUR, 100), (2 * HOUR, 50)):
        less = 50 if percent == 100 else 0
        for ahead, expected in (
            (notice, percent),
            (notice - timedelta(microseconds=1), less),
            (notice + SECOND, percent),
        ):
            stage.set_time(starts - ahead)
            for conn in (here, other):
                (row,) = conn.execute(
                    "select q.refund_percent from booking.quote_cancellation(test.student(%(b)s), %(b)s) q",
                    {"b": booking},
                )
                require(
                    row["refund_percent"] == expected, f"{ahead} ahead of {starts}: {row['refund_percent']} %"
                )
    # what is on offer
    stage.set_time(change - 3 * DAY)
    (row,) = here.execute("select test.make_slot(%s * interval '1 hour') as slot", (71.5,))
    for first, last, found in (
        (change - HOUR, change, True),
        (change - timedelta(minutes=30), change, True),
        (change, change + HOUR, False),
        (change - 2 * HOUR, change - timedelta(minutes=30), False),
    ):
        for conn in (here, other):
            listed = conn.execute(
                "select slot_id from booking.list_open_slots(%s, %s)", (first, last)
            ).fetchall()
            require(
                (row in [{"slot": each["slot_id"]} for each in listed]) is found,
                f"slots from {first} to {last}",
            )
    # how long a booking waits for its payment
    timeout = rng.choice(("30 minutes", "1 day", "36 hours", "2 days"))
    hours = {"30 minutes": Fraction(1, 2), "1 day": 24, "36 hours": 36, "2 days": 48}[timeout]
    stage.sql.execute("update booking.settings set booking_timeout = %s::interval", (timeout,))
    made = change - rng.choice((0, 1, 12)) * HOUR - SECOND
    stage.set_time(made)
    (row,) = here.execute(
        "select c.booking_id, c.expires_at from test.make_slot('20 days') s,"
        " booking.create_booking_transaction(p_student_id => 'a student', p_slot_id => s) c"
    )
    ends = made + timedelta(hours=float(hours))
    # in UTC: an hour that comes twice equals nothing of another zone (PEP 495)
    expires = row["expires_at"].astimezone(UTC)
    require(expires == ends, f"{timeout} after {made} in {place}: {expires}")
    for at, status in ((ends - timedelta(microseconds=1), "pending"), (ends, "cancelled")):
        stage.set_time(at)
        other.execute("select booking.cleanup_expired_bookings(1000, booking.booking_timeout())")
        (row,) = here.execute(
            "select b.id as booking_id, b.status::text from booking.bookings b where b.id = %s",
            (row["booking_id"],),
        )
        require(row["status"] == status, f"{timeout} after {made}: {row['status']} at {at}")
    # the statistics are by hours of UTC
    window = (change - timedelta(minutes=20), change - timedelta(minutes=5))
    sums = [
        conn.execute("select total_bookings from booking.get_booking_stats(%s, %s)", window).fetchall()
        for conn in (here, other)
    ]
    begin = window[0].replace(minute=0)
    end = begin + HOUR if window[1].hour == begin.hour else begin + 2 * HOUR
    (row,) = stage.sql.execute(
        "select count(*) as total_bookings from booking.bookings where created_at >= %s and created_at < %s",
        (begin, end),
    )
    require(sums == [[row], [row]], f"statistics of {window}: {sums}, not {row}")
    stage.sql.execute("update booking.settings set booking_timeout = '30 minutes'")


def sell_in(stage: Era, currency: str, rng: random.Random) -> None:
    """Price, hold, capture, half of it back, invoice and credit note, by Stripe's rules at the other end."""
    step = STEPS.get(currency, 1)
    amount = step * rng.randint(10_000, 99_999)
    booking = book(stage, 12, amount, currency)
    stage.pay(stage.create_intent(booking))
    stage.deliver()
    stage.confirm(booking)
    stage.drain()
    stage.cancel(booking)
    stage.drain()
    back = half_up(Fraction(amount, 2), step)
    payment = stage.payment(booking)
    require(
        (payment["amount_captured"], payment["amount_refunded"]) == (amount, back),
        f"{amount} {currency}: {payment['amount_refunded']} came back, not {back}",
    )
    stage.sql.execute("select booking.issue_invoice(%s)", (booking.payment_id,))
    papers = stage.sql.execute(
        "select i.kind::text, i.gross from booking.invoices i where i.payment_id = %s", (booking.payment_id,)
    ).fetchall()
    require(
        {each["kind"]: each["gross"] for each in papers} == {"invoice": amount, "credit_note": back},
        f"papers: {papers}",
    )
    for part in (0, 1, 33, 50, 67, 99, 100):
        (row,) = stage.sql.execute("select booking.percent_of(%s, %s, %s) as part", (amount, part, currency))
        wanted = min(amount, half_up(Fraction(amount * part, 100), step))
        require(row["part"] == wanted, f"{part} % of {amount} {currency}: {row['part']}, not {wanted}")
    theirs = stage.intent(str(payment["stripe_payment_intent_id"]))
    require((theirs["captured"], theirs["refunded"]) == (amount, back), f"Stripe's books: {theirs}")


def half_up(amount: Fraction, step: int) -> int:
    return int(amount / step + Fraction(1, 2)) * step


def wait_too_long(stage: Era, rng: random.Random) -> None:
    """Whoever waits for a lock is judged by the time after the wait."""
    now = datetime.now(UTC)
    stage.set_time(now)
    arena = stage.arena
    gate, person = arena.session(None), arena.session()
    story = rng.choice(("cancel", "book", "confirm after cleanup", "cleanup after confirm"))
    slot = arena.value("select test.make_slot('25 hours')")
    try:
        if story == "book":
            gate.hold("select from booking.slot_seats where slot_id = %(s)s for no key update", {"s": slot})
            asking = person.start(
                "select * from booking.create_booking_transaction(p_student_id => 'late',"
                " p_slot_id => %(s)s)",
                {"s": slot},
            )
            arena.wait_blocked(person, gate, asking)
            stage.set_time(now + 25 * HOUR)
            gate.rollback()
            require(
                asking.result(60).code == "PT409 slot_unavailable", "a seat was sold after the slot began"
            )
            return
        booking = arena.value("select test.book(%(s)s)", {"s": slot})
        if story == "cancel":
            arena.run("select test.capture(%(b)s)", {"b": booking})
            gate.hold("select from booking.bookings where id = %(b)s for no key update", {"b": booking})
            who = arena.value("select test.student(%(b)s)", {"b": booking})
            asking = person.start(CANCEL, {"who": who, "booking": booking})
            arena.wait_blocked(person, gate, asking)
            stage.set_time(now + HOUR + SECOND)
            gate.rollback()
            require(asking.result(60).row["refund_percent"] == 50, "the time before the wait decided")
            return
        arena.run("select test.authorize(%(b)s)", {"b": booking})
        stage.set_time(now + HOUR)
        sweeper = arena.session("booking_cron")
        confirm = (
            "select * from booking.confirm_booking_transaction(p_expert_id => %(e)s, p_booking_id => %(b)s)"
        )
        wish = {"b": booking, "e": arena.value("select test.expert(%(b)s)", {"b": booking})}
        if story == "confirm after cleanup":
            sweeper.hold(CLEANUP)
            asking = person.start(confirm, wish)
            arena.wait_blocked(person, sweeper, asking)
            sweeper.commit()
            require(asking.result(60).code == "PT409 already_processed", "an expired booking was confirmed")
        else:
            require(person.hold(confirm, wish).code == "ok", "a booking that waits was not confirmed")
            sweeper.call(CLEANUP)
            person.commit()
            sweeper.call(CLEANUP)
            require(
                arena.value("select test.state(%(b)s)", {"b": booking}) == "confirmed/authorized",
                "it was swept away",
            )
    finally:
        for each in (gate, person):
            each.reset()


def run_late(stage: Era, rng: random.Random) -> None:
    """The database's clock is ten minutes ahead of Stripe's and the server's, or behind; then it is right."""
    wrong = rng.choice((-10, 10))
    stage.shift_clock(wrong)
    try:
        one, two = book(stage), book(stage)
        for each in (one, two):
            stage.pay(stage.create_intent(each))
        stage.deliver()
        stage.confirm(one)
        stage.confirm(two, rng.choice(("confirm", "decline")))
        for _ in range(3):
            stage.lapse_leases()
            stage.sql.execute(
                "update booking.stripe_commands set run_at = booking.clock() where status = 'pending'"
            )
            for claim in stage.mirror.claim_due(limit=100, min_age=0):
                stage.mirror.run_claimed(claim)
            stage.deliver()
        stage.cancel(one)
        stage.shift_clock(11)  # right again, and so much later that nothing lies ahead any more
        stage.drain()
    finally:
        stage.shift_clock(0)
    for each in (one, two):
        payment = stage.payment(each)
        theirs = stage.intent(str(payment["stripe_payment_intent_id"]))
        require(
            (theirs["captured"], theirs["refunded"])
            == (payment["amount_captured"], payment["amount_refunded"]),
            f"ours {payment}, theirs {theirs}",
        )
    require(stage.payment(one)["status"] == "refunded", "what was cancelled in time was not given back")


# -- a server whose clock is wrong


def serve_astray(outer: Era, wrong: int, rng: random.Random) -> None:
    """A server and its workers are so many seconds ahead of everybody else; then the clocks are set right.

    They may refuse tokens and webhooks meanwhile, by their clock, and nothing else is to be seen of it."""
    with fresh(Stage, outer.place, outer.removed) as stage, ExitStack() as stack:
        stage.settings = replace(stage.settings, rate_limit_window_ms=1_000, rate_limit_max_requests=10)
        server = AstrayServer(stage.settings, outer.removed)
        stack.callback(server.kill)
        stage.front = server
        be_eager(stage, wrong, server)
        server.set_clock(wrong)
        let_in(stage, wrong)
        refused = hear_events(stage, wrong)
        wishes: list[tuple[Case, Any]] = [(case, case.before(stage)) for case in OF_A_REQUEST]
        for case, about in wishes:
            fault = rng.choice(("", "apply_then_drop", "drop", "500_before_unsaved"))
            if fault:
                times = 9 if rng.random() < 0.2 else 1
                stage.control.fault(fault, times=times, method="POST", path_regex=case.path)
            answer = case.ask(stage, about)
            stage.control.clear_faults()
            for _ in range(30):
                if answer.status_code < 400:
                    break
                time.sleep(0.1)  # payments may be asked for once a second here
                stage.lapse_locks()
                answer = case.ask(stage, about)
            require(answer.status_code < 400, f"{case.operation} was refused: {answer.text}")
            case.finish(stage, about)
        wishes += [(CAPTURE, wait_its_turn(stage))]
        work_off(stage, wrong)
        wishes += [(REFUND, forget_the_key(stage))]
        work_off(stage, wrong)
        server.set_clock(0)
        let_in(stage, 0)
        for body in refused:
            require(post(stage, body, 0) == 200, "an event was refused by a clock that is right")
        stage.heal()
        for case, about in wishes:
            case.require_effect(stage, about)
        require(not reconcile(stage), "books differ")
        # events were late: meanwhile they did differ
        stage.require_sound(alerts=("reconciliation_difference",))
    outer.delivered = len(outer.control.events())


def let_in(stage: Stage, wrong: int) -> None:
    """A token is judged by the server's clock: nobody is let in who is late by more than that is wrong."""
    for ends, begins in ((3600, -3600), (300, -3600), (3600, -30), (-300, -3600), (-660, -3600), (3600, 660)):
        person = f"somebody {ends} {begins}"
        now = int(time.time())
        bearer = token(person, seconds=ends, nbf=now + begins)
        answer = requests.get(
            f"{front(stage).url}/api/bookings", headers={"Authorization": f"Bearer {bearer}"}, timeout=60
        )
        wanted = 200 if begins <= wrong < ends else 401
        require(answer.status_code == wanted, f"{ends} {begins}, {wrong} s ahead: {answer.text}")


def hear_events(stage: Stage, wrong: int) -> list[bytes]:
    """Stripe's events of a payment; those that were refused, since they seem to be old."""
    booking = stage.book()
    stage.pay(stage.create_intent(booking))
    bodies = [json.dumps(event).encode() for event in stage.control.events()[stage.delivered :]]
    stage.delivered += len(bodies)
    for body in bodies:
        wanted = 400 if wrong > TOLERANCE else 200
        require(post(stage, body, 0) == wanted, f"not {wanted}, {wrong} s ahead")
    if wrong > TOLERANCE:
        require(stage.payment(booking)["status"] == "pending", "an event was refused, and applied")
        return bodies
    before = [stage.payment(booking), stage.alerts()]
    for body in bodies:
        post(stage, body, 660)  # a replay that does not seem to be old has no effect, either
    require([stage.payment(booking), stage.alerts()] == before, "a replayed event had an effect")
    return []


def post(stage: Stage, body: bytes, age: int) -> int:
    """The answer to an event that was signed so many seconds ago."""
    signature = signature_header(body, WEBHOOK_SECRET, timestamp=int(time.time()) - age)
    headers = {"Content-Type": "application/json", "Stripe-Signature": signature}
    return requests.post(f"{front(stage).url}{WEBHOOKS}", body, headers=headers, timeout=60).status_code


def wait_its_turn(stage: Stage) -> Booking:
    """Whoever reconciles asks Stripe what came of a command, and leaves it where it was."""
    booking = stage.authorized()
    send(stage, stage.confirm(booking), "500_before_unsaved")
    query = "select run_at, attempts from booking.stripe_commands where payment_id = %s"
    before = stage.sql.execute(query, (booking.payment_id,)).fetchall()
    reconcile(stage)
    after = stage.sql.execute(query, (booking.payment_id,)).fetchall()
    require(before == after, f"a command that was looked up is not where it was: {before} {after}")
    return booking


def reconcile(stage: Stage) -> list[Any]:
    """The differences between ours and Stripe's books."""
    now = datetime.now(UTC)
    window = {"from": (now - 2 * DAY).isoformat(), "to": (now + 2 * DAY).isoformat()}
    answer = stage.person("admin", "admin").post("/api/admin/reconcile", window)
    require(answer.status_code == 200, f"a reconciliation was refused: {answer.text}")
    found: list[Any] = answer.json()["differences"]
    return found


def forget_the_key(stage: Stage) -> Booking:
    """A refund is made and the answer is lost; nobody tries again until Stripe has just forgotten the key."""
    booking = stage.captured(hours=10)
    command = stage.cancel(booking)
    send(stage, command, "apply_then_drop")
    stage.control.advance(hours=24, seconds=60)
    stage.sql.execute(
        "update booking.stripe_commands set created_at = created_at - %s where id = %s",
        (DAY + timedelta(minutes=1), command),
    )
    return booking


def send(stage: Stage, command: UUID, fault: str) -> None:
    """A command is sent once by somebody whose clock is right, and nobody knows what came of it."""
    stage.control.fault(fault, times=9, method="POST")
    require(stage.mirror.run(command) == "pending", "a command was done")
    stage.control.clear_faults()


def work_off(stage: Stage, wrong: int) -> None:
    """A worker whose clock is wrong does everything that is left."""
    worker = AstrayWorker(stage.settings, stage.removed)
    try:
        worker.set_clock(wrong)
        give_up = time.monotonic() + 120
        while left := stage.sql.execute(OPEN).fetchall():
            require(time.monotonic() < give_up, f"a worker does not go on: {left}")
            stage.due()
            stage.sql.execute("select pg_sleep(0.02)")
    finally:
        worker.kill()


OPEN = "select id, operation, status from booking.stripe_commands where status <> 'done'"


def be_eager(stage: Stage, wrong: int, server: AstrayServer) -> None:
    """Somebody has asked too often when the clock is set right, and may ask again soon."""

    def ask() -> int:
        return stage.person("eager").get("/api/bookings").status_code

    server.set_clock(wrong)
    require(any(ask() == 429 for _ in range(500)), "nobody asks too often")
    server.set_clock(0)
    give_up = time.monotonic() + 3 * stage.settings.rate_limit_window_ms / 1000
    while True:
        asked = time.monotonic()
        if ask() != 429:
            return
        require(asked < give_up, f"still refused after three windows, {wrong} s ahead before")
        time.sleep(0.1)


def front(stage: Stage) -> Server:
    assert stage.front is not None
    return stage.front


def book(stage: Era, hours: int = 48, amount: int = 5000, currency: str = "eur") -> Booking:
    (row,) = stage.sql.execute(
        "select b as id, (test.booking(b)).payment_id, test.student(b) as student, test.expert(b) as expert"
        " from test.book(test.make_slot(%s * interval '1 hour', p_amount => %s, p_currency => %s)) b",
        (hours, amount, currency),
    )
    return Booking(row["id"], row["payment_id"], row["student"], row["expert"])


SCENARIO = Times
