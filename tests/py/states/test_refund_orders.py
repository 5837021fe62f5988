"""A request's refund in every order of the events: it ends in one state, and the money with it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

Row = dict[str, Any]

ASKED = 2000
ALL_OF = 150
"""So many orders are tried one by one, of more only a sample of this size."""


@dataclass(frozen=True)
class Story:
    """What happens after a request for 2000 of 5000 was approved, and how it ends in whatever order.

    `sent`: its command is on its way when it begins. `hours`: how far ahead the slot is.
    """

    name: str
    happens: tuple[str, ...]
    ends: Row
    sent: bool = True
    hours: int = 168


PAID: Row = {
    "requests": ["refunded 2000"],
    "state": "confirmed/partially_refunded",
    "refunded": 2000,
    "ledger": 2000,
    "alerts": [],
}
FAILED: Row = {
    "requests": ["pending 2000"],
    "state": "confirmed/captured",
    "refunded": 0,
    "ledger": 0,
    "alerts": ["refund_failed"],
}
STORIES = [
    Story("it succeeds", ("answer", "created", "succeeded", "charge"), PAID),
    Story("... and is heard of twice", ("answer", "created", "succeeded", "succeeded", "charge"), PAID),
    Story("it fails", ("answer", "created", "failed", "charge"), FAILED),
    Story("it succeeds and fails later", ("answer", "created", "succeeded", "failed", "charge"), FAILED),
    Story(
        "the student cancels meanwhile",
        ("answer", "created", "succeeded", "cancel"),
        {**PAID, "state": "cancelled/refunded", "refunded": 5000, "ledger": 5000},
    ),
    Story(
        "the student cancels meanwhile, for half of it",
        ("answer", "created", "succeeded", "charge", "cancel"),
        {**PAID, "state": "cancelled/partially_refunded", "refunded": 2500, "ledger": 2500},
        hours=10,
    ),
    Story(
        "it fails and the student cancels: the policy gives its rest, a person decides on what failed",
        ("answer", "created", "failed", "cancel"),
        {**FAILED, "state": "cancelled/partially_refunded", "refunded": 3000, "ledger": 3000},
    ),
    Story(
        "a dispute is opened and won",
        ("answer", "created", "succeeded", "charge", "disputed", "won"),
        {**PAID, "alerts": ["dispute"]},
    ),
    Story(
        "a dispute is opened and won before it is sent",
        ("charge of others", "disputed", "won", "run"),
        {**PAID, "alerts": ["dispute"]},
        sent=False,
    ),
    Story(
        "half of what is left is refunded by hand before it is sent",
        ("by hand", "cancel", "charge of others"),
        {**PAID, "state": "cancelled/refunded", "refunded": 5000, "ledger": 5000},
        sent=False,
    ),
]


class Life:
    """One booking whose request was approved."""

    def __init__(self, conn: psycopg.Connection[Row], story: Story) -> None:
        self._conn = conn
        self.booking: UUID = self.scalar(
            "select test.captured_booking(make_interval(hours => %(h)s))", h=story.hours
        )
        self.request = self.scalar("select test.ask(%(b)s, %(a)s)", b=self.booking, a=ASKED)
        self.command = self.scalar("select test.approve(%(q)s)", q=self.request)
        if story.sent:
            self.scalar("select count(*) from booking.claim_stripe_command(%(c)s, 'w')", c=self.command)

    def scalar(self, query: Any, **params: Any) -> Any:
        row = self._conn.execute(query, params).fetchone()
        assert row is not None
        return next(iter(row.values()))

    def do(self, word: str) -> None:
        known = {"b": self.booking, "c": self.command, "a": ASKED, "id": f"re_{self.command}"}
        match word:
            case "answer":
                self.scalar(
                    "select booking.complete_stripe_command(%(c)s, 'w',"
                    " test.refund(%(b)s, %(a)s, %(id)s, 'pending', %(c)s))",
                    **known,
                )
            case "created" | "succeeded" | "failed":
                status = "pending" if word == "created" else word
                kind = {"created": "created", "succeeded": "updated", "failed": "failed"}[word]
                told = self.scalar(
                    "select test.event(%(t)s, test.refund(%(b)s, %(a)s, %(id)s, %(s)s, %(c)s))",
                    t=f"refund.{kind}",
                    s=status,
                    **known,
                )
                assert told == "processed"
            case "charge":
                self.scalar("select test.event('charge.refunded', test.charge(%(b)s, true, %(a)s))", **known)
            case "charge of others":
                self.scalar("select test.event('charge.captured', test.charge(%(b)s, true))", **known)
            case "by hand":
                self.scalar("select test.event('refund.created', test.refund(%(b)s, 1500))", **known)
            case "cancel":
                self.scalar(
                    "select booking.cancel_booking_transaction(test.student(%(b)s), %(b)s)::text", **known
                )
            case "disputed" | "won":
                stage = "needs_response" if word == "disputed" else "won"
                self.scalar("select test.dispute(%(b)s, %(s)s)", b=self.booking, s=stage)
            case "run":
                self.scalar("select test.run_commands(%(b)s)", **known)

    def outcome(self) -> Row:
        """How it stands once all that is open is carried out."""
        self.scalar("select test.run_commands(%(b)s)", b=self.booking)
        row = self._conn.execute(
            """
            select test.requests(p.booking_id) as requests, test.state(p.booking_id) as state,
              p.amount_refunded as refunded,
              (select coalesce(sum(case t.kind when 'refund' then t.amount else -t.amount end), 0)::int
               from booking.transfers t where t.payment_id = p.id and t.kind <> 'capture') as ledger,
              (select coalesce(array_agg(distinct a.kind order by a.kind), '{}') from booking.alerts a
               where a.resolved_at is null and a.kind <> 'refund_held_by_dispute'
                 and (a.detail ->> 'payment_id' = p.id::text or a.subject = p.id::text)) as alerts,
              (select sum(f.amount) from booking.refunds f
               where f.payment_id = p.id and f.status not in ('failed', 'canceled')) as at_stripe
            from booking.payments p where p.booking_id = %(b)s
            """,
            {"b": self.booking},
        ).fetchone()
        assert row is not None
        assert (row.pop("at_stripe") or 0) == row["refunded"], "our books and Stripe's"
        return row


@pytest.fixture
def conn(pgtap_db_url: str) -> Iterator[psycopg.Connection[Row]]:
    with psycopg.connect(pgtap_db_url, row_factory=dict_row) as connection:
        connection.execute("create index on booking.alerts ((detail ->> 'payment_id'))")
        yield connection
        connection.rollback()


def orders(story: Story, seed: int) -> list[tuple[str, ...]]:
    every = sorted(set(itertools.permutations(story.happens)))
    return every if len(every) <= ALL_OF else random.Random(seed).sample(every, ALL_OF)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_requests_refund_ends_in_one_state_in_every_order(
    conn: psycopg.Connection[Row], story: Story
) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    wrong = []
    for order in orders(story, seed):
        with conn.transaction(force_rollback=True):
            life = Life(conn, story)
            for word in order:
                life.do(word)
            found = life.outcome()
            broken = conn.execute("select invariant, detail from booking.check_invariants()").fetchall()
        if found != story.ends or broken:
            differs = {key: found[key] for key in found if found[key] != story.ends[key]}
            wrong.append(f"{' > '.join(order)}: {differs} {broken or ''}")
    assert not wrong, f"seed {seed}, of {len(orders(story, seed))}:\n" + "\n".join(wrong[:10])


def test_the_events_come_in_more_than_one_order() -> None:
    assert all(len(orders(story, 0)) >= 6 for story in STORIES)
    assert len(orders(STORIES[0], 0)) == 24
