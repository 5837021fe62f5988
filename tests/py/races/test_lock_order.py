"""The order of locks, function by function, as the "Locks:" line of its header says it.

For each lock of a function, somebody outside holds it; the function is seen waiting there. By then it must
hold every earlier lock and none of the later ones. Where all keep one order, nobody waits in a circle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from psycopg.types.json import Jsonb

from tests.py.races.helpers import CANCEL, CLEANUP, ROOT, Arena, Row, Session, Sessions, new_name
from tests.py.races.test_pairs import DECIDE, EVENTS, PREPARE, PROCESS, RECORD, begin

ROWS: Mapping[str, str] = {
    "key": "from booking.client_idempotency where user_id = %(student)s",
    "lesson": "from booking.sessions where id = %(lesson)s",
    "expert": "from booking.experts where expert_id = %(expert)s",
    "event": "from booking.webhook_events where stripe_event_id = %(event_id)s",
    "seat": "from booking.slot_seats where slot_id = %(slot)s",
    "booking": "from booking.bookings where id = %(booking)s",
    "payment": "from booking.payments where id = %(payment)s",
    "command": "from booking.stripe_commands where stripe_id = %(intent)s and status <> 'done'",
    "request": "from booking.refund_requests where id = %(request)s",
    "alert": "from booking.alerts where subject = %(alert)s",
    "series": "from booking.invoice_series where series = 'INV'",
    "notes": "from booking.invoice_series where series = 'CN'",
    "lock": "from booking.concurrency_locks where user_id = %(user)s",
    "older": "from booking.orders where id = %(older)s",
    "order": "from booking.orders where id = %(order)s",
    "ending": "from booking.stripe_commands where order_id = %(older)s",
}
"""What a lock is on. An insert of a new row takes part as well, but there is nothing to hold from outside."""


@dataclass(frozen=True)
class Function:
    """How one function is called in one situation, and the locks that it takes, in order."""

    file: str
    locks: str
    """The "Locks:" line of its header, word for word."""
    start: str
    call: str
    order: tuple[str, ...]
    skips: frozenset[str] = field(default=frozenset())
    """Locks at which it goes on without the row instead of waiting."""
    never: tuple[str, ...] = ()
    """What it leaves alone, so that it waits for nobody who holds it."""
    role: str = "booking_app"
    situation: str = ""
    more: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.file.split('/')[1]}{'-' + self.situation if self.situation else ''}"


BOOK = (
    "select * from booking.create_booking_transaction(p_student_id => %(student)s, p_slot_id => %(slot)s,"
    " p_idempotency_key => 'my key')"
)
PUBLISH = (
    "select booking.publish_slot(p_expert_id => %(expert)s, p_session_id => %(lesson)s,"
    " p_starts_at => now() + interval '30 days', p_ends_at => now() + interval '31 days')"
)
COMPLETE = "select booking.complete_stripe_command(%(command)s, 'me', %(answer)s)"
FAIL = "select booking.fail_stripe_command(%(command)s, 'me', %(error)s, false)"
REVIVE = "select booking.retry_stripe_command(p_command_id => %(command)s, p_actor => 'ann')"
REPEAT = "select booking.retry_failed_webhooks()"
CLAIM = "select * from booking.claim_stripe_commands(p_worker => 'me')"
ASK = (
    "select booking.request_refund(p_student_id => %(student)s, p_booking_id => %(booking)s, p_amount => 100)"
)
DECIDE_REQUEST = (
    "select * from booking.decide_refund_request(p_admin_id => 'admin', p_request_id => %(request)s,"
    " p_decision => %(decision)s)"
)
ISSUE = "select * from booking.issue_invoice(p_payment_id => %(payment)s)"

BUY = (
    "select * from booking.begin_checkout(p_user_id => %(user)s, p_product_id => %(product)s,"
    " p_idempotency_key => 'my key', p_request_id => 'me')"
)
BOUGHT = "select * from booking.finish_checkout(%(order)s, 'me', %(session)s, 'https://checkout.test')"
NOT_BOUGHT = "select booking.abort_checkout(%(order)s, 'me', 'refused: too late')"
BY_ORDER = "Of an order: orders ascending -> command"

PREPARE_CLASS = (
    "select * from booking.prepare_class_payment(p_user_id => %(student)s, p_class_id => %(slot)s,"
    " p_idempotency_key => 'my key')"
)
CONFIRM_CLASS = (
    "select * from booking.confirm_class_booking(p_user_id => %(student)s, p_class_id => %(slot)s,"
    " p_intent => %(paid)s)"
)

OF_EVENTS = "event row -> (seat counter ->) booking -> payment -> outbox insert."
OF_ANSWERS = "(seat counter ->) booking -> payment -> command."
OF_FAILURES = "(seat counter ->) booking -> payment -> command -> alert."
OF_DECISIONS = "(decline: seat counter ->) booking -> payment -> outbox insert."

FUNCTIONS = [
    Function(
        "bookings/create_booking_transaction",
        "idempotency key -> one seat counter -> the new booking.",
        "free",
        BOOK,
        ("key", "seat"),
        never=("expert",),
    ),
    Function(
        "bookings/publish_slot",
        "the session, shared -> the expert.",
        "authorized",
        PUBLISH,
        ("lesson", "expert"),
        never=("seat", "booking"),
    ),
    Function(
        "bookings/confirm_booking_transaction",
        OF_DECISIONS,
        "authorized",
        DECIDE,
        ("booking", "payment"),
        never=("seat", "expert"),
        situation="confirm",
        more={"action": "confirm"},
    ),
    Function(
        "bookings/confirm_booking_transaction",
        OF_DECISIONS,
        "authorized",
        DECIDE,
        ("seat", "booking", "payment"),
        never=("expert",),
        situation="decline",
        more={"action": "decline"},
    ),
    Function(
        "bookings/cancel_booking_transaction",
        "seat counter -> booking -> payment -> outbox insert.",
        "confirmed",
        CANCEL,
        ("seat", "booking", "payment", "command"),
        never=("expert",),
    ),
    Function(
        "payments/prepare_payment_intent",
        "booking -> payment.",
        "unpaid",
        PREPARE,
        ("booking", "payment"),
        never=("seat", "expert"),
    ),
    Function(
        "payments/record_payment_intent",
        "booking -> payment -> outbox insert.",
        "unpaid",
        RECORD,
        ("booking", "payment"),
        never=("seat", "expert"),
    ),
    Function(
        "webhooks/process_webhook_event",
        OF_EVENTS,
        "unpaid",
        PROCESS,
        ("event", "booking", "payment"),
        never=("seat", "expert"),
        situation="authorized",
        more={"kind": "authorized"},
    ),
    Function(
        "webhooks/process_webhook_event",
        OF_EVENTS,
        "confirmed",
        PROCESS,
        ("event", "seat", "booking", "payment", "command"),
        never=("expert",),
        situation="canceled",
        more={"kind": "canceled"},
    ),
    Function(
        "webhooks/retry_failed_webhooks",
        "one event after the other, each with its seat counters -> booking -> payment, skipping locked ones"
        " -> as process_webhook_event.",
        "confirmed",
        REPEAT,
        ("event", "seat", "booking", "payment", "command"),
        skips=frozenset({"event", "seat", "booking", "payment"}),
        role="booking_cron",
        more={"kind": "canceled"},
    ),
    Function(
        "payments/complete_stripe_command",
        OF_ANSWERS,
        "claimed capture",
        COMPLETE,
        ("booking", "payment", "command"),
        never=("seat",),
        situation="captured",
        more={"status": "succeeded"},
    ),
    Function(
        "payments/complete_stripe_command",
        OF_ANSWERS,
        "claimed capture",
        COMPLETE,
        ("seat", "booking", "payment", "command"),
        situation="canceled",
        more={"status": "canceled"},
    ),
    Function(
        "payments/fail_stripe_command",
        OF_FAILURES,
        "claimed capture",
        FAIL,
        ("booking", "payment", "command", "alert"),
        never=("seat",),
        situation="unknown",
        more={"error": {"type": "api_error", "http_status": 400}, "alert_kind": "command_dead"},
    ),
    Function(
        "payments/fail_stripe_command",
        OF_FAILURES,
        "claimed capture",
        FAIL,
        ("seat", "booking", "payment", "command"),
        situation="canceled",
        more={"error": {"code": "payment_intent_unexpected_state", "http_status": 400}, "status": "canceled"},
    ),
    Function(
        "payments/retry_stripe_command",
        "booking -> payment -> command -> alert.",
        "dead capture",
        REVIVE,
        ("booking", "payment", "command", "alert"),
        never=("seat",),
        role="booking_dba",
    ),
    Function(
        "payments/claim_stripe_commands",
        "of each dead one booking -> payment -> command, skipping locked ones -> outbox insert -> alert;"
        " then the commands, skipping locked ones.",
        "lapsed capture",
        CLAIM,
        ("booking", "payment", "command", "alert"),
        skips=frozenset({"booking", "payment", "command"}),
        never=("seat",),
        more={"alert_kind": "command_dead"},
    ),
    Function(
        "webhooks/process_webhook_event",
        OF_EVENTS,
        "invoiced",
        PROCESS,
        ("event", "booking", "payment", "notes"),
        never=("seat", "expert", "series"),
        situation="refunded",
        more={"refund": True},
    ),
    Function(
        "payments/prepare_class_payment",
        "advisory lock on student and class -> idempotency key -> one seat counter -> booking -> payment.",
        "free class",
        PREPARE_CLASS,
        ("key", "seat"),
        never=("expert",),
    ),
    Function(
        "payments/prepare_class_payment",
        "advisory lock on student and class -> idempotency key -> one seat counter -> booking -> payment.",
        "instant",
        PREPARE_CLASS,
        ("booking", "payment"),
        never=("seat", "expert"),
        situation="again",
    ),
    Function(
        "payments/confirm_class_booking",
        "(seat counter ->) booking -> payment -> outbox insert.",
        "instant",
        CONFIRM_CLASS,
        ("booking", "payment"),
        never=("seat", "expert"),
    ),
    Function(
        "payments/confirm_class_booking",
        "(seat counter ->) booking -> payment -> outbox insert.",
        "lapsed hold",
        CONFIRM_CLASS,
        ("seat", "booking", "payment", "command"),
        never=("expert",),
        situation="lapsed",
    ),
    Function(
        "webhooks/process_webhook_event",
        OF_EVENTS,
        "lapsed hold",
        PROCESS,
        ("event", "seat", "booking", "payment", "command"),
        never=("expert",),
        situation="lapsed",
        more={"kind": "captured"},
    ),
    Function(
        "webhooks/retry_failed_webhooks",
        "one event after the other, each with its seat counters -> booking -> payment, skipping locked ones"
        " -> as process_webhook_event.",
        "lapsed hold",
        REPEAT,
        ("event", "seat", "booking", "payment", "command"),
        skips=frozenset({"event", "seat", "booking", "payment"}),
        role="booking_cron",
        situation="lapsed",
        more={"kind": "captured"},
    ),
    Function(
        "payments/fail_stripe_command",
        OF_FAILURES,
        "lapsed hold claimed",
        FAIL,
        ("seat", "booking", "payment", "command"),
        never=("expert",),
        situation="paid",
        more={
            "error": {"code": "payment_intent_unexpected_state", "http_status": 400},
            "status": "succeeded",
        },
    ),
    Function(
        "checkout/begin_checkout",
        "idempotency key -> lock's row -> orders of this user and product, ascending -> outbox insert.",
        "order lapsed",
        BUY,
        ("key", "lock", "order"),
        never=("seat", "booking", "payment", "expert"),
    ),
    Function(
        "checkout/finish_checkout",
        "lock's row -> order -> outbox insert.",
        "order begun",
        BOUGHT,
        ("lock", "order"),
        never=("key", "older"),
    ),
    Function(
        "checkout/abort_checkout",
        "lock's row -> order.",
        "order begun",
        NOT_BOUGHT,
        ("lock", "order"),
        never=("key", "older"),
    ),
    Function(
        "webhooks/process_webhook_event",
        OF_EVENTS + " Of an order: event row -> orders ascending -> commands, outbox insert -> alerts.",
        "order superseded",
        PROCESS,
        ("event", "older", "order", "ending"),
        never=("seat", "booking", "payment", "expert", "key", "lock"),
        situation="paid",
    ),
    Function(
        "webhooks/retry_failed_webhooks",
        "one event after the other, each with its seat counters -> booking -> payment, skipping locked ones"
        " -> as process_webhook_event. Of an order: with its orders, skipping locked ones",
        "order superseded",
        REPEAT,
        ("event", "older", "order", "ending"),
        skips=frozenset({"event", "older", "order"}),
        role="booking_cron",
        situation="paid",
    ),
    Function(
        "payments/complete_stripe_command",
        f"{OF_ANSWERS} {BY_ORDER}.",
        "order claimed",
        COMPLETE,
        ("older", "order", "ending"),
        never=("seat", "booking", "payment"),
        situation="expired",
    ),
    Function(
        "payments/fail_stripe_command",
        f"{OF_FAILURES} {BY_ORDER} -> alert.",
        "order claimed",
        FAIL,
        ("older", "order", "ending", "alert"),
        never=("seat", "booking", "payment"),
        situation="unknown session",
        more={"alert_kind": "command_dead"},
    ),
    Function(
        "payments/retry_stripe_command",
        f"booking -> payment -> command -> alert. {BY_ORDER} -> alert.",
        "order dead",
        REVIVE,
        ("older", "order", "ending", "alert"),
        never=("seat", "booking", "payment"),
        role="booking_dba",
        situation="of an order",
    ),
    Function(
        "invoices/issue_invoice",
        "payment -> invoice series.",
        "captured",
        ISSUE,
        ("payment", "series"),
        never=("seat", "booking", "expert", "notes"),
    ),
    Function(
        "invoices/issue_missing_invoices",
        "payments ascending, skipping locked ones -> invoice series.",
        "captured",
        "select booking.issue_missing_invoices()",
        ("payment", "series"),
        skips=frozenset({"payment"}),
        never=("seat", "booking", "expert", "notes"),
        role="booking_cron",
    ),
    Function(
        "refunds/request_refund",
        "booking -> payment.",
        "captured",
        ASK,
        ("booking", "payment"),
        never=("seat", "expert"),
    ),
    *(
        Function(
            "refunds/decide_refund_request",
            "booking -> payment -> request -> outbox insert -> alert.",
            "asked",
            DECIDE_REQUEST,
            ("booking", "payment", "request", "alert"),
            never=("seat", "expert"),
            situation=decision,
            more={"decision": decision, "alert_kind": "refund_request_returned"},
        )
        for decision in ("approve", "reject")
    ),
    Function(
        "maintenance/cleanup_expired_bookings",
        "seat counters ascending (skip locked) -> bookings ascending (skip locked) -> payments ascending"
        " -> outbox insert.",
        "authorized",
        CLEANUP,
        ("seat", "booking", "payment"),
        skips=frozenset({"seat", "booking"}),
        never=("expert",),
        role="booking_cron",
    ),
    Function(
        "maintenance/cleanup_orphaned_slots",
        "seat counters, ascending, skipping locked ones -> alert.",
        "miscounted",
        "select booking.cleanup_orphaned_slots()",
        ("seat", "alert"),
        skips=frozenset({"seat"}),
        never=("booking", "payment", "expert"),
        role="booking_cron",
        more={"alert_kind": "seats_repaired"},
    ),
]
ELSEWHERE = {
    "checkout/create_product": "rows of its own only",
    "reconciliation/finish_reconciliation": "a run, which nothing else locks, and its alert",
    "statistics/roll_up_stats": "an advisory lock, then rows that nobody else locks",
    "maintenance/archive_old_bookings": "refund requests, which nobody locks without their booking",
}
"""Functions of more than one lock that are not in the table, and why."""


def make(arena: Arena, function: Function) -> Row:
    """A booking in the function's situation: the parameters of its call and of its locks."""
    if function.start.startswith("order "):
        return make_order(arena, function)
    start = {
        "free": "unpaid",
        "free class": "unpaid",
        "miscounted": "unpaid",
        "invoiced": "captured",
        "asked": "captured",
        "lapsed hold": "instant",
        "lapsed hold claimed": "instant",
    }.get(function.start, function.start)
    case = begin(arena, "confirmed" if start.endswith(" capture") else start)
    made: Row = {
        "booking": case.booking,
        "slot": case.slot,
        "student": case.student,
        "lesson": arena.value("select session_id from booking.slots where id = %(s)s", {"s": case.slot}),
        "expert": case.expert,
        "payment": case.payment,
        "intent": case.intent,
        "who": case.student,
        "event_id": new_name("evt"),
        "alert": "",
        "command": arena.value("select test.open_command(%(b)s)", {"b": case.booking}),
        **function.more,
    }
    if function.start in ("free", "free class"):
        is_class = function.start == "free class"
        made["slot"] = arena.slot(confirmation="instant" if is_class else "expert")
        made["student"], made["scope"] = new_name("student"), "class" if is_class else "booking"
        # a key that has expired: it is taken over, so its row is what one waits for
        arena.run(
            "insert into booking.client_idempotency"
            " values (%(scope)s, %(student)s, 'my key', '', gen_random_uuid(), now() - interval '1 hour')",
            made,
        )
    if start == "instant":
        record = "select from booking.record_payment_intent(%(payment)s, %(intent)s)"
        arena.run(record, made)
        made["paid"] = Jsonb(arena.value("select test.paid_intent(%(booking)s)", made))
    if function.start.startswith("lapsed hold"):
        arena.run("select test.lapse(%(booking)s)", made)
        made["command"] = arena.value("select test.open_command(%(booking)s)", made)
    if function.start == "lapsed hold claimed":
        arena.run("select from booking.claim_stripe_command(%(command)s, 'me')", made)
    if function.start == "miscounted":
        made["slot"] = arena.slot()
        made["alert"] = str(made["slot"])
        arena.run("update booking.slot_seats set taken = 1 where slot_id = %(slot)s", made)
    if function.start == "asked":
        made["request"] = arena.value("select test.ask(%(booking)s, 100)", made)
        made["alert"] = str(made["request"])
    if function.start.endswith(" capture"):
        claim_for(arena, function.start, made)
    arena.run(
        "insert into booking.invoice_series (series, year)"
        " select s, extract(year from now() at time zone 'UTC')"
        " from unnest(array['INV', 'CN']) s on conflict do nothing"
    )
    if function.start == "invoiced":
        arena.run("select test.issue(%(booking)s)", made)
    if "kind" in function.more or "refund" in function.more:
        if "refund" in function.more:
            kind, of = "refund.updated", arena.value("select test.refund(%(booking)s, 100)", made)
        else:
            kind, status = EVENTS[str(function.more["kind"])]
            of = intent(arena, made, status)
        sent = {
            "id": made["event_id"],
            "object": "event",
            "type": kind,
            "created": 1_800_000_000,
            "data": {"object": of},
        }
        made["event"] = Jsonb(sent)
        # it failed before: its row is there to be waited for
        arena.run(
            "insert into booking.webhook_events (stripe_event_id, event_type, status, payload)"
            " values (%(event_id)s, %(type)s, 'failed', %(event)s)",
            {**made, "type": kind},
        )
    if "status" in function.more:
        made["answer"] = Jsonb(intent(arena, made, str(function.more["status"])))
    if "error" in function.more:
        error = dict(function.more["error"])  # type: ignore[call-overload]
        if "status" in function.more:
            error["payment_intent"] = made["answer"].obj
        made["error"] = Jsonb(error)
    if "alert_kind" in function.more:
        arena.value("select booking.raise_alert(%(alert_kind)s, %(alert)s)", made)
    return made


def make_order(arena: Arena, function: Function) -> Row:
    """An order that superseded an older one, and a booking that has nothing to do with it."""
    case = begin(arena, "confirmed")
    user, product = new_name("user"), arena.value("select test.make_product()")
    made: Row = {
        "booking": case.booking,
        "slot": case.slot,
        "expert": case.expert,
        "payment": case.payment,
        "intent": case.intent,
        "student": user,
        "user": user,
        "product": product,
        "event_id": new_name("evt"),
    }
    made["older"] = arena.value("select test.open_order(%(user)s, %(product)s)", made)
    # orders are locked by id, and ids of the same millisecond are in no order
    arena.value("select pg_sleep(0.001)")
    begun = "test.begin_order(%(user)s, %(product)s, 'my key', 'me')"
    if function.start == "order begun":
        made["order"] = arena.value(f"select {begun}", made)
    else:
        made["order"] = arena.value(f"select test.finish_order({begun}, 'me')", made)
    made["session"] = new_name("cs")
    made["command"] = arena.value("select id from booking.stripe_commands where order_id = %(older)s", made)
    made["alert"] = str(made["command"])
    match function.start:
        case "order lapsed":
            arena.run(
                "update booking.client_idempotency set expires_at = now() where user_id = %(user)s;", made
            )
            arena.run(
                "insert into booking.concurrency_locks"
                " values (booking.checkout_lock_key(%(user)s, %(product)s), %(user)s, %(product)s, 'dead',"
                " now() - interval '1 min', now() - interval '50 s')",
                made,
            )
        case "order claimed":
            arena.run("select from booking.claim_stripe_command(%(command)s, 'me')", made)
        case "order dead":
            claim_for(arena, "dead capture", made)
    seen = "select test.checkout_session(%(older)s, %(status)s)"
    made["answer"] = Jsonb(arena.value(seen, {**made, "status": "expired"}))
    made["error"] = Jsonb({"type": "api_error", "http_status": 400})
    if "alert_kind" in function.more:
        arena.value("select booking.raise_alert('command_dead', %(alert)s)", made)
    if function.start == "order superseded":
        sent = {
            "id": made["event_id"],
            "object": "event",
            "type": "checkout.session.completed",
            "data": {"object": arena.value(seen, {**made, "status": "complete"})},
        }
        made["event"] = Jsonb(sent)
        arena.run(
            "insert into booking.webhook_events (stripe_event_id, event_type, status, payload)"
            " values (%(event_id)s, 'checkout.session.completed', 'failed', %(event)s)",
            made,
        )
    return made


def claim_for(arena: Arena, start: str, made: Row) -> None:
    """The booking's command as a worker holds it, has lost it at its last attempt, or has given it up."""
    made["alert"] = str(made["command"])
    arena.run("select from booking.claim_stripe_command(%(command)s, 'me')", made)
    match start:
        case "lapsed capture":
            arena.run(
                "update booking.stripe_commands set lease_until = now() - interval '1 s', attempts = 1000"
                " where id = %(command)s",
                made,
            )
        case "dead capture":
            arena.run(
                "select booking.fail_stripe_command(%(command)s, 'me', '{\"http_status\": 400}', false)", made
            )


def intent(arena: Arena, made: Row, status: str) -> Row:
    found: Row = arena.value("select test.intent(%(b)s, %(s)s)", {"b": made["booking"], "s": status})
    return found


def is_free(probe: Session, lock: str, made: Row) -> bool:
    found = probe.call(f"select 1 {ROWS[lock]} for no key update nowait", made)
    assert found.sqlstate in (None, "55P03"), found
    if not found.refused:
        assert len(found.rows) == 1, f"there is no {lock} to look at"
    return not found.refused


def clean_up(arena: Arena, made: Row) -> None:
    """Nothing is left that another test's maintenance would find."""
    arena.run("update booking.bookings set created_at = now() where id = %(booking)s", made)
    arena.run("delete from booking.webhook_events where stripe_event_id = %(event_id)s", made)
    arena.run(
        "update booking.slot_seats q set taken = 0 where slot_id = %(slot)s"
        " and not exists (select from booking.bookings b where b.slot_id = q.slot_id)",
        made,
    )
    arena.run(
        "update booking.stripe_commands set status = 'done', outcome = 'superseded', locked_by = null,"
        " lease_until = null where stripe_id = %(intent)s and status <> 'done'",
        made,
    )
    arena.run("delete from booking.concurrency_locks")


STEPS = [(function, number) for function in FUNCTIONS for number in range(len(function.order))]


@pytest.mark.parametrize(
    ("function", "number"), STEPS, ids=[f"{function}-{function.order[number]}" for function, number in STEPS]
)
def test_a_function_waits_for_a_lock_with_all_earlier_and_no_later_ones(
    common_arena: Arena, sessions: Sessions, function: Function, number: int
) -> None:
    arena, gate, probe = common_arena, sessions[None][0], sessions[None][1]
    made = make(arena, function)
    session = arena.session(function.role)
    lock = function.order[number]
    gate.hold(f"select {ROWS[lock]} for no key update", made)
    session.conn.execute("begin")
    running = session.start(function.call, made)
    if lock in function.skips:
        assert running.result(timeout=120).code == "ok"
        assert arena.blocked_by(session) == set()
    else:
        arena.wait_blocked(session, gate, running)
        held = {each: not is_free(probe, each, made) for each in function.order if each != lock}
        assert held == {each: function.order.index(each) < number for each in held}
    gate.rollback()
    assert running.result(timeout=120).code == "ok"
    session.rollback()
    clean_up(arena, made)


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_a_function_holds_its_locks_to_the_end_and_no_others(
    common_arena: Arena, sessions: Sessions, function: Function
) -> None:
    arena, probe, gate = common_arena, sessions[None][1], sessions[None][0]
    made = make(arena, function)
    for lock in function.never:
        gate.hold(f"select {ROWS[lock]} for no key update", made)
    session = arena.session(function.role)
    running = session.do(lambda: session.hold(function.call, made))
    assert running.result(timeout=120).code == "ok", "it waits for what it has nothing to do with"
    assert {each for each in function.order if is_free(probe, each, made)} == set()
    session.rollback()
    gate.rollback()
    clean_up(arena, made)


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_the_order_is_the_one_that_the_header_states(function: Function) -> None:
    text = (ROOT / f"db/functions/{function.file}.sql").read_text()
    assert f"Locks: {function.locks}" in text.replace("\n--", "")


def test_every_function_of_several_locks_is_in_the_table() -> None:
    known = {function.file for function in FUNCTIONS} | set(ELSEWHERE)
    found = set()
    for file in (ROOT / "db" / "functions").glob("*/*.sql"):
        header = re.split(r"^(?!--)", file.read_text(), maxsplit=1, flags=re.M)[0].replace("\n--", "")
        locks = re.search(r"Locks: (.*?)(?:Errors:|$)", header, re.S)
        if locks and "->" in locks[1] and "Internal:" not in header:
            found.add(f"{file.parent.name}/{file.stem}")
    assert found <= known
