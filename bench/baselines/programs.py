"""The programs that people use instead, run as their documents say, and what must be true afterwards."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from bench.baselines import install
from bench.load import Server, python, served
from bench.site import JWT_SECRET, WEBHOOK_SECRET
from bench.stage import Database

APPS = Path(__file__).parent / "apps"
TABLES = (Path(__file__).parent / "tables.sql").read_text()
WORKERS = 2
CONNECTIONS = 4
"""To the database, of each process; what Django, FastAPI and dj-stripe are fastest with, of 16, 8 and 4."""
NODE_CONNECTIONS = 16
"""Of stripe-sync-engine's one process."""
ENDPOINT = str(uuid.UUID(int=7))
"""In the path of dj-stripe's webhooks."""
DJSTRIPE_KEY = "sk_test_" + 24 * "b"
"""dj-stripe takes no key that is shorter."""

OVERSOLD = """
select s.id, s.capacity, s.seats_taken, count(b.id) from slots s
left join bookings b on b.slot_id = s.id and b.status in ('pending', 'confirmed')
group by s.id having s.seats_taken > s.capacity or count(b.id) <> s.seats_taken limit 1"""


@dataclass(frozen=True)
class Program:
    """A server of others."""

    name: str
    title: str
    command: Callable[[int], Sequence[str]]
    """What runs it at a port."""
    path: str
    """Where it takes what is sent."""
    done: str
    """A query: how much it has done."""
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Database], None] = lambda _: None

    def serve(self, database: Database) -> AbstractContextManager[Server]:
        """For as long as the block lasts."""
        return served(self.command, environment(database, **self.environment))

    def require_done(self, database: Database, expected: int) -> None:
        """Raises RuntimeError when something was acknowledged that is not there, or the other way round."""
        count = database.value(self.done)
        if count != expected:
            raise RuntimeError(f"{self.title} acknowledged {expected} and has {count}")


def environment(database: Database, **more: str) -> dict[str, str]:
    """What each of them may read."""
    return {
        "PYTHONPATH": str(APPS),
        "NODE_ENV": "production",
        "DATABASE_URL": database.url,
        "POOL_SIZE": str(CONNECTIONS),
        "JWT_SECRET": JWT_SECRET,
        "STRIPE_SECRET_KEY": DJSTRIPE_KEY,
        "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "STRIPE_API_BASE": "http://127.0.0.1:9",
        "WEBHOOK_UUID": ENDPOINT,
        **more,
    }


def require_not_oversold(database: Database) -> None:
    """Raises RuntimeError when seats and bookings of the frameworks' tables do not fit."""
    with_fault = database.value(f"select to_jsonb(x) from ({OVERSOLD}) x")
    if with_fault is not None:
        raise RuntimeError(f"oversold: {with_fault}")


def django_rest() -> Program:
    """Django and its REST framework under gunicorn."""
    return Program(
        name="django",
        title="Django + REST framework, select_for_update",
        command=_gunicorn("django_rest.wsgi"),
        path="/api/bookings/create",
        done="select count(*) from bookings",
        prepare=_tables,
    )


def fastapi_sqlalchemy() -> Program:
    """FastAPI and SQLAlchemy's asyncio extension under uvicorn with uvloop and httptools."""
    program = install.python()
    return Program(
        name="fastapi",
        title="FastAPI + SQLAlchemy async, with_for_update",
        command=lambda port: [
            *(str(program), "-m", "uvicorn", "fastapi_sqlalchemy:app", "--port", str(port)),
            *("--workers", str(WORKERS), "--no-access-log", "--log-level", "warning"),
        ],
        path="/api/bookings/create",
        done="select count(*) from bookings",
        prepare=_tables,
    )


def sync_engine() -> Program:
    """stripe-sync-engine in one process of Node."""
    program = install.node()
    return Program(
        name="sync-engine",
        title="stripe-sync-engine, one node process, upsert only",
        command=lambda port: [str(program), str(APPS / "sync_engine.cjs"), str(port)],
        path="/webhooks",
        environment={"POOL_SIZE": str(NODE_CONNECTIONS)},
        done="select count(*) from stripe.payment_intents where status = 'requires_capture'",
    )


def djstripe_that_stores() -> Program:
    """dj-stripe with a callback: it checks the signature and stores, for a task queue to work on later."""
    return Program(
        name="djstripe-stores",
        title="dj-stripe that stores only",
        command=_gunicorn("djstripe_site.wsgi"),
        path=f"/stripe/webhook/{ENDPOINT}",
        done="select count(*) from djstripe_webhookeventtrigger where valid",
        environment={"DJSTRIPE_MODE": "stores"},
        prepare=_migrate_djstripe,
    )


def djstripe_that_fetches(stripe_url: str) -> Program:
    """dj-stripe as it is by itself: it asks Stripe for the object and keeps that."""
    return Program(
        name="djstripe-fetches",
        title="dj-stripe that fetches (a Stripe that answers at once)",
        command=_gunicorn("djstripe_site.wsgi"),
        path=f"/stripe/webhook/{ENDPOINT}",
        done="select count(*) from djstripe_paymentintent p join djstripe_webhookeventtrigger t"
        " on t.processed and t.body::jsonb #>> '{data,object,id}' = p.id",
        environment={"DJSTRIPE_MODE": "fetches", "STRIPE_API_BASE": stripe_url},
        prepare=_migrate_djstripe,
    )


def stand_in(path: str) -> Program:
    """Takes the place of any of them in a quick run."""
    return Program(
        name="stand-in",
        title="a stand-in",
        command=lambda port: python("-m", "bench.baselines.stand_in", str(port)),
        path=path,
        done="select count(*) from " + ("events" if path == "/webhooks" else "bookings"),
        environment={"PYTHONPATH": str(APPS.parents[2])},
        prepare=_tables if path != "/webhooks" else _events,
    )


def _gunicorn(application: str) -> Callable[[int], list[str]]:
    program = install.python()
    threads = str(CONNECTIONS)
    return lambda port: [
        *(
            str(program),
            "-m",
            "gunicorn",
            application,
            "--bind",
            f"127.0.0.1:{port}",
            "--workers",
            str(WORKERS),
        ),
        *("--worker-class", "gthread", "--threads", threads, "--keep-alive", "60", "--log-level", "warning"),
    ]


def _tables(database: Database) -> None:
    database.run(TABLES)
    database.settle()


def _events(database: Database) -> None:
    database.run("create table events (id text primary key, payload jsonb not null)")


def _migrate_djstripe(database: Database) -> None:
    done = subprocess.run(
        [str(install.python()), "-m", "djstripe_site.prepare"],
        env=environment(database, DJSTRIPE_MODE="stores"),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"dj-stripe's tables: {done.stderr[-1500:]}")
