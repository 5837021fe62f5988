"""A database, the sandbox's books, and people who use servers and workers that may die."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TypeVar
from urllib.parse import quote
from uuid import UUID

from glue.settings import Settings
from tests.chaos.actors import Moment, Server, Worker
from tests.chaos.cases import SUCCESS_URL
from tests.chaos.place import Place
from tests.chaos.scenario import Control, require
from tests.py.http.site import Person, as_server, base_env, token
from tests.py.mirror.world import KEY, PRICE, Booking, World, _status
from tests.py.races.helpers import mutate

_numbers = itertools.count(1)
MORTAL = "pgbooking that may die"
"""What sessions of such processes are called."""


S = TypeVar("S", bound="Stage")


class Stage(World):
    """`front`: the server that people talk to; by default one that nobody kills."""

    def __init__(self, url: str, place: Place, removed: Control | None) -> None:
        place.sandbox.control.reset()
        super().__init__(url, place.sandbox)
        self.place = place
        self.removed = removed
        self.kind = ""
        self.front: Server | None = None
        self.lost: set[str] = set()
        """PaymentIntents of which nobody was ever told: their answer was lost for good."""
        self.orphans: set[str] = set()
        """PaymentIntents of bookings that are gone, of which a person has seen to."""
        self._stack = ExitStack()
        env = base_env(as_server(url), place.sandbox.url)
        self.settings = replace(
            Settings.from_env(
                env | {"STRIPE_SECRET_KEY": KEY, "LOG_LEVEL": "CRITICAL", "CHECKOUT_SUCCESS_URL": SUCCESS_URL}
            ),
            maintenance_interval_seconds=86_400,
        )

    def remove_guard(self) -> None:
        """What the control takes away in the database."""
        for file, old, new in self.removed.edits if self.removed else ():
            mutate(self.sql, file, old, new)
        for statement in self.removed.sql if self.removed else ():
            self.sql.execute(statement.encode())

    def close(self) -> None:
        self._stack.close()
        super().close()

    # -- processes

    @cached_property
    def survivor(self) -> Server:
        """A server that nobody kills."""
        server = Server(self.settings, None, self.removed)
        self._stack.callback(server.kill)
        return server

    def server(self, moment: Moment | None = None) -> Server:
        """Another one; the caller sees to its end."""
        return Server(self._mortal(), moment, self.removed)

    def worker(self, moment: Moment | None = None, *, at_once: int = 10) -> Worker:
        """It claims so many commands at once. The caller sees to its end."""
        settings = replace(self._mortal(), max_concurrent_payments=at_once)
        return Worker(settings, moment, self.removed)

    def _mortal(self) -> Settings:
        url = f"{self.settings.database_url}&application_name={quote(MORTAL)}"
        return replace(self.settings, database_url=url)

    def wait_until_gone(self) -> None:
        """A statement that a process sent just before its death is still carried out: wait for that."""
        gone = "select from pg_stat_activity where application_name = %s having count(*) = 0"
        give_up = time.monotonic() + 60
        while self.sql.execute(gone, (MORTAL,)).fetchone() is None:
            require(time.monotonic() < give_up, "sessions of dead processes stay")
            time.sleep(0.005)

    # -- what people do

    def person(self, user: str, role: str = "student", server: Server | None = None) -> Person:
        at = server or self.front or self.survivor
        return Person(at.url, user, f"Bearer {token(user, role)}")

    def slot(self, capacity: int) -> UUID:
        """A slot with so many seats, two days ahead."""
        return self.offer(48, capacity)[0]

    def offer(self, hours: float, capacity: int = 1) -> tuple[UUID, str]:
        """A slot that begins in so many hours, and its expert."""
        expert = f"expert-{next(_numbers)}"
        row = self.db.one(
            "select s.session, booking.publish_slot(p_expert_id => %(e)s, p_session_id => s.session,"
            " p_starts_at => now() + %(h)s * interval '1 hour',"
            " p_ends_at => now() + (%(h)s + 1) * interval '1 hour', p_capacity => %(c)s) as slot"
            " from booking.create_session(p_expert_id => %(e)s, p_title => 'An hour', p_amount => %(a)s,"
            " p_currency => 'eur') s (session)",
            {"e": expert, "h": hours, "a": PRICE, "c": capacity},
        )
        assert row is not None
        return row["slot"], expert

    def book(self, *, hours: float = 48) -> Booking:
        """Over HTTP: an answer of 201 is an acknowledgement."""
        slot, expert = self.offer(hours)
        student = f"student-{next(_numbers)}"
        response = self.person(student).post("/api/bookings/create", {"slotId": str(slot)})
        require(response.status_code == 201, f"a booking was refused: {response.text}")
        answer = response.json()
        return Booking(UUID(answer["bookingId"]), UUID(answer["paymentId"]), student, expert)

    # -- afterwards

    def heal(self) -> None:
        """The leases of the dead run out, the outbox is worked off, every event arrives."""
        self.control.clear_faults()
        self.wait_until_gone()
        self.lapse_leases()
        self.lapse_locks()
        self.drain()

    def lapse_locks(self) -> None:
        """Locks on purchases live for ten seconds."""
        self.sql.execute(
            "update booking.concurrency_locks set acquired_at = now() - interval '1 min', expires_at = now()"
        )

    def require_sound(self, *, alerts: Collection[str] = ()) -> None:
        """Our books are Stripe's, the invariants hold, no command is open or dead, nobody is alarmed but by
        `alerts`. A lost PaymentIntent can neither be paid nor was it."""
        ours = {
            row["id"]: (row["captured"], row["refunded"], row["status"])
            for row in self.sql.execute(
                "select p.stripe_payment_intent_id as id, p.amount_captured as captured,"
                " p.amount_refunded as refunded, p.status::text from booking.payments p"
                " where p.stripe_payment_intent_id is not null"
                " union all select o.stripe_payment_intent_id, o.amount, 0, 'captured' from booking.orders o"
                " where o.status = 'paid'"
            )
        }
        theirs = {
            row["id"]: (row["captured"], row["refunded"], _status(row))
            for row in self.control.books()["payment_intents"]
            if row["id"] not in self.orphans
            and (row["id"] not in self.lost or row["charges"] or row["amount_capturable"])
        }
        odd = {key: (ours.get(key), theirs.get(key)) for key in ours.keys() | theirs.keys()}
        odd = {key: pair for key, pair in odd.items() if pair[0] != pair[1]}
        require(not odd, f"ours and Stripe's books differ: {odd}")
        broken = self.sql.execute("select * from booking.check_invariants()").fetchall()
        require(not broken, f"invariants are violated: {broken}")
        left = self.sql.execute(
            "select c.operation, c.status::text, c.last_error from booking.stripe_commands c"
            " where c.status <> 'done'"
        ).fetchall()
        require(not left, f"commands are left: {left}")
        alarmed = set(self.alerts()) - set(alerts)
        require(not alarmed, f"alerts are open: {alarmed}")

    def resolve_alerts(self) -> None:
        """A person has looked at them."""
        self.sql.execute("select booking.resolve_alert(a.alert_id, 'chaos') from booking.list_alerts() a")


@contextmanager
def fresh(kind: type[S], place: Place, removed: Control | None) -> Iterator[S]:
    """A stage with nothing in the database and nothing at Stripe."""
    with place.database() as url:
        made = kind(url, place, removed)
        try:
            made.remove_guard()
            yield made
        finally:
            made.close()
