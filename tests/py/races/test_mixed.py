"""Sixteen sessions do everything at once to a few bookings: refusals are typed, the books hold at the end."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from tests.py.races.helpers import BOOK, BOOK_WITH_KEY, CANCEL, Arena, Outcome, Row, Session, new_name
from tests.py.races.test_outbox import CLAIM_ALL, COMPLETE
from tests.py.races.test_pairs import DECIDE, EVENTS, PREPARE, PROCESS, RECORD

SESSIONS = 16
ROUNDS = 40
STUDENTS = [f"student-{number}" for number in range(6)]
KEEPING = (
    "select booking.cleanup_expired_bookings(p_batch_size => 3, p_timeout => '0')",
    "select booking.complete_past_bookings()",
    "select booking.cleanup_orphaned_slots()",
    "select booking.retry_failed_webhooks()",
    "select booking.roll_up_stats()",
    "select booking.clean_expired_idempotency_keys()",
)
REFUSALS = ("PT400", "PT403", "PT404", "PT409")


class Person:
    """One session and its own draw of what to do next."""

    def __init__(self, arena: Arena, slots: list[UUID], seed: int) -> None:
        self.rng = random.Random(seed)
        self.slots = slots
        self.app: Session = arena.session()
        self.cron: Session = arena.session("booking_cron")
        self.eyes: Session = arena.session(None)
        self.done: list[tuple[str, Outcome]] = []

    def live(self) -> list[Row]:
        """A few bookings, the newest more often."""
        return list(
            self.eyes.call(
                "select b.id as booking, b.student_id as student, b.expert_id as expert,"
                " b.payment_id as payment, test.intent_id(b.id) as intent"
                " from booking.bookings b order by b.id desc limit 8"
            ).rows
        )

    def run(self, rounds: int) -> None:
        for _ in range(rounds):
            found = self.live()
            case = self.rng.choice(found) if found else None
            for name, outcome in self.step(case):
                self.done.append((name, outcome))

    def step(self, case: Row | None) -> list[tuple[str, Outcome]]:
        slot, student = self.rng.choice(self.slots), self.rng.choice(STUDENTS)
        wish: dict[str, Any] = {"slot": slot, "student": student, "key": f"key-{self.rng.randrange(4)}"}
        if case is None or self.rng.random() < 0.2:
            return [("book", self.app.call(self.rng.choice([BOOK, BOOK_WITH_KEY]), wish))]
        match self.rng.choice(["pay", "decide", "cancel", "event", "outbox", "keep"]):
            case "pay":
                paid = [("prepare", self.app.call(PREPARE, case)), ("record", self.app.call(RECORD, case))]
                paid.append(self.event(case, "authorized"))
                if self.rng.random() < 0.5:
                    paid.append(("confirm", self.app.call(DECIDE, {**case, "action": "confirm"})))
                return paid
            case "decide":
                action = self.rng.choice(["confirm", "confirm", "decline"])
                return [(action, self.app.call(DECIDE, {**case, "action": action}))]
            case "cancel":
                who = case[self.rng.choice(["student", "expert"])]
                return [("cancel", self.app.call(CANCEL, {**case, "who": who}))]
            case "event":
                return [self.event(case, self.rng.choice(list(EVENTS)))]
            case "outbox":
                return self.work()
        return [("keep", self.cron.call(self.rng.choice(KEEPING)))]

    def event(self, case: Row, name: str) -> tuple[str, Outcome]:
        kind, status = EVENTS[name]
        subject = self.eyes.call(
            "select test.intent(%(b)s, %(s)s)", {"b": case["booking"], "s": status}
        ).value
        sent = {
            "id": new_name("evt") if self.rng.random() < 0.8 else f"evt-shared-{self.rng.randrange(20)}",
            "object": "event",
            "type": kind,
            "created": 1_800_000_000 + self.rng.randrange(100),
            "data": {"object": subject},
        }
        return name, self.app.call(PROCESS, {"event": Jsonb(sent)})

    def work(self) -> list[tuple[str, Outcome]]:
        found = []
        for row in self.app.call(CLAIM_ALL, {"worker": new_name("w"), "limit": 3}).rows:
            worker = self.eyes.call(
                "select locked_by from booking.stripe_commands where id = %(command_id)s", row
            ).value
            params = {"c": row["command_id"], "w": worker}
            if self.rng.random() < 0.3:
                error = Jsonb({"type": "api_error", "http_status": self.rng.choice([400, 401, 429, 500])})
                query = "select booking.fail_stripe_command(%(c)s, %(w)s, %(r)s, %(again)s)"
                found.append(
                    ("fail", self.app.call(query, {**params, "r": error, "again": self.rng.random() < 0.7}))
                )
            else:
                answer = self.eyes.call("select test.answer(%(c)s)", params).value
                found.append(("complete", self.app.call(COMPLETE, {**params, "r": Jsonb(answer)})))
        return found


@pytest.mark.parametrize("seed", [20261121, 20261122])
def test_everything_at_once_leaves_the_books_right(arena: Arena, seed: int) -> None:
    print(f"seed {seed}")
    slots = [arena.slot(hours=hours) for hours in (1, 10, 30)]
    slots += [arena.slot(capacity=3), arena.slot(capacity=40, confirmation="instant")]
    people = [Person(arena, slots, seed + number) for number in range(SESSIONS)]
    with ThreadPoolExecutor(SESSIONS) as pool:
        list(pool.map(lambda person: person.run(ROUNDS), people))
    done = [each for person in people for each in person.done]
    unexpected = [
        (name, outcome) for name, outcome in done if outcome.refused and outcome.sqlstate not in REFUSALS
    ]
    assert unexpected == []
    counts = Counter(name for name, outcome in done if not outcome.refused)
    print(counts)
    assert {"book", "confirm", "cancel", "keep", "complete", *EVENTS} <= set(counts)
    assert arena.invariants() == []
    # and again with all counters folded and nothing due
    arena.run("select booking.roll_up_stats()")
    assert arena.invariants() == []
