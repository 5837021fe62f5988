"""The runbook in docs/operations.md is whole, and each of its commands does what it says in its trouble."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from pytest_postgresql.executors import NoopExecutor

from glue.metrics import Metrics
from tests.conftest import _clone, _url_of

pytestmark = pytest.mark.pg18  # its functions have their tests on every version

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "operations.md").read_text()
CHAPTER = TEXT.partition("\n## Runbook\n")[2]
PARTS = ["Means", "Urgent", "Look", "Do", "Over", "Not"]


@dataclass(frozen=True)
class Block:
    """A command of an entry: the part that it belongs to, its language, and the words after that."""

    part: str
    language: str
    words: frozenset[str]
    body: str


@dataclass(frozen=True)
class Entry:
    title: str
    text: str

    @property
    def parts(self) -> list[str]:
        return re.findall(r"^- \*\*(\w+)\*\*: \S", self.text, re.M)

    @property
    def blocks(self) -> list[Block]:
        return [
            Block(
                re.findall(r"^- \*\*(\w+)\*\*: ", self.text[: found.start()], re.M)[-1],
                found[1],
                frozenset(found[2].split()),
                found[3],
            )
            for found in re.finditer(r"^```(\w+)(.*)\n((?:.*\n)*?)```$", self.text, re.M)
        ]

    def sql(self, part: str) -> str:
        return "".join(block.body for block in self.blocks if block.part == part and block.language == "sql")


def _entries() -> dict[str, Entry]:
    sections = re.split(r"^### ", CHAPTER, flags=re.M)[1:]
    return {entry.title: entry for entry in (Entry(*section.split("\n", 1)) for section in sections)}


ENTRIES = _entries()
INTRODUCTION = CHAPTER.partition("\n### ")[0]
KINDS = sorted(
    {
        kind
        for file in (ROOT / "db" / "functions").glob("*/*.sql")
        for kind in re.findall(r"raise_alert\('([a-z_]+)'", file.read_text())
    }
)


def test_every_kind_of_alert_has_its_entry_and_no_other() -> None:
    assert KINDS
    assert sorted(title.strip("`") for title in ENTRIES if title.startswith("`")) == KINDS


@pytest.mark.parametrize("title", ENTRIES)
def test_an_entry_has_all_of_its_parts(title: str) -> None:
    entry = ENTRIES[title]
    assert entry.parts == PARTS
    assert any(block.part == "Look" for block in entry.blocks)
    if title.startswith("`"):
        assert entry.sql("Look")
        assert entry.sql("Over")
    assert all(
        ("over" in block.words) == (block.part == "Over") for block in entry.blocks if block.language == "sql"
    )


def test_what_watches_leads_to_an_entry() -> None:
    """What the probe, the metrics, the doctor and the log can say is explained."""
    failing = re.findall(r'_not_ready\("(\w+)"', (ROOT / "glue/routes/operations.py").read_text())
    checks = re.findall(r'Trouble\("(\w+)"', (ROOT / "glue/doctor.py").read_text())
    errors = [
        message
        for file in (ROOT / "glue").rglob("*.py")
        if "sandbox" not in file.parts
        for message in re.findall(r'_log\.error\(\s*"([^"]+)"', file.read_text())
    ]
    metrics = {
        line.split()[2]
        for line in Metrics()
        .render({"commands_pending": 0, "commands_dead": 0, "oldest_pending_seconds": 0})
        .decode()
        .splitlines()
        if line.startswith("# HELP")
    }
    assert set(failing) == {"migrations", "outbox"}
    assert checks
    assert errors
    said = [f"`details.failing` = `{word}`" for word in failing] + [
        f"`{word}`" for word in [*checks, *errors]
    ]
    assert [word for word in said if word not in " ".join(TEXT.split())] == []
    assert sorted(name for name in metrics if name not in TEXT) == []


@pytest.mark.parametrize("anchor", sorted(set(re.findall(r"\]\(#([^)]+)\)", TEXT))))
def test_its_links_lead_somewhere(anchor: str) -> None:
    slugs = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", TEXT, re.M)
    }
    assert anchor in slugs


# -- each entry in its trouble -------------------------------------------------------------------------------

B = "(select id from b)"
Q = "(select id from q)"
PAID = "create table b as select test.captured_booking() as id;"
ASKED = PAID + f"create table q as select test.ask({B}, 2000) as id;"
SENT = ASKED + f"do $$ begin perform test.approve({Q}); end $$;"
ORDER = "create table o as select test.open_order() as id;"


def _paid(**fields: object) -> str:
    session = f"test.checkout_session((select id from o)) || '{json.dumps(fields)}'"
    return f"do $$ begin perform test.event('checkout.session.completed', {session}); end $$;"


def _fail(command: str, error: str, *, again: bool = False) -> str:
    return f"""do $$ declare c uuid := {command}; begin
        perform booking.claim_stripe_command(c, 'w');
        perform booking.fail_stripe_command(c, 'w', '{error}', {str(again).lower()});
        end $$;"""


CONFIRMED = f"""create table b as select test.book() as id;
    do $$ begin perform test.authorize({B}); perform test.confirm({B}); end $$;"""
OPEN = f"test.open_command({B})"
RUN = f"do $$ begin perform test.run_commands({B}); end $$;"


@dataclass(frozen=True)
class Trouble:
    """How it comes about; what others (Stripe, an administrator) do before and after what the entry says."""

    arrange: str
    before: str = ""
    after: str = ""


ALERTS = {
    "stripe_credentials": Trouble(
        CONFIRMED + _fail(OPEN, '{"type": "authentication_error", "http_status": 401}', again=True),
        before="update booking.stripe_commands set run_at = booking.clock();" + RUN,
    ),
    "command_dead": Trouble(
        CONFIRMED + _fail(OPEN, '{"code": "account_invalid", "http_status": 400}'), after=RUN
    ),
    "refund_failed": Trouble(
        PAID
        + f"""do $$ begin
            perform booking.cancel_booking_transaction(test.student({B}), {B});
            perform test.run_commands({B});
            perform test.fail_refund(c.id) from booking.stripe_commands c where c.operation = 'create_refund';
            end $$;"""
    ),
    "refund_request_returned": Trouble(
        SENT + _fail(OPEN, '{"code": "charge_expired", "http_status": 400}'),
        before=f"do $$ begin perform test.approve({Q}, 'reject'); end $$;",
    ),
    "refund_unexpected": Trouble(
        SENT
        + f"create table c as select {OPEN} as id;"
        + _fail("(select id from c)", '{"type": "api_error"}')
        + f"""do $$ begin perform test.approve({Q}, 'reject');
            perform test.event('refund.created', test.refund({B}, 2000, p_command => (select id from c)));
            end $$;"""
    ),
    "dispute": Trouble(
        PAID + f"do $$ begin perform test.dispute({B}); end $$;",
        before=f"do $$ begin perform test.dispute({B}, 'won'); end $$;",
    ),
    "refund_held_by_dispute": Trouble(
        PAID
        + f"""do $$ begin perform test.dispute({B});
            perform booking.cancel_booking_transaction(test.student({B}), {B}); end $$;""",
        before=f"do $$ begin perform test.dispute({B}, 'lost'); end $$;",
    ),
    "stray_payment_intent": Trouble(
        f"""create table b as select test.book() as id;
            do $$ begin perform test.prepare({B});
            perform booking.record_payment_intent((test.payment({B})).id, 'pi_stray'); end $$;""",
        before="""do $$ begin perform test.run_command(c.id) from booking.stripe_commands c
            where c.stripe_id = 'pi_stray'; end $$;""",
    ),
    "order_paid_twice": Trouble(ORDER + _paid() + _paid(id="cs_2", payment_intent="pi_2")),
    "order_amount_mismatch": Trouble(ORDER + _paid(amount_total=1)),
    "stray_checkout_session": Trouble(ORDER + _paid(id="cs_stray")),
    "webhook_failed": Trouble(
        PAID
        + """create function public.poison() returns trigger language plpgsql
            as $$ begin raise exception 'poison'; end $$;
            create trigger poison before insert on booking.refunds
            for each row execute function public.poison();"""
        + f"do $$ begin perform test.event('refund.created', test.refund({B}, 100)); end $$;",
        before="drop trigger poison on booking.refunds;",
    ),
    "session_unpaid": Trouble(
        CONFIRMED
        + "select test.set_clock(now() + interval '8 days');"
        + f"""do $$ begin perform booking.complete_past_bookings();
            perform test.event('payment_intent.canceled', test.intent({B}, 'canceled')); end $$;"""
    ),
    "reconciliation_difference": Trouble(
        PAID
        + f"""do $$ begin perform test.reconcile(
            test.but(test.at_stripe({B}), 'payment_intent', '{{"amount": 1}}')); end $$;"""
    ),
    "seats_repaired": Trouble(
        PAID
        + f"""update booking.slot_seats set taken = 0 where slot_id = (test.booking({B})).slot_id;
            do $$ begin perform booking.cleanup_orphaned_slots(); end $$;"""
    ),
}

SYMPTOMS = {
    "The outbox is late": Trouble(
        CONFIRMED + "update booking.stripe_commands set created_at = created_at - interval '1 hour';",
        after=RUN,
    ),
    "An invariant is broken": Trouble(
        PAID + f"update booking.slot_seats set taken = 0 where slot_id = (test.booking({B})).slot_id;",
        after="do $$ begin perform booking.cleanup_orphaned_slots(); end $$;",
    ),
    "Maintenance does not run": Trouble("select 1;"),
    "No webhooks come": Trouble(
        ALERTS["webhook_failed"].arrange,
        before="drop trigger poison on booking.refunds;",
        after="do $$ begin perform booking.retry_failed_webhooks(); end $$;",
    ),
}


@pytest.fixture
def books(pgtap_template: NoopExecutor) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a fresh database with the builders of the SQL tests."""
    with (
        _clone(pgtap_template) as janitor,
        psycopg.connect(_url_of(janitor), autocommit=True, row_factory=dict_row) as conn,
    ):
        yield conn


def _psql(conn: psycopg.Connection[Any], text: str, **variables: str) -> str:
    """What psql prints of a login in booking_dba, without heads."""
    role = "booking_dba"
    done = subprocess.run(
        ["psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        + [f"--set={name}={value}" for name, value in variables.items()]
        + [_url(conn)],
        input=text,
        env={**os.environ, "PGOPTIONS": f"-c role={role}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _url(conn: psycopg.Connection[Any]) -> str:
    info = conn.info
    return f"postgresql://{info.user}@{info.host}:{info.port}/{info.dbname}"


def _run(conn: psycopg.Connection[Any], text: str) -> None:
    if text:
        conn.execute(text)


def test_there_is_a_trouble_for_every_alert() -> None:
    assert sorted(ALERTS) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_who_follows_the_entry_of_an_alert_gets_rid_of_it(kind: str, books: psycopg.Connection[Any]) -> None:
    entry, trouble = ENTRIES[f"`{kind}`"], ALERTS[kind]
    _run(books, trouble.arrange)
    [alert] = books.execute("select * from booking.list_alerts() where kind = %s", [kind]).fetchall()
    opening = "\n".join(re.findall(r"^```sql\n(.*?)^```", INTRODUCTION, re.S | re.M))

    def follow(part: str) -> str:
        return _psql(
            books, opening + entry.sql(part), alert=str(alert["alert_id"]), subject=alert["subject"], me="ann"
        )

    assert follow("Look").strip(), "there is something to see"
    assert follow("Over").strip(), "it is not over yet"
    _run(books, trouble.before)
    if entry.sql("Do"):
        follow("Do")
    _run(books, trouble.after)

    open_alerts = books.execute("select kind, subject from booking.list_alerts()").fetchall()
    assert (kind, alert["subject"]) not in [(row["kind"], row["subject"]) for row in open_alerts]
    assert books.execute("select * from booking.check_invariants()").fetchall() == []
    over = _psql(books, entry.sql("Over"), alert=str(alert["alert_id"]), subject=alert["subject"], me="ann")
    assert over.strip() == ""


@pytest.mark.parametrize("title", SYMPTOMS)
def test_who_follows_the_entry_of_a_symptom_gets_rid_of_it(
    title: str, books: psycopg.Connection[Any]
) -> None:
    entry, trouble = ENTRIES[title], SYMPTOMS[title]
    cron = any("cron" in block.words for block in entry.blocks)

    def follow(part: str) -> str:
        return _psql(books, ("set role booking_cron;" if cron else "") + entry.sql(part)).replace("SET\n", "")

    _run(books, trouble.arrange)
    assert follow("Look").strip(), "there is something to see"
    assert follow("Over").strip(), "it is not over yet"
    _run(books, trouble.before)
    if entry.sql("Do"):
        follow("Do")
    _run(books, trouble.after)
    assert follow("Over").strip() == ""
    assert books.execute("select * from booking.check_invariants()").fetchall() == []


@pytest.mark.parametrize(
    "title", [title for title in ENTRIES if not title.startswith("`") and title not in SYMPTOMS]
)
def test_the_queries_of_the_other_symptoms_run_and_find_nothing_where_all_is_well(
    title: str, books: psycopg.Connection[Any]
) -> None:
    entry = ENTRIES[title]
    _psql(books, entry.sql("Look") + entry.sql("Do"))
    # who waits for whom is asked of the whole server, which other tests share
    if "pg_stat_activity" not in entry.sql("Over"):
        assert _psql(books, entry.sql("Over")) == ""


def test_its_shell_commands_run(books: psycopg.Connection[Any]) -> None:
    _run(books, PAID)
    row = books.execute("select id, test.intent_id(id) as intent from b").fetchone()
    assert row
    known = {"pi_3Q1abc": row["intent"], "019cd7c6-be7b-7a5c-8123-456789abcdef": str(row["id"])}
    commands = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", CHAPTER, re.S | re.M)
        for line in block.splitlines()
    ]
    assert len(commands) > 5
    for command in commands:
        line = command
        for example, real in known.items():
            line = line.replace(example, real)
        done = subprocess.run(
            ["bash", "-euc", line],
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": os.environ.get("HOME", "/"),
                "DATABASE_URL": _url(books),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        # the doctor looks at the logins of the whole server, the check at the tests' builders
        expected = (0, 1) if line in ("pgbooking doctor", "pgbooking check") else (0,)
        assert done.returncode in expected, f"{command}: {done.stderr}"
        assert not done.stderr or "Traceback" not in done.stderr
