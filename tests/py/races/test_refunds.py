"""Refund requests against everything that can happen beside them, in both orders.

As in test_pairs: the first holds its transaction open, the second is seen waiting for it, then the first
commits or rolls back, and what comes out is what comes out when the two run one after the other. Whatever
happens, no more leaves than was captured, and nothing leaves twice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from tests.py.races.helpers import CANCEL, Arena, Outcome, Row, Sessions, new_name, results
from tests.py.races.test_pairs import PROCESS, assert_typed, holds_booking

PRICE = 5000
ASKED = 2000

ASK = (
    "select booking.request_refund(p_student_id => %(student)s, p_booking_id => %(booking)s,"
    " p_amount => %(amount)s)"
)
DECIDE = (
    "select * from booking.decide_refund_request(p_admin_id => %(admin)s, p_request_id => %(request)s,"
    " p_decision => %(decision)s)"
)
COMPLETE = "select booking.complete_stripe_command(%(command)s, 'w', %(answer)s)"
REFUSE = (
    "select booking.fail_stripe_command(%(command)s, 'w',"
    ' \'{"code": "charge_disputed", "http_status": 400}\', false)'
)

STARTS = ("asked", "approved", "sent", "paid", "cancelled")
"""A request is pending; its refund waits, is on its way, is there; pending, and the booking cancelled."""

ANYTIME = (
    "approve", "approve too", "reject", "ask", "cancel", "expert cancels",
    "dispute", "by hand",
)  # fmt: skip
OPERATIONS = {
    "asked": ANYTIME,
    "approved": ANYTIME,
    "sent": (*ANYTIME, "done", "refused", "failed"),
    "paid": (*ANYTIME, "failed"),
    "cancelled": tuple(each for each in ANYTIME if "cancel" not in each),
}


@dataclass(frozen=True)
class Case:
    """A captured booking, 10 hours ahead (the policy gives half), with a request for 2000 of its 5000."""

    booking: UUID
    student: str
    expert: str
    request: UUID
    command: UUID | None


def begin(arena: Arena, start: str) -> Case:
    """A request that nobody else's race touches."""
    booking = arena.value("select test.captured_booking('10 hours')")
    request = arena.value("select test.ask(%(b)s, %(a)s)", {"b": booking, "a": ASKED})
    command = None
    if start in ("approved", "sent", "paid"):
        command = arena.value("select test.approve(%(q)s)", {"q": request})
    if start == "sent":
        arena.run("select from booking.claim_stripe_command(%(c)s, 'w')", {"c": command})
    if start == "paid":
        arena.run("select test.run_command(%(c)s)", {"c": command})
    row = arena.one("select student_id, expert_id from booking.bookings where id = %(b)s", {"b": booking})
    if start == "cancelled":
        arena.run(CANCEL, {"who": row["student_id"], "booking": booking})
    return Case(booking, row["student_id"], row["expert_id"], request, command)


def operation(arena: Arena, case: Case, name: str) -> tuple[str, Row]:
    """The statement that does it, and its parameters."""
    known: Row = {
        "booking": case.booking,
        "student": case.student,
        "request": case.request,
        "command": case.command,
        "amount": 2500,
    }
    match name:
        case "approve" | "approve too" | "reject":
            return DECIDE, {**known, "admin": f"admin {name}", "decision": name.split(maxsplit=1)[0]}
        case "ask":
            return ASK, known
        case "cancel":
            return CANCEL, {**known, "who": case.student}
        case "expert cancels":
            return CANCEL, {**known, "who": case.expert}
        case "done":
            answer = arena.value(
                "select test.refund(%(booking)s, %(a)s, %(id)s, 'pending', %(command)s)",
                {**known, "a": ASKED, "id": f"re_{case.booking}"},
            )
            return COMPLETE, {**known, "answer": Jsonb(answer)}
        case "refused":
            return REFUSE, known
    return PROCESS, {"event": Jsonb(event(arena, case, name))}


def event(arena: Arena, case: Case, name: str) -> Row:
    """Stripe's: a dispute opens, somebody refunds most of it in the dashboard, the request's refund fails."""
    match name:
        case "dispute":
            kind = "charge.dispute.created"
            found: Any = {
                "id": f"dp_{case.booking}",
                "object": "dispute",
                "amount": PRICE,
                "currency": "usd",
                "status": "needs_response",
                "payment_intent": arena.value("select test.intent_id(%(b)s)", {"b": case.booking}),
            }
        case "by hand":
            kind = "refund.created"
            found = arena.value(
                "select test.refund(%(b)s, 3500, %(id)s)",
                {"b": case.booking, "id": f"re_hand_{case.booking}"},
            )
        case "failed":
            kind = "refund.failed"
            known = arena.watch.conn.execute(
                "select stripe_refund_id as id from booking.refunds where command_id = %(c)s",
                {"c": case.command},
            ).fetchone()
            found = arena.value(
                "select test.refund(%(b)s, %(a)s, %(id)s, 'failed', %(c)s)",
                {
                    "b": case.booking,
                    "a": ASKED,
                    "id": known["id"] if known else f"re_{case.booking}",
                    "c": case.command,
                },
            )
        case _:
            raise ValueError(name)
    return {
        "id": new_name("evt"),
        "object": "event",
        "type": kind,
        "created": 1_800_000_000,
        "data": {"object": found},
    }


def finish(arena: Arena, case: Case) -> Row:
    """What became of the booking and its requests, without ids and times."""
    return arena.one(
        """
        select test.state(b.id) as state, b.cancelled_by, b.refund_percent, p.amount_captured,
          p.amount_refunded,
          (select array_agg(row (q.status, q.amount, q.beyond_policy, q.decided_by,
             q.command_id is not null)::text order by q.amount)
             from booking.refund_requests q where q.payment_id = p.id) as requests,
          (select array_agg(x order by x) from (
             select row (c.operation, c.status, c.outcome, c.params -> 'amount',
               c.refund_request_id is not null)::text
             from booking.stripe_commands c where c.payment_id = p.id) c (x)) as commands,
          (select array_agg(x order by x) from (select row (t.kind, t.amount)::text
             from booking.transfers t where t.payment_id = p.id) t (x)) as ledger,
          (select array_agg(x order by x) from (
             select row (a.kind, a.resolved_at is null)::text from booking.alerts a
             where a.detail ->> 'payment_id' = p.id::text or a.subject = p.id::text) a (x)) as alerts,
          (select array_agg(x order by x) from (select row (a.action, a.actor = b.student_id)::text
             from booking.audit_log a where a.subject in (
               select q.id::text from booking.refund_requests q where q.payment_id = p.id)) a (x)) as audit
        from booking.bookings b join booking.payments p on p.id = b.payment_id
        where b.id = %(b)s
        """,
        {"b": case.booking},
    )


@dataclass(frozen=True)
class Answer:
    """What a caller was told, without ids and times."""

    code: str
    told: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, outcome: Outcome) -> Answer:
        shown = ("status", "payment_status", "refund_percent", "refund_amount", "process_webhook_event")
        row = outcome.rows[0] if outcome.rows else {}
        return cls(outcome.code, tuple((key, str(value)) for key, value in row.items() if key in shown))


_known: dict[tuple[str, ...], tuple[list[Answer], Row]] = {}


def one_after_the_other(arena: Arena, start: str, names: Sequence[str]) -> tuple[list[Answer], Row]:
    """What the operations come to when nobody gets in between; always the same, so it is tried once."""
    if (start, *names) not in _known:
        case = begin(arena, start)
        answers = [Answer.of(arena.watch.call(*operation(arena, case, name))) for name in names]
        _known[start, *names] = answers, finish(arena, case)
    return _known[start, *names]


def race(arena: Arena, sessions: Sessions, start: str, one: str, two: str, commits: bool) -> None:
    case = begin(arena, start)
    first, second = sessions["booking_app"][0], sessions["booking_app"][1]
    was = Answer.of(first.hold(*operation(arena, case, one)))
    held = holds_booking(arena, case)  # type: ignore[arg-type]
    running = second.start(*operation(arena, case, two))
    waited = arena.settle(second, running)
    # a refusal is an error: whoever was refused holds nothing any more
    assert waited or not held, f"{two} did not wait for {one}"
    assert held or was.code != "ok", f"{one} holds nothing"
    first.commit() if commits else first.rollback()
    came = Answer.of(running.result())
    assert_typed(was)  # type: ignore[arg-type]
    assert_typed(came)  # type: ignore[arg-type]
    rows = finish(arena, case)
    assert ([was, came] if commits else [came], rows) == one_after_the_other(
        arena, start, [one, two] if commits else [two]
    )


@pytest.mark.parametrize(("start", "one"), [(s, o) for s in STARTS for o in OPERATIONS[s]])
def test_a_pair_comes_out_as_if_one_had_waited_for_the_other(
    common_arena: Arena, sessions: Sessions, start: str, one: str
) -> None:
    for two in OPERATIONS[start]:
        for commits in (True, False):
            race(common_arena, sessions, start, one, two, commits)
    common_arena.assert_sound()


WINNERS = [
    # start, first, second, what the second is told, requests at the end
    ("asked", "approve", "approve too", "ok", ["approved 2000"]),
    ("asked", "approve", "reject", "PT409 already_processed", ["approved 2000"]),
    ("asked", "reject", "approve", "PT409 already_processed", ["rejected 2000"]),
    ("asked", "dispute", "approve", "PT409 payment_disputed", ["pending 2000"]),
    ("asked", "approve", "dispute", "ok", ["approved 2000"]),
    ("asked", "by hand", "approve", "PT409 refund_exceeds_captured", ["pending 2000"]),
    ("asked", "approve", "by hand", "ok", ["pending 2000"]),
    ("asked", "expert cancels", "approve", "PT409 refund_exceeds_captured", ["pending 2000"]),
    ("asked", "approve", "expert cancels", "ok", ["approved 2000"]),
    ("asked", "cancel", "ask", "PT409 refund_exceeds_captured", ["pending 2000"]),
    ("asked", "ask", "cancel", "ok", ["pending 2000", "pending 2500"]),
    ("asked", "ask", "ask", "PT409 refund_exceeds_captured", ["pending 2000", "pending 2500"]),
    ("sent", "failed", "done", "ok", ["pending 2000"]),
    ("sent", "done", "failed", "ok", ["pending 2000"]),
    ("sent", "failed", "approve too", "ok", ["approved 2000"]),
]


@pytest.mark.parametrize(("start", "one", "two", "told", "requests"), WINNERS)
def test_who_comes_second_finds_what_the_first_has_made(
    common_arena: Arena,
    sessions: Sessions,
    start: str,
    one: str,
    two: str,
    told: str,
    requests: list[str],
) -> None:
    arena, case = common_arena, begin(common_arena, start)
    first, second = sessions["booking_app"][0], sessions["booking_app"][1]
    assert first.hold(*operation(arena, case, one)).code == "ok"
    running = second.start(*operation(arena, case, two))
    arena.wait_blocked(second, first, running)
    first.commit()
    assert running.result().code == told
    assert arena.value("select test.requests(%(b)s)", {"b": case.booking}) == requests
    given = run_everything(arena, case)
    assert given <= PRICE
    arena.assert_sound()


def run_everything(arena: Arena, case: Case) -> int:
    """Carries out what is open; what has left in the end, in minor units, by Stripe's count."""
    arena.run(
        "update booking.stripe_commands set status = 'pending', locked_by = null, lease_until = null"
        " where status = 'running'"
        " and payment_id = (select payment_id from booking.bookings where id = %(b)s)",
        {"b": case.booking},
    )
    arena.run("select test.run_commands(%(b)s)", {"b": case.booking})
    return int(
        arena.value(
            "select coalesce(sum(f.amount), 0) from booking.refunds f"
            " join booking.bookings b on b.payment_id = f.payment_id"
            " where b.id = %(b)s and f.status not in ('failed', 'canceled')",
            {"b": case.booking},
        )
    )


def test_twelve_administrators_approve_at_once_and_one_refund_is_queued(arena: Arena) -> None:
    case = begin(arena, "asked")
    gate = arena.session(None)
    gate.hold("select from booking.bookings where id = %(b)s for no key update", {"b": case.booking})
    admins = arena.sessions(12)
    running = [each.start(*operation(arena, case, "approve")) for each in admins]
    arena.wait_all_waiting(admins)
    gate.rollback()
    came = results(running)
    assert {each.code for each in came} == {"ok"}
    assert len({each.row["command_id"] for each in came}) == 1
    assert run_everything(arena, case) == ASKED
    assert arena.value("select count(*) from booking.audit_log where action = 'refund_request.approved'") == 1
    arena.assert_sound()


def test_many_requests_at_once_never_ask_for_more_than_was_captured(arena: Arena) -> None:
    """Twelve tabs of one student: of 12 x 900 only what fits into 5000."""
    booking = arena.value("select test.captured_booking()")
    student = arena.value("select test.student(%(b)s)", {"b": booking})
    gate = arena.session(None)
    gate.hold("select from booking.bookings where id = %(b)s for no key update", {"b": booking})
    tabs = arena.sessions(12)
    running = [each.start(ASK, {"student": student, "booking": booking, "amount": 900}) for each in tabs]
    arena.wait_all_waiting(tabs)
    gate.rollback()
    codes = sorted(each.code for each in results(running))
    assert codes == ["PT409 refund_exceeds_captured"] * 7 + ["ok"] * 5
    assert arena.value("select sum(amount) from booking.refund_requests") == 4500
    arena.assert_sound()


def test_many_approvals_beside_a_cancellation_and_a_refund_by_hand_never_exceed(arena: Arena) -> None:
    """Ten requests of 500 are approved while the booking is cancelled and somebody refunds 1700 by hand."""
    for seed in range(6):
        booking = arena.value("select test.captured_booking('10 hours')")
        who = arena.one(
            "select student_id as student, expert_id as expert from booking.bookings where id = %(b)s",
            {"b": booking},
        )
        asked = [arena.value("select test.ask(%(b)s, 500)", {"b": booking}) for _ in range(10)]
        case = Case(booking, who["student"], who["expert"], asked[0], None)
        hand = event(arena, case, "by hand")
        hand["data"]["object"]["amount"] = 1700
        work: list[tuple[str, Row]] = [
            (DECIDE, {"admin": f"admin {number}", "request": request, "decision": "approve"})
            for number, request in enumerate(asked)
        ]
        work.append((CANCEL, {"who": who["student"], "booking": booking}))
        random.Random(seed).shuffle(work)
        # by hand at the very end, when all is approved, or anywhere
        work.insert(
            len(work) if seed == 0 else random.Random(seed).randrange(12), (PROCESS, {"event": Jsonb(hand)})
        )
        gate = arena.session(None)
        gate.hold("select from booking.slot_seats for no key update")
        gate.hold("select from booking.bookings where id = %(b)s for no key update", {"b": booking})
        each_own = arena.sessions(len(work))
        running: list[Future[Outcome]] = []
        for session, step in zip(each_own, work, strict=True):
            running.append(session.start(*step))
            assert arena.settle(session, running[-1])
        gate.rollback()
        for outcome in results(running):
            assert outcome.code in ("ok", "PT409 refund_exceeds_captured"), outcome
        given = run_everything(arena, case)
        assert given <= PRICE
        row = arena.one(
            "select p.amount_refunded, (select coalesce(sum(q.amount), 0) from booking.refund_requests q"
            "   where q.payment_id = p.id and q.status = 'refunded') as asked,"
            " (select count(*) from booking.refund_requests q"
            "   where q.payment_id = p.id and q.status = 'approved') as waiting"
            " from booking.payments p where p.booking_id = %(b)s",
            {"b": booking},
        )
        assert row["amount_refunded"] == given
        assert row["waiting"] == 0, "what was approved was sent, or came back"
        # the policy's half is given in any case: by hand, by requests approved in time, by itself
        assert given >= PRICE // 2
        assert given >= 1700 + row["asked"]
    arena.assert_sound()
