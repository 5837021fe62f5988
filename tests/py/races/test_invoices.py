"""Invoice numbers: no gap, none twice, whoever issues, rolls back or refunds at the same time, and nobody
waits in a circle. The second part takes each guard away and shows that its race then fails.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from tests.py.races.helpers import Arena, Row, mutate, new_name, results
from tests.py.races.test_pairs import PROCESS

ISSUE = "select * from booking.issue_invoice(p_payment_id => %(payment)s)"
ISSUE_MISSING = "select booking.issue_missing_invoices(p_limit => 1000) as count"
SERIES = "select from booking.invoice_series where series = %(series)s for no key update"

MANY = 32


@dataclass(frozen=True)
class Paid:
    """A booking whose money was captured."""

    booking: UUID
    payment: UUID

    @property
    def params(self) -> Row:
        return {"payment": self.payment}


def paid(arena: Arena, count: int) -> list[Paid]:
    rows = arena.all(
        "select b as booking, (test.payment(b)).id as payment from"
        " (select test.captured_booking() as b from generate_series(1, %(n)s) offset 0) x",
        {"n": count},
    )
    return [Paid(row["booking"], row["payment"]) for row in rows]


def refund_event(arena: Arena, of: Paid, amount: int, refund: str = "", status: str = "succeeded") -> Row:
    """An event of Stripe about a refund, as the parameters of PROCESS."""
    refund = refund or new_name("re")
    data = arena.value(
        "select test.refund(%(b)s, %(a)s, %(r)s, %(s)s)",
        {"b": of.booking, "a": amount, "r": refund, "s": status},
    )
    kind = "refund.failed" if status == "failed" else "refund.updated"
    sent = {"id": new_name("evt"), "object": "event", "type": kind, "created": 1_800_000_000}
    return {"event": Jsonb({**sent, "data": {"object": data}})}


def numbers(arena: Arena) -> list[int]:
    """The numbers of the invoices, in the order in which they are dated."""
    rows = arena.all("select serial from booking.invoices where kind = 'invoice' order by issued_at, serial")
    return [row["serial"] for row in rows]


def papers(arena: Arena, of: Paid) -> str:
    """'INV issued 5000, CN issued 700'."""
    found = arena.value(
        "select string_agg(format('%%s %%s %%s', series, status, gross), ', ' order by kind, serial)"
        " from booking.invoices where payment_id = %(payment)s",
        of.params,
    )
    return str(found)


def with_series(arena: Arena) -> None:
    """This year's counters are there to be held."""
    arena.run(
        "insert into booking.invoice_series (series, year)"
        " select s, extract(year from now() at time zone 'UTC')"
        " from unnest(array['INV', 'CN']) s on conflict do nothing"
    )


def test_of_32_issuers_at_once_none_leaves_a_gap(arena: Arena) -> None:
    with_series(arena)
    gate, issuers = arena.session(None), arena.sessions(MANY)
    gate.hold(SERIES, {"series": "INV"})
    running = [each.start(ISSUE, of.params) for each, of in zip(issuers, paid(arena, MANY), strict=True)]
    arena.wait_all_waiting(issuers)
    gate.rollback()
    assert [each.code for each in results(running)] == ["ok"] * MANY
    assert numbers(arena) == list(range(1, MANY + 1))
    arena.assert_sound()


def test_a_transaction_that_is_rolled_back_leaves_no_gap(arena: Arena) -> None:
    """Every second one of 32 holds its number, lets others wait for it, and gives it back."""
    with_series(arena)
    issuers = arena.sessions(MANY)

    def issue(number: int, of: Paid) -> None:
        session = issuers[number]
        assert session.hold(ISSUE, of.params).code == "ok"
        if number % 2:
            session.rollback()
        else:
            session.commit()

    with ThreadPoolExecutor(MANY) as pool:
        list(pool.map(issue, range(MANY), paid(arena, MANY)))
    assert numbers(arena) == list(range(1, MANY // 2 + 1))
    arena.assert_sound()


def test_a_number_that_was_waited_for_is_dated_after_the_wait(arena: Arena) -> None:
    """Else a later number could be of an earlier day, or of a year that has ended."""
    with_series(arena)
    (of,) = paid(arena, 1)
    gate, issuer = arena.session(None), arena.session()
    gate.hold(SERIES, {"series": "INV"})
    running = issuer.start(ISSUE, of.params)
    arena.wait_blocked(issuer, gate, running)
    waited_until = arena.value("select clock_timestamp()")
    gate.rollback()
    assert running.result(timeout=120).code == "ok"
    assert arena.value("select issued_at from booking.invoices") > waited_until


def test_one_payment_gets_one_invoice_however_many_ask(arena: Arena) -> None:
    gate, issuers = arena.session(None), arena.sessions(MANY)
    (of,) = paid(arena, 1)
    gate.hold("select from booking.payments where id = %(payment)s for no key update", of.params)
    running = [each.start(ISSUE, of.params) for each in issuers]
    arena.wait_all_waiting(issuers)
    gate.rollback()
    found = results(running)
    assert [each.code for each in found] == ["ok"] * MANY
    assert len({tuple(each.row.items()) for each in found}) == 1
    assert numbers(arena) == [1]
    arena.assert_sound()


def test_a_refund_that_commits_first_gets_its_credit_note(arena: Arena) -> None:
    (of,) = paid(arena, 1)
    stripe, issuer = arena.sessions(2)
    assert stripe.hold(PROCESS, refund_event(arena, of, 700)).value == "processed"
    running = issuer.start(ISSUE, of.params)
    arena.settle(issuer, running)
    stripe.commit()
    assert running.result(timeout=120).code == "ok"
    assert papers(arena, of) == "INV partially_credited 5000, CN issued 700"
    arena.assert_sound()


def test_a_refund_that_waits_for_the_issuer_makes_a_credit_note(arena: Arena) -> None:
    (of,) = paid(arena, 1)
    stripe, issuer = arena.sessions(2)
    assert issuer.hold(ISSUE, of.params).code == "ok"
    running = stripe.start(PROCESS, refund_event(arena, of, 700))
    arena.settle(stripe, running)
    issuer.commit()
    assert running.result(timeout=120).value == "processed"
    assert papers(arena, of) == "INV partially_credited 5000, CN issued 700"
    arena.assert_sound()


def test_missing_invoices_of_busy_payments_are_left_to_the_next_run(arena: Arena) -> None:
    busy, free = paid(arena, 2)
    stripe, issuer = arena.sessions(2)
    assert stripe.hold(PROCESS, refund_event(arena, busy, 700)).value == "processed"
    running = issuer.start(ISSUE_MISSING)
    assert not arena.settle(issuer, running), "it waits"
    assert running.result(timeout=120).value == 1
    stripe.commit()
    assert papers(arena, free) == "INV issued 5000"
    assert issuer.call(ISSUE_MISSING).value == 1
    assert papers(arena, busy) == "INV partially_credited 5000, CN issued 700"
    assert numbers(arena) == [1, 2]
    arena.assert_sound()


def test_two_runs_for_missing_invoices_share_the_work(arena: Arena) -> None:
    paid(arena, 10)
    first, second = arena.sessions(2)
    assert first.hold("select booking.issue_missing_invoices(p_limit => 6) as count").value == 6
    running = second.start(ISSUE_MISSING)
    arena.wait_blocked(second, first, running)  # for the number after the first one's
    first.commit()
    assert running.result(timeout=120).value == 4
    assert numbers(arena) == list(range(1, 11))
    arena.assert_sound()


def test_a_run_for_missing_invoices_and_an_issuer_do_not_wait_for_each_other(arena: Arena) -> None:
    """The run has a credit note to write first and an invoice later; the issuer, the other way round."""
    lacking, missing, own = paid(arena, 3)
    issuer, run = arena.sessions(2)
    assert issuer.call(ISSUE, lacking.params).code == "ok"
    assert issuer.call(PROCESS, refund_event(arena, lacking, 700, "re_lost")).value == "processed"
    # the credit note is lost, as after a repair by hand
    arena.run(
        "set session_replication_role = replica;"
        "delete from booking.invoice_versions v using booking.invoices i"
        " where i.id = v.invoice_id and i.kind = 'credit_note';"
        "delete from booking.invoices where kind = 'credit_note';"
        "update booking.invoice_series set last_number = 0 where series = 'CN';"
        "set session_replication_role = origin"
    )
    assert issuer.hold(ISSUE, own.params).code == "ok"
    running = run.start(ISSUE_MISSING)
    arena.wait_blocked(run, issuer, running)
    assert issuer.hold(PROCESS, refund_event(arena, own, 100)).code == "ok"
    assert arena.value("select count(*) from booking.webhook_events where status = 'failed'") == 0
    issuer.commit()
    assert running.result(timeout=120).value == 2
    assert papers(arena, missing) == "INV issued 5000"
    assert papers(arena, lacking) == "INV partially_credited 5000, CN issued 700"
    arena.assert_sound()


def test_issuers_refunds_failures_and_corrections_all_at_once(arena: Arena) -> None:
    """32 sessions, each payment touched by several of them, in an order that chance makes."""
    chance = random.Random(7)
    payments = paid(arena, 24)
    sessions = arena.sessions(MANY)
    work: list[tuple[str, Row]] = [(ISSUE_MISSING, {})] * 8
    for of in payments:
        work += [(ISSUE, of.params)] * 2
        for number in range(3):
            refund = new_name("re")
            work.append((PROCESS, refund_event(arena, of, 100 + number, refund)))
            if number == 1:
                work.append((PROCESS, refund_event(arena, of, 100 + number, refund, "failed")))
    chance.shuffle(work)

    def run(number: int) -> list[str]:
        return [sessions[number].call(query, params).code for query, params in work[number::MANY]]

    with ThreadPoolExecutor(MANY) as pool:
        codes = {code for found in pool.map(run, range(MANY)) for code in found}
    assert codes == {"ok"}
    sessions[0].call(ISSUE_MISSING)
    assert numbers(arena) == list(range(1, len(payments) + 1))
    assert {arena.value("select sum(gross) from booking.invoices where payment_id = %(payment)s"
                        " and kind = 'credit_note'", of.params) for of in payments} == {202}  # fmt: skip
    arena.assert_sound()


# -- without the guards --------------------------------------------------------------------------------------


NEXT = "invoices/next_invoice_number.sql"
ISSUE_FILE = "invoices/issue_invoice.sql"
MISSING_FILE = "invoices/issue_missing_invoices.sql"
SEQUENCE = (
    NEXT,
    "update booking.invoice_series s set last_number = s.last_number + 1\n"
    "    where s.series = p_series and s.year = v_year\n    returning s.year, s.last_number, v_now;",
    "select v_year, nextval('booking.numbers')::int, v_now;",
)
HELD = (NEXT, "s.year = v_year for no key update", "s.year = v_year")
PAYMENT = (ISSUE_FILE, "p.id = p_payment_id for no key update;", "p.id = p_payment_id;")
AGAIN = ("invoices/make_invoice.sql", "  if found then\n    return;", "  if false then\n    return;")
SKIP = (MISSING_FILE, "for no key update of p skip locked", "for no key update of p")
ONE_PHASE = (
    MISSING_FILE,
    "    perform booking.make_invoice(v_id);\n  end loop;\n"
    "  foreach v_id in array v_payments loop\n    perform booking.keep_invoices(v_id);",
    "    perform booking.make_invoice(v_id);\n    perform booking.keep_invoices(v_id);",
)
NOT_KEPT = ("payments/keep_books.sql", "perform booking.keep_invoices(p_payment_id);", "")

Edit = tuple[str, str, str]
CONTROLS: list[tuple[str, Callable[[Arena], None], tuple[Edit, ...]]] = [
    (
        "a row counts the numbers: a sequence leaves gaps",
        test_a_transaction_that_is_rolled_back_leaves_no_gap,
        (SEQUENCE,),
    ),
    (
        "the time is read when the counter is held",
        test_a_number_that_was_waited_for_is_dated_after_the_wait,
        (HELD,),
    ),
    ("an issuer holds the payment", test_a_refund_that_commits_first_gets_its_credit_note, (PAYMENT,)),
    ("... also against other issuers", test_one_payment_gets_one_invoice_however_many_ask, (PAYMENT,)),
    ("whoever waited looks again", test_one_payment_gets_one_invoice_however_many_ask, (AGAIN,)),
    ("a refund keeps the invoice", test_a_refund_that_waits_for_the_issuer_makes_a_credit_note, (NOT_KEPT,)),
    (
        "a run for missing ones waits for no payment",
        test_missing_invoices_of_busy_payments_are_left_to_the_next_run,
        (SKIP,),
    ),
    (
        "a run for missing ones takes the series in one order",
        test_a_run_for_missing_invoices_and_an_issuer_do_not_wait_for_each_other,
        (ONE_PHASE,),
    ),
]


def without(edits: tuple[Edit, ...], arena: Arena) -> None:
    arena.harmed = True
    arena.patience = 400
    arena.run("alter database " + arena.watch.conn.info.dbname + " set lock_timeout = '1s'")
    arena.run("create sequence booking.numbers; grant usage on sequence booking.numbers to booking_owner")
    for file, old, new in edits:
        mutate(arena.watch.conn, file, old, new)


@pytest.mark.parametrize(
    ("race", "edits"), [control[1:] for control in CONTROLS], ids=[control[0] for control in CONTROLS]
)
def test_without_its_guard_the_race_fails(
    arena: Arena, race: Callable[[Arena], None], edits: tuple[Edit, ...]
) -> None:
    without(edits, arena)
    with pytest.raises(AssertionError):
        race(arena)
