"""64 connections want the seats of one slot: none is sold twice, nobody is refused while one is free."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from math import inf
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from tests.chaos.crowd import Answer, Crowd, Script, literal
from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, require, spread
from tests.chaos.stage import Stage, fresh
from tests.py.mirror.world import PRICE, Booking

CONNECTIONS = 64
SWEEPERS = 2
RUSH, ROLLBACK, GOINGS = "all at once", "whoever was first rolls back", "seats come and go"
ONE, ONE_COUNTER, SEVERAL, PLENTY = "1 seat", "2 to 16 seats", "17 to 63 seats", "more seats than students"
CAPACITIES = {ONE: (1, 1), ONE_COUNTER: (2, 16), SEVERAL: (17, 63), PLENTY: (65, 160)}
KINDS = list(product((RUSH, ROLLBACK, GOINGS), CAPACITIES, ("expert", "instant")))
HALVES = [[kind for kind in KINDS if (kind[1] == ONE) == is_one] for is_one in (True, False)]
"""Every other round is about one seat: that is where two are most easily sold instead of one."""
EACH = len(HALVES) * max(map(len, HALVES))
"""After so many rounds every kind was there."""

FULL = ("PT409 slot_unavailable", "PT409 capacity_full")
TAKEN = "PT409 duplicate_booking"
ENDED = "PT409 already_processed"
AGAIN = "40001"
ONE_LIVE = "on conflict (slot_id, student_id) where b.status in ('pending', 'confirmed') do nothing"
_numbers = itertools.count(1)


@dataclass
class Seat:
    """A live booking: since when it may have had its seat, and until when (the server's clock)."""

    student: str
    since: float = -inf
    until: float = inf
    is_due: bool = False
    """Its time is up: the cleanup may end it."""
    cancellations: int = 0


@dataclass
class Round:
    """A slot, and what everybody was told about it."""

    slot: UUID
    expert: str
    capacity: int
    is_instant: bool
    seats: dict[UUID, Seat] = field(default_factory=dict)
    swept: set[UUID] = field(default_factory=set)
    refused: list[tuple[str, Answer]] = field(default_factory=list)
    """Who was told that every seat is taken."""
    taken: list[tuple[str, Answer]] = field(default_factory=list)
    """Who was told that they have a seat."""
    payers: list[tuple[Booking, Answer]] = field(default_factory=list)
    """Whose money arrived for a hold that had lapsed."""
    sweeps: list[Answer] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)

    def note(self, answer: Answer) -> str:
        """Count it; anything nobody expects is a violation."""
        code = AGAIN if answer.sqlstate == AGAIN else answer.code
        require(
            code in ("ok", *FULL, TAKEN, ENDED, AGAIN), f"an unexpected error: {answer.code} {answer.detail}"
        )
        self.told[code] += 1
        return code

    def may_be_full(self, answer: Answer) -> bool:
        """Whether there was a moment, while this was decided, at which every seat may have been somebody's.

        A seat counts from when its booking was asked for until whoever gave it back was answered: longer than
        it was taken in truth, so that only what is wrong for sure is called wrong. Whoever was refused in the
        end never had one.
        """
        seats = self.seats.values()
        moments = [answer.sent, *(each.since for each in seats if answer.sent < each.since <= answer.heard)]
        return any(
            sum(each.since <= moment <= each.until for each in seats) >= self.capacity for moment in moments
        )


class Hall(Stage):
    """A stage with the connections."""

    crowd: Crowd

    def open(self, connections: int) -> None:
        self.crowd = Crowd(self.url, connections, SWEEPERS)
        self._stack.callback(self.crowd.close)

    def publish(self, capacity: int, confirmation: str) -> Round:
        expert = f"expert-{next(_numbers)}"
        slot = self.db.scalar(
            "select booking.publish_slot(p_expert_id => %(e)s, p_session_id => booking.create_session("
            " p_expert_id => %(e)s, p_title => 'A class', p_amount => %(a)s, p_currency => 'eur'),"
            " p_starts_at => now() + interval '2 days', p_ends_at => now() + interval '49 hours',"
            " p_capacity => %(c)s, p_confirmation => %(m)s)",
            {"e": expert, "a": PRICE, "c": capacity, "m": confirmation},
        )
        return Round(slot, expert, capacity, confirmation == "instant")

    def fill(self, round_: Round, count: int) -> list[UUID]:
        """So many students have a seat already; their bookings."""
        made = []
        for row in self.sql.execute(
            "select c.booking_id, n.name as student from generate_series(1, %(n)s) i,"
            " lateral (select format('early-%%s-%%s', %(no)s::int, i) as name) n,"
            " booking.create_booking_transaction(p_student_id => n.name, p_slot_id => %(s)s) c",
            {"n": count, "s": round_.slot, "no": next(_numbers)},
        ):
            round_.seats[row["booking_id"]] = Seat(row["student"])
            made.append(row["booking_id"])
        return made

    def make_due(self, round_: Round, bookings: Iterable[UUID]) -> None:
        ids = list(bookings)
        self._age(ids)
        for booking in ids:
            round_.seats[booking].is_due = True

    def late_payers(self, round_: Round, count: int, lapsed: int) -> list[tuple[Booking, dict[str, Any]]]:
        """Students who paid when their time was up, and Stripe's word of their money. The holds of so many of
        them have lapsed, the others the cleanup may find."""
        made = []
        for _ in range(min(count, round_.capacity)):
            student = f"late-{next(_numbers)}"
            row = self.db.one(
                "select * from booking.prepare_class_payment(p_user_id => %(u)s, p_class_id => %(s)s)",
                {"u": student, "s": round_.slot},
            )
            assert row is not None
            booking = Booking(row["booking_id"], row["payment_id"], student, "")
            made.append(replace(booking, intent=self.create_intent(booking)))
        self._age([each.id for each in made[:lapsed]])
        self.sql.execute("select booking.cleanup_expired_bookings(p_batch_size => 1000)")
        self._age([each.id for each in made[lapsed:]])
        for each in made[lapsed:]:
            round_.seats[each.id] = Seat(each.student, is_due=True)
        for each in made:
            self.pay(each.intent)
        events = {
            each["data"]["object"]["id"]: each
            for each in self.control.events(type="payment_intent.succeeded")
        }
        return [(each, events[each.intent]) for each in made]

    def _age(self, bookings: list[UUID]) -> None:
        self.sql.execute(
            "update booking.bookings set created_at = created_at - interval '1 hour' where id = any(%s)",
            (bookings,),
        )


class Capacity(Scenario[Hall]):
    title = "64 connections want the seats of one slot, of 1 seat and of many"
    tries = 1000
    short = 8
    per_stage = EACH
    controls = (
        Control(
            "a seat is taken only while one is free",
            edits=(
                (
                    "bookings/create_booking_transaction.sql",
                    "q.parts = 1 and q.taken < q.capacity",
                    "q.parts = 1",
                ),
                ("bookings/seat_student.sql", "and q.part = 0 and q.taken < q.capacity", "and q.part = 0"),
            ),
            sql=("alter table booking.slot_seats drop constraint seats_within_capacity",),
            tries=EACH,
        ),
        Control(
            "a seat of a large class is taken only while one is free",
            edits=(
                (
                    "bookings/take_class_seat.sql",
                    "and q.part = v_part and q.taken < q.capacity",
                    "and q.part = v_part",
                ),
            ),
            sql=("alter table booking.slot_seats drop constraint seats_within_capacity",),
            tries=EACH,
        ),
        Control(
            "whoever finds every free seat locked waits for one",
            edits=(
                (
                    "bookings/take_class_seat.sql",
                    "perform from booking.slot_seats q where q.slot_id = p_slot_id and q.part = v_part"
                    " for no key update;",
                    "return null;",
                ),
            ),
            tries=EACH,
        ),
        Control(
            "a student has one seat",
            edits=(
                ("bookings/create_booking_transaction.sql", ONE_LIVE, "on conflict do nothing"),
                ("bookings/seat_student.sql", ONE_LIVE, "on conflict do nothing"),
            ),
            sql=("drop index booking.bookings_one_live_per_student",),
            tries=EACH,
        ),
    )

    def __init__(self) -> None:
        self._told: Counter[str] = Counter()
        self._sold = 0

    @contextmanager
    def stage(self, place: Place, removed: Control | None) -> Iterator[Hall]:
        with fresh(Hall, place, removed) as hall:
            hall.open(24 if self.quick else CONNECTIONS)
            yield hall

    def attempt(self, stage: Hall, number: int, rng: random.Random) -> str:
        turn, half = divmod(number, len(HALVES))
        story, size, confirmation = spread(HALVES[half], turn)
        stage.kind = f"{story}, {size}"
        capacity = rng.randint(*CAPACITIES[size])
        round_ = stage.publish(capacity, confirmation)
        STORIES[story](stage, round_, rng)
        stage.heal()
        judge(stage, round_)
        stage.require_sound()
        self._told += round_.told
        self._sold += len(round_.seats)
        return stage.kind

    def facts(self) -> dict[str, Any]:
        return {"answers": dict(self._told), "seats sold": self._sold}


# -- what people do ----------------------------------------------------------------------------------------


def names(rng: random.Random, count: int) -> list[str]:
    """Who sits at so many connections; in half of the rounds some of them at several."""
    people = [f"student-{next(_numbers)}" for _ in range(count)]
    return people if rng.random() < 0.5 else rng.choices(people[: rng.randint(1, count)], k=count)


def wish(round_: Round, student: str, rng: random.Random) -> str:
    """One of the ways to a seat."""
    if round_.is_instant and rng.random() < 0.5:
        return (
            f"select * from booking.prepare_class_payment(p_user_id => {literal(student)},"
            f" p_class_id => {literal(round_.slot)})"
        )
    # several windows of one student may have the same key
    key = f", p_idempotency_key => {literal(rng.choice('abc'))}" if rng.random() < 0.3 else ""
    return (
        f"select * from booking.create_booking_transaction(p_student_id => {literal(student)},"
        f" p_slot_id => {literal(round_.slot)}{key})"
    )


def buy(round_: Round, student: str, rng: random.Random) -> Generator[str, Answer, UUID | None]:
    """Ask for a seat until there is a clear answer; the booking, or nothing."""
    while True:
        answer = yield wish(round_, student, rng)
        code = round_.note(answer)
        if code == "ok" and answer.row.get("status") not in (None, "pending", "confirmed"):
            return None  # the answer to the key before, whose booking has ended
        if code == "ok":
            booking = UUID(answer.row["booking_id"] or "")
            known = round_.seats.setdefault(booking, Seat(student, answer.sent))
            known.since = min(known.since, answer.sent)  # two windows of one student have the same hold
            return booking
        if code in FULL:
            round_.refused.append((student, answer))
        elif code == TAKEN:
            round_.taken.append((student, answer))
        if code != AGAIN:
            return None


def give_back(round_: Round, booking: UUID, *, is_declined: bool = False) -> Script:
    seat = round_.seats[booking]
    seat.cancellations += 1
    if is_declined:
        answer = yield (
            f"select * from booking.confirm_booking_transaction(p_expert_id => {literal(round_.expert)},"
            f" p_booking_id => {literal(booking)}, p_action => 'decline')"
        )
    else:
        answer = yield (
            f"select * from booking.cancel_booking_transaction(p_actor_id => {literal(seat.student)},"
            f" p_booking_id => {literal(booking)})"
        )
    if round_.note(answer) == "ok":
        seat.until = answer.heard
    else:
        require(seat.cancellations > 1 or seat.is_due, "a booking that nobody ended was not to be cancelled")


def only_buy(round_: Round, student: str, rng: random.Random) -> Script:
    yield from buy(round_, student, rng)


def buy_and_give_back(round_: Round, student: str, rng: random.Random) -> Script:
    for _ in range(rng.randint(1, 3)):
        booking = yield from buy(round_, student, rng)
        if booking is not None and rng.random() < 0.6:
            yield from give_back(round_, booking)


def leave(round_: Round, booking: UUID, rng: random.Random) -> Script:
    """A seat is given back, or the expert declines; perhaps the student wants it again."""
    yield from give_back(round_, booking, is_declined=rng.random() < 0.3)
    if rng.random() < 0.3:
        yield from buy(round_, round_.seats[booking].student, rng)


def pay_late(round_: Round, booking: Booking, event: dict[str, Any]) -> Script:
    """Stripe tells of the money for a hold that has lapsed, again where it is told to try again."""
    while True:
        answer = yield f"select booking.process_webhook_event({literal(Jsonb(event))}) as result"
        if round_.note(answer) != AGAIN:
            break
    require(answer.row["result"] == "processed", f"an event was not processed: {answer.row}")
    round_.payers.append((booking, answer))


def sweep(round_: Round, times: int) -> Script:
    for _ in range(times):
        answer = yield "select booking.cleanup_expired_bookings(p_batch_size => 3) as count"
        round_.note(answer)
        round_.sweeps.append(answer)


# -- the rounds --------------------------------------------------------------------------------------------


def rush(stage: Hall, round_: Round, rng: random.Random) -> None:
    """Everybody wants a seat, nobody gives one back. In half of the rounds they meet at the seats."""
    lock = f"select from booking.slot_seats where slot_id = {literal(round_.slot)} for no key update"
    everybody_buys(stage, round_, rng, held=lock if rng.random() < 0.5 else "")


def roll_back(stage: Hall, round_: Round, rng: random.Random) -> None:
    """All seats are held in a transaction that rolls back."""
    hold = (
        "select booking.create_booking_transaction(p_student_id => 'holder-' || n,"
        f" p_slot_id => {literal(round_.slot)}) from generate_series(1, {round_.capacity}) n"
    )
    everybody_buys(stage, round_, rng, held=hold)


def everybody_buys(stage: Hall, round_: Round, rng: random.Random, *, held: str) -> None:
    people = names(rng, len(stage.crowd.members))
    scripts = [
        (member, only_buy(round_, name, rng))
        for member, name in zip(stage.crowd.members, people, strict=True)
    ]
    stage.crowd.run(scripts, held=held)
    sold, owed = len(round_.seats), min(round_.capacity, len(set(people)))
    require(sold == owed, f"{sold} seats of {round_.capacity} were sold to {len(set(people))} students")


def come_and_go(stage: Hall, round_: Round, rng: random.Random) -> None:
    """Some have a seat already; they leave, or their time is up. Others buy, and some of them leave again."""
    late = stage.late_payers(round_, rng.randint(0, 6), rng.randint(0, 4)) if round_.is_instant else []
    there = stage.fill(round_, rng.randint(0, round_.capacity - len(round_.seats)))
    rng.shuffle(there)
    leaving, due = there[: rng.randint(0, 16)], there[16 : 16 + rng.randint(0, 12)]
    stage.make_due(round_, due)
    scripts: list[Script] = [pay_late(round_, booking, event) for booking, event in late]
    scripts += [leave(round_, booking, rng) for booking in leaving]
    scripts += [
        rng.choice((only_buy, buy_and_give_back))(round_, name, rng)
        for name in names(rng, len(stage.crowd.members) - len(scripts))
    ]
    rng.shuffle(scripts)
    sweeps = [(sweeper, sweep(round_, rng.randint(2, 6))) for sweeper in stage.crowd.sweepers]
    stage.crowd.run([*zip(stage.crowd.members, scripts, strict=True), *sweeps])


def judge(stage: Hall, round_: Round) -> None:
    """Who has a seat is who was told so, no more than there are seats; and every refusal was right."""
    for row in stage.sql.execute(
        "select id, extract(epoch from closed_at)::float8 as closed from booking.bookings"
        " where slot_id = %s and cancellation_reason = 'expired' and cancelled_by = 'system'",
        (round_.slot,),
    ):
        if row["id"] in round_.seats:
            require(round_.seats[row["id"]].is_due, "a booking was ended before its time")
            ends = [each.heard for each in round_.sweeps if each.sent <= row["closed"] <= each.heard]
            round_.seats[row["id"]].until = max(ends, default=inf)
            round_.swept.add(row["id"])
    for booking, answer in round_.payers:
        (row,) = stage.sql.execute(
            "select b.id, b.status::text, p.status::text as payment from booking.payments p"
            " join booking.bookings b on b.id = p.booking_id where p.id = %s",
            (booking.payment_id,),
        )
        if row["status"] == "confirmed":
            round_.seats.setdefault(row["id"], Seat(booking.student, answer.sent))
        else:
            require(row["payment"] == "refunded", f"a student without a seat has {row['payment']}")
            round_.refused.append((booking.student, answer))
    live = {
        row["id"]: row["student_id"]
        for row in stage.sql.execute(
            "select id, student_id from booking.bookings where slot_id = %s"
            " and status in ('pending', 'confirmed')",
            (round_.slot,),
        )
    }
    require(len(live) <= round_.capacity, f"{len(live)} seats of {round_.capacity} were sold")
    require(len(set(live.values())) == len(live), "a student has two seats")
    told = {
        booking: seat.student
        for booking, seat in round_.seats.items()
        if seat.until == inf and booking not in round_.swept
    }
    require(live == told, f"{len(live)} have a seat, {len(told)} were told so")
    (row,) = stage.sql.execute(
        "select s.capacity - sum(q.taken) as free, (select sum(o.seats_left) from booking.list_open_slots("
        " s.starts_at, s.starts_at + interval '1 s', s.expert_id) o) as offered"
        " from booking.slots s join booking.slot_seats q on q.slot_id = s.id where s.id = %s group by s.id",
        (round_.slot,),
    )
    (stats,) = stage.sql.execute(
        "select s.open_slots, s.seats_taken, (select count(distinct q.slot_id) from booking.slot_seats q"
        " where q.taken < q.capacity) as open, (select sum(q.taken) from booking.slot_seats q) as taken"
        " from booking.get_booking_stats() s"
    )
    require(
        (stats["open_slots"], stats["seats_taken"]) == (stats["open"], stats["taken"]), f"statistics: {stats}"
    )
    free = round_.capacity - len(live)
    require(row["free"] == free and (row["offered"] or 0) == free, f"{free} seats are free, but {row}")
    for student, answer in round_.refused:
        require(round_.may_be_full(answer), f"{student} was refused while a seat was free")
    for student, answer in round_.taken:
        had = [each for each in round_.seats.values() if each.student == student]
        require(
            any(each.since <= answer.heard and answer.sent <= each.until for each in had),
            f"{student} was told of a seat that was never theirs",
        )


STORIES = {RUSH: rush, ROLLBACK: roll_back, GOINGS: come_and_go}
SCENARIO = Capacity
