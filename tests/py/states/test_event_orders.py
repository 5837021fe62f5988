"""Whatever the order in which the events of a payment arrive, and however often, they end in one state."""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

Row = dict[str, Any]
Event = tuple[str, Row]

ALL_OF = 5040  # so many orders are all tried; of more, a sample
SAMPLE = 1000
TWICE = 200

PLAY = Path(__file__).with_name("orders.sql").read_bytes()


def intent(status: str, *, received: int = 0, charge: str | None = "ch_ID", **more: Any) -> Row:
    return {
        "id": "pi_ID",
        "object": "payment_intent",
        "status": status,
        "amount": 5000,
        "currency": "usd",
        "amount_received": received,
        "latest_charge": charge,
        "metadata": {"payment_id": "PAYMENT"},
        **more,
    }


def charge(
    captured: int = 0, refunded: int = 0, *, status: str = "succeeded", name: str = "ch_ID", hold: bool = True
) -> Row:
    face: Row = {"brand": "visa"}
    if hold:
        face["capture_before"] = 1800000000
    return {
        "id": name,
        "object": "charge",
        "status": status,
        "payment_intent": "pi_ID",
        "amount": 5000,
        "currency": "usd",
        "captured": captured > 0,
        "amount_captured": captured,
        "amount_refunded": refunded,
        "refunded": refunded == 5000,
        "payment_method_details": {"type": "card", "card": face},
        "metadata": {"payment_id": "PAYMENT"},
    }


def refund(name: str, amount: int, status: str) -> Row:
    """As made in the dashboard: without any metadata."""
    made: Row = {
        "id": f"re_{name}_ID",
        "object": "refund",
        "status": status,
        "amount": amount,
        "currency": "usd",
        "payment_intent": "pi_ID",
        "charge": "ch_ID",
        "metadata": {},
    }
    return made | ({"failure_reason": "lost_or_stolen_card"} if status == "failed" else {})


def dispute(status: str) -> Row:
    return {
        "id": "dp_ID",
        "object": "dispute",
        "status": status,
        "amount": 5000,
        "currency": "usd",
        "reason": "fraudulent",
        "payment_intent": "pi_ID",
        "charge": "ch_ID",
    }


CREATED: Event = ("payment_intent.created", intent("requires_payment_method", charge=None))
CAPTURABLE: Event = ("payment_intent.amount_capturable_updated", intent("requires_capture"))
HELD: Event = ("charge.succeeded", charge())
CAPTURED: Event = ("charge.captured", charge(5000))
SUCCEEDED: Event = ("payment_intent.succeeded", intent("succeeded", received=5000))
CANCELED: Event = ("payment_intent.canceled", intent("canceled"))
EXPIRE: Event = ("expire", {})


@dataclass(frozen=True)
class Story:
    """Events in Stripe's order, and what they must end in, written by hand."""

    name: str
    events: tuple[Event, ...]
    ends: Row
    confirmation: str = "expert"


STORIES = (
    Story(
        "authorize, capture",
        (CREATED, HELD, CAPTURABLE, CAPTURED, SUCCEEDED),
        {"booking": "pending", "payment": "captured", "captured": 5000, "charge": "ch_ID", "commands": None},
    ),
    Story(
        "authorize, expire, capture",
        (HELD, CAPTURABLE, EXPIRE, CAPTURED, SUCCEEDED),
        {
            "booking": "cancelled",
            "by": "system",
            "payment": "captured",
            "captured": 5000,
            "commands": [["create_refund", "pending", {"amount": 5000, "payment_intent": "pi_ID"}]],
        },
    ),
    Story(
        "authorize, cancel",
        (
            CREATED,
            HELD,
            CAPTURABLE,
            ("charge.refunded", charge(0, 5000)),
            ("refund.created", refund("release", 5000, "succeeded")),
            CANCELED,
        ),
        {
            "booking": "cancelled",
            "by": "system",
            "payment": "cancelled",
            "captured": 0,
            "refunded": 0,
            "cancelled": True,
            "commands": None,
            "ledger": None,
        },
    ),
    Story(
        "fail, retry, authorize, capture",
        (
            ("charge.failed", charge(status="failed", name="ch_declined", hold=False)),
            ("payment_intent.payment_failed", intent("requires_payment_method", charge="ch_declined")),
            ("payment_intent.processing", intent("processing", charge="ch_ID")),
            HELD,
            CAPTURABLE,
            CAPTURED,
            SUCCEEDED,
        ),
        {"booking": "pending", "payment": "captured", "captured": 5000, "charge": "ch_ID", "commands": None},
    ),
    Story(
        "fail, retry, fail",
        (
            ("payment_intent.payment_failed", intent("requires_payment_method", charge="ch_declined")),
            ("payment_intent.requires_action", intent("requires_action", charge=None)),
            ("payment_intent.processing", intent("processing", charge=None)),
            ("payment_intent.payment_failed", intent("requires_payment_method", charge="ch_declined2")),
            EXPIRE,
        ),
        {
            "booking": "cancelled",
            "payment": "failed",
            "charge": None,
            "commands": [["cancel_payment_intent", "pending", {}]],
        },
    ),
    Story(
        "capture, two partial refunds",
        (
            CAPTURABLE,
            CAPTURED,
            SUCCEEDED,
            ("refund.created", refund("a", 1000, "succeeded")),
            ("charge.refunded", charge(5000, 1000)),
            ("refund.created", refund("b", 500, "pending")),
            ("charge.refunded", charge(5000, 1500)),
            ("refund.updated", refund("b", 500, "succeeded")),
        ),
        {
            "booking": "pending",
            "payment": "partially_refunded",
            "refunded": 1500,
            "ledger": {"captured": 5000, "refunded": 1500},
            "commands": None,
        },
    ),
    Story(
        "expire, capture, refund in the dashboard",
        (
            EXPIRE,
            SUCCEEDED,
            CAPTURED,
            ("refund.created", refund("a", 1000, "succeeded")),
            ("charge.refunded", charge(5000, 1000)),
        ),
        {
            "booking": "cancelled",
            "payment": "partially_refunded",
            "refunded": 1000,
            "commands": [["create_refund", "pending", {"amount": 4000, "payment_intent": "pi_ID"}]],
        },
    ),
    Story(
        "capture, a refund that fails later, a second refund",
        (
            SUCCEEDED,
            ("refund.created", refund("a", 2000, "pending")),
            ("charge.refunded", charge(5000, 2000)),
            ("refund.failed", refund("a", 2000, "failed")),
            ("refund.created", refund("b", 1500, "succeeded")),
            ("charge.refunded", charge(5000, 1500)),
        ),
        {
            "booking": "pending",
            "payment": "partially_refunded",
            "refunded": 1500,
            "ledger": {"captured": 5000, "refunded": 1500},
            "alerts": ["refund_failed"],
        },
    ),
    Story(
        "expire, capture, a refund that fails later",
        (
            EXPIRE,
            SUCCEEDED,
            ("refund.created", refund("a", 2000, "pending")),
            ("charge.refunded", charge(5000, 2000)),
            ("refund.updated", refund("a", 2000, "failed")),
            ("refund.failed", refund("a", 2000, "failed")),
        ),
        {
            "booking": "cancelled",
            "payment": "captured",
            "refunded": 0,
            # what failed is paid by hand: it is not sent again by itself
            "commands": [["create_refund", "pending", {"amount": 3000, "payment_intent": "pi_ID"}]],
        },
    ),
    Story(
        "3-D Secure, authorize, the hold expires",
        (
            CREATED,
            ("payment_intent.requires_action", intent("requires_action", charge=None)),
            HELD,
            CAPTURABLE,
            ("charge.expired", charge(0, 5000)),
            CANCELED,
        ),
        {
            "booking": "cancelled",
            "by": "system",
            "payment": "cancelled",
            "captured": 0,
            "refunded": 0,
            "cancelled": True,
            "commands": None,
        },
    ),
    Story(
        "instant slot",
        (
            CREATED,
            ("payment_intent.processing", intent("processing")),
            ("charge.succeeded", charge(5000, hold=False)),
            SUCCEEDED,
        ),
        {"booking": "confirmed", "payment": "captured", "captured": 5000, "commands": None},
        "instant",
    ),
    Story(
        "instant slot, refunded in the dashboard",
        (
            ("charge.succeeded", charge(5000, hold=False)),
            SUCCEEDED,
            ("refund.created", refund("a", 5000, "succeeded")),
            ("charge.refunded", charge(5000, 5000, hold=False)),
        ),
        {"booking": "confirmed", "payment": "refunded", "refunded": 5000, "commands": None},
        "instant",
    ),
    Story(
        "a dispute that is won",
        (
            CAPTURABLE,
            SUCCEEDED,
            CAPTURED,
            ("charge.dispute.created", dispute("needs_response")),
            ("charge.dispute.updated", dispute("under_review")),
            ("charge.dispute.closed", dispute("won")),
        ),
        {
            "booking": "pending",
            "payment": "captured",
            "disputes": [["dp_ID", 5000, "won"]],
            "alerts": ["dispute"],
        },
    ),
    Story(
        "expire, capture, a dispute that is won",
        (
            EXPIRE,
            SUCCEEDED,
            ("charge.dispute.created", dispute("needs_response")),
            ("charge.dispute.updated", dispute("under_review")),
            ("charge.dispute.closed", dispute("won")),
        ),
        {
            "booking": "cancelled",
            "disputes": [["dp_ID", 5000, "won"]],
            "commands": [["create_refund", "pending", {"amount": 5000, "payment_intent": "pi_ID"}]],
        },
    ),
    Story(
        "expire, capture, a dispute that is lost",
        (
            EXPIRE,
            SUCCEEDED,
            ("charge.dispute.created", dispute("needs_response")),
            ("charge.dispute.closed", dispute("lost")),
        ),
        {"booking": "cancelled", "disputes": [["dp_ID", 5000, "lost"]], "commands": None},
    ),
    Story(
        "captured in part",
        (
            HELD,
            CAPTURABLE,
            ("charge.captured", {**charge(3000, 2000)}),
            ("payment_intent.succeeded", intent("succeeded", received=3000)),
            ("refund.created", refund("a", 1000, "succeeded")),
            ("charge.refunded", charge(3000, 3000)),
        ),
        {"booking": "pending", "payment": "partially_refunded", "captured": 3000, "refunded": 1000},
    ),
)


def _numbered(events: tuple[Event, ...]) -> list[Row]:
    """Each event with its time: one a minute; those of our own people have none."""
    return [
        {"type": name, "created": 1790000000 + 60 * minute, "data": {"object": thing}}
        for minute, (name, thing) in enumerate(events)
    ]


def _orders(story: Story, seed: int) -> Iterator[list[Row]]:
    """Stripe's own order first; then all others, or a sample of so many."""
    events = _numbered(story.events)
    yield events
    if math.factorial(len(events)) <= ALL_OF:
        yield from (list(order) for order in itertools.islice(itertools.permutations(events), 1, None))
        return
    chance = random.Random(seed)
    for _ in range(SAMPLE):
        yield chance.sample(events, len(events))


@pytest.fixture
def conn(pgtap_db_url: str) -> Iterator[psycopg.Connection[Any]]:
    # each booking is committed: a single transaction would drag all versions of a seat counter along
    with psycopg.connect(pgtap_db_url, row_factory=dict_row, autocommit=True) as connection:
        connection.execute("set synchronous_commit = off")
        connection.execute(PLAY)
        yield connection


def _one(conn: psycopg.Connection[Any], query: Any, *params: Any) -> Any:
    row = conn.execute(query, params).fetchone()
    assert row is not None
    return next(iter(row.values()))


def _names(order: list[Row]) -> str:
    words = []
    for event in order:
        thing = event["data"]["object"]
        words.append(f"{event['type']} {thing.get('amount_refunded') or thing.get('status') or ''}".strip())
    return " > ".join(words)


def _check(
    conn: psycopg.Connection[Any], story: Story, lists: Iterator[list[Row]], recorded: bool, note: str
) -> None:
    slot = _one(
        conn,
        "select test.make_slot(p_start => '300 days', p_capacity => 500000, p_confirmation => %s)",
        story.confirmation,
    )
    played: list[list[Row]] = []
    outcomes: list[Row] = []
    for order in lists:
        outcomes.append(_one(conn, "select test.tell(%s, %s, %s)", slot, recorded, Jsonb(order)))
        played.append(order)
    first = outcomes[0]
    wrong = {key: first[key] for key, value in story.ends.items() if first[key] != value}
    assert not wrong, f"{story.name}, in Stripe's order: {wrong} instead of {story.ends}"
    for order, outcome in zip(played, outcomes, strict=True):
        if outcome != first:
            differs = {key: (first[key], outcome[key]) for key in first if first[key] != outcome[key]}
            pytest.fail(
                f"{story.name} {note}\nin the order {_names(order)}\n"
                f"ends differently (Stripe's order, this order): {json.dumps(differs, indent=1)}",
                pytrace=False,
            )
    assert conn.execute("select * from booking.check_invariants()").fetchall() == []


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "unknown yet"])
def test_every_order_of_the_events_ends_in_one_state(
    conn: psycopg.Connection[Any], story: Story, recorded: bool
) -> None:
    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")
    lists = _orders(story, seed)
    if not recorded:
        # until it is recorded only metadata.payment_id tells whose it is: the first event must carry it
        told = ("payment_intent.", "charge.succeeded", "charge.captured", "charge.refunded", "charge.expired")
        lists = itertools.islice(
            (
                order
                for order in lists
                if order[0]["type"].startswith(told) and order[0]["type"] != CREATED[0]
            ),
            TWICE,
        )
    _check(conn, story, lists, recorded, f"(seed {seed})")


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_events_that_come_twice_in_any_order_have_one_effect(
    conn: psycopg.Connection[Any], story: Story
) -> None:
    """Each fact comes two or three times, under ids of their own, shuffled."""
    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")
    chance = random.Random(seed)
    events = _numbered(story.events)

    def shuffled() -> Iterator[list[Row]]:
        yield events
        for _ in range(TWICE):
            doubled = events + chance.choices(events, k=len(events))
            yield chance.sample(doubled, len(doubled))

    _check(conn, story, shuffled(), True, f"(doubled, seed {seed})")
