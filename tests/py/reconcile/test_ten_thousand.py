"""Ten thousand clean payments: none differs; a handful of planted ones: exactly those do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from glue.sandbox.process import running
from glue.sandbox.shapes import blank
from tests.py.mirror.world import World, world
from tests.py.reconcile.scenes import found, reconcile

pytestmark = pytest.mark.pg18  # many rows once; the functions have their tests on every version

COUNT = 10_000
NOW = datetime.now(UTC).replace(microsecond=0)
BEGAN = NOW - timedelta(hours=20)

# Payments in every state, spread over twenty hours; what a state means at Stripe is in `at_stripe`.
FILL = """
set session_replication_role = replica;
create temp table made as
select n, booking.new_id('x') as booking_id, booking.new_id('x') as payment_id, %(began)s + n * interval '7 seconds' as at,
  (array['captured', 'captured', 'captured', 'captured', 'partially_refunded', 'refunded', 'authorized', 'cancelled', 'pending', 'failed'])[n %% 10 + 1] as status
from generate_series(1, %(count)s) n;
insert into booking.bookings (id, slot_id, session_id, student_id, expert_id, payment_id, seat_part, status, confirmation, currency,
  amount, scheduled_at, ends_at, created_at)
select booking_id, booking_id, booking_id, 'student-' || n, 'expert', payment_id, 1, 'pending', 'expert', 'eur',
  5000, at + interval '7 days', at + interval '8 days', at from made;
insert into booking.payments (id, booking_id, amount, currency, status, amount_captured, amount_refunded, charge_refunded,
  stripe_payment_intent_id, created_at, updated_at)
select payment_id, booking_id, 5000, 'eur', status::booking.payment_status,
  case when status in ('captured', 'partially_refunded', 'refunded') then case n %% 20 when 3 then 3000 else 5000 end else 0 end,
  case status when 'partially_refunded' then 1500 when 'refunded' then 5000 else 0 end, 0, 'pi_' || n, at, at from made;
insert into booking.refunds (stripe_refund_id, payment_id, amount, currency, status, created_at)
select 're_' || n, payment_id, case status when 'partially_refunded' then 1500 else 5000 end, 'eur', 'succeeded', at + interval '1 hour'
from made where status in ('partially_refunded', 'refunded');
insert into booking.refunds (stripe_refund_id, payment_id, amount, currency, status, created_at)
select 're_failed_' || n, payment_id, 700, 'eur', 'failed', at + interval '1 hour' from made where n %% 10 = 1 and n %% 30 = 1;
set session_replication_role = origin;
analyze booking.payments, booking.refunds;
"""  # noqa: E501


INTENT_STATUS = {
    "authorized": "requires_capture",
    "cancelled": "canceled",
    "pending": "requires_payment_method",
    "failed": "requires_payment_method",
}


def at_stripe(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """PaymentIntent, charge and refunds of a payment that agrees."""
    n, created = row["stripe_payment_intent_id"].removeprefix("pi_"), int(row["created_at"].timestamp())
    metadata = {"booking_id": str(row["booking_id"]), "payment_id": str(row["id"])}
    status, captured, refunded = row["status"], row["amount_captured"], row["amount_refunded"]
    money = {"amount": 5000, "currency": "eur", "metadata": metadata}
    yield (
        blank("payment_intent")
        | money
        | {
            "id": f"pi_{n}",
            "created": created,
            "amount_received": captured,
            "status": INTENT_STATUS.get(status, "succeeded"),
            "latest_charge": None if status == "pending" else f"ch_{n}",
        }
    )
    if status != "pending":
        released = status == "cancelled"
        rest = 5000 - captured if captured else 0
        yield (
            blank("charge")
            | money
            | {
                "id": f"ch_{n}",
                "created": created + 60,
                "payment_intent": f"pi_{n}",
                "captured": captured > 0,
                "amount_captured": captured,
                "amount_refunded": 5000 if released else refunded + rest,
                "refunded": released or refunded == 5000,
                "status": "failed" if status == "failed" else "succeeded",
            }
        )
    for refund in row["refunds"] or []:
        yield blank("refund") | {
            **refund,
            "created": created + 3600,
            "currency": "eur",
            "charge": f"ch_{n}",
            "payment_intent": f"pi_{n}",
        }


@pytest.fixture(scope="module")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sandbox") / "data.json"


@pytest.fixture
def here(db_url: str, data_file: Path) -> Iterator[World]:
    """Ten thousand payments in the database, and what Stripe has of them in a sandbox's file."""
    with psycopg.connect(db_url, row_factory=dict_row) as conn:
        conn.execute(_filled())
        rows = conn.execute(
            "select p.id, p.booking_id, p.status::text, p.amount_captured, p.amount_refunded, p.created_at,"
            " p.stripe_payment_intent_id,"
            " (select json_agg(json_build_object('id', f.stripe_refund_id, 'amount', f.amount,"
            "   'status', f.status))"
            "  from booking.refunds f where f.payment_id = p.id) as refunds"
            " from booking.payments p order by p.created_at"
        ).fetchall()
    stores: dict[str, list[dict[str, Any]]] = {"payment_intent": [], "charge": [], "refund": []}
    for row in rows:
        for each in at_stripe(row):
            stores[each["object"]].append(each)
    for store in stores.values():
        store.sort(key=lambda each: each["created"])
    links: dict[str, list[str]] = {}
    for each in stores["charge"]:
        links.setdefault(f"charge:{each['payment_intent']}", []).append(each["id"])
    for each in stores["refund"]:
        links.setdefault(f"refund:{each['charge']}", []).append(each["id"])
    values = {"version": 1, "offset": 0.0, "stores": stores, "hidden": {}, "links": links}
    values |= {"timers": [], "timer_count": 0, "keys": {}, "endpoints": []}
    data_file.write_text(json.dumps(values))
    with running(data_file=data_file) as sandbox, world(db_url, sandbox) as made:
        yield made


def _filled() -> bytes:
    text = FILL.replace("%(began)s", f"timestamptz '{BEGAN.isoformat()}'").replace("%(count)s", str(COUNT))
    return text.replace("%%", "%").encode()


def test_none_of_ten_thousand_differs_and_planted_ones_do(here: World) -> None:
    window: dict[str, Any] = {"start": BEGAN - timedelta(hours=1), "end": NOW + timedelta(hours=1)}

    report = reconcile(here, patience=0, **window)

    assert found(report) == []
    assert report.pending == 0
    assert (report.payment_intents, report.charges) == (COUNT, COUNT * 9 // 10)
    looks = len(here.control.requests(method="GET", path=r"^/v1/payment_intents/"))
    assert looks == 0, "nothing was doubtful"

    one = dict(
        zip(("status", "captured", "refunded", "amount", "missing"), range(2001, 2051, 10), strict=True)
    )
    plant = {
        one["status"] + 6: "status = 'authorized'",
        one["captured"]: "amount_captured = 4000",
        one["refunded"]: "amount_refunded = 100, status = 'partially_refunded'",
        one["amount"]: "amount = 6000",
        one["missing"]: "stripe_payment_intent_id = 'pi_gone'",
    }
    here.sql.execute("set session_replication_role = replica")
    for n, change in plant.items():
        query = f"update booking.payments set {change} where stripe_payment_intent_id = 'pi_{n}'"
        assert here.sql.execute(query.encode()).rowcount == 1

    report = reconcile(here, patience=0, **window)

    assert sorted(found(report), key=str) == [
        ("amount", f"pi_{one['amount']}", "6000", "5000"),
        ("captured", f"pi_{one['captured']}", "4000", "5000"),
        ("missing_at_stripe", "pi_gone", "captured 5000 eur", None),
        ("missing_here", f"pi_{one['missing']}", None, "succeeded 5000 eur"),
        ("refunded", f"pi_{one['refunded']}", "100", "0"),
        ("status", f"pi_{one['status'] + 6}", "authorized", "canceled"),
    ]
