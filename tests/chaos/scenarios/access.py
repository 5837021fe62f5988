"""Who may do what: every way in that the tests of security know, tried and counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from glue.auth import Authenticator
from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, require
from tests.conftest import _add_pgtap
from tests.py.http.site import Site
from tests.py.races.helpers import mutate
from tests.py.security import broken, forgeries, hijack, injection, matrix, roles
from tests.py.security.rights import RIGHTS
from tests.py.security.stage import Stage

MATRIX, TOKENS, TEXTS, MEMBERS, HIJACK, ROLES = (
    "an operation, every caller, every owner",
    "forged, improper and changed tokens",
    "SQL in a text",
    "members that nobody asked for",
    "a function behind traps",
    "a role against every object",
)
CHANGES = 20_000
"""Random changes of a good token."""
ROWS: list[tuple[str, Any]] = [
    *((MATRIX, name) for name in matrix.BY_NAME),
    (TOKENS, None),
    *((TEXTS, each) for each in injection.TEXT_FIELDS),
    *((MEMBERS, name) for name in injection.WITH_BODY),
    *((HIJACK, name) for name in hijack.FILES),
    *((ROLES, role) for role in roles.ROLES),
]
SHORT: list[tuple[str, Any]] = [
    (MATRIX, "GET /api/bookings/{id}"),
    (MATRIX, "GET /api/admin/stats"),
    (TOKENS, None),
    (TEXTS, next(each for each in injection.TEXT_FIELDS if each[1].name == "reason")),
    (MEMBERS, "POST /api/bookings/create"),
    (HIJACK, "confirm_booking_transaction"),
    (ROLES, "app"),
]
"""In the short run: the tests of security themselves try the rest there."""


class House:
    """A server and its callers; the traps are in a database of their own."""

    kind = ""

    def __init__(self, place: Place, removed: Control | None, stack: ExitStack) -> None:
        self.place, self.removed, self.stack = place, removed, stack
        url = stack.enter_context(place.database())
        self.site = stack.enter_context(Site(url, place.sandbox, metrics_enabled=True).open())
        self.callers = Stage(self.site)
        self._hostile = ""
        self.take_guard_away(self.site.sql)

    def take_guard_away(self, sql: psycopg.Connection[Any]) -> None:
        for file, old, new in self.removed.edits if self.removed else ():
            mutate(sql, file, old, new)
        for statement in self.removed.sql if self.removed else ():
            sql.execute(statement.encode())

    @property
    def hostile(self) -> str:
        if not self._hostile:
            self._hostile = self.stack.enter_context(self.place.database())
            parts = conninfo_to_dict(self._hostile)
            _add_pgtap(**{name: parts[name] for name in ("host", "port", "user", "dbname")})
            hijack.set_traps(self._hostile)
            with psycopg.connect(self._hostile) as sql:
                self.take_guard_away(sql)
        return self._hostile


class Access(Scenario[House]):
    title = "Every operation, token, text, function and role, as somebody who may not"
    tries = len(ROWS)
    short = len(SHORT)
    per_stage = len(ROWS)
    controls = (
        Control(
            "who reads a booking is party to it",
            edits=(("bookings/party_of.sql", "p_booking.expert_id = p_person_id", "true"),),
            tries=len(SHORT),
        ),
        Control("a role opens what is the role's", python=broken.roles, tries=len(SHORT)),
        Control("a token's signature is looked at", python=broken.signatures, tries=len(SHORT), first=2),
        Control("a text is no part of a statement", python=broken.parameters, tries=len(SHORT), first=3),
        Control(
            "a request has the members of the document", python=broken.members, tries=len(SHORT), first=4
        ),
        Control(
            "a function looks for names where no caller can put one",
            edits=(
                (
                    "bookings/confirm_booking_transaction.sql",
                    "set search_path = pg_catalog, pg_temp\n",
                    "",
                ),
            ),
            tries=len(SHORT),
            first=5,
        ),
        Control(
            "no role has a right to a table",
            sql=("grant select on booking.bookings to booking_app",),
            tries=len(SHORT),
            first=6,
        ),
    )

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._chosen = False

    @contextmanager
    def stage(self, place: Place, removed: Control | None) -> Iterator[House]:
        self._chosen = self.quick or removed is not None
        with ExitStack() as stack:
            yield House(place, removed, stack)

    def attempt(self, stage: House, number: int, rng: random.Random) -> str:
        rows = SHORT if self._chosen else ROWS
        kind, about = rows[number % len(rows)]
        stage.kind = f"{kind}: {about}"
        found: list[str] = []
        match kind:
            case "an operation, every caller, every owner":
                sent = stage.callers.sent
                found = matrix.faults_of_refusals(stage.callers, about)
                if RIGHTS[about].roles:
                    found += matrix.faults_of_services(stage.callers, about)
                self._counts["requests of operation x caller x owner"] += stage.callers.sent - sent
            case "forged, improper and changed tokens":
                found = self.tokens(rng)
            case "SQL in a text":
                found = injection.faults_of_texts(stage.callers, *about)
                self._counts["texts x fields"] += len(injection.TEXTS)
            case "members that nobody asked for":
                count, found = injection.faults_of_members(stage.callers, about)
                self._counts["members x operations"] += count
            case "a function behind traps":
                found = hijack.hijacked(stage.hostile, hijack.FILES[about])
                self._counts["functions behind traps"] += 1
            case _:
                count, found = roles.faults_of_role(stage.site.db_url, about)
                self._counts["role x table or function"] += count
        require(not found, "\n".join(found[:20]))
        broken_rows = stage.site.sql.execute("select * from booking.check_invariants()").fetchall()
        require(not broken_rows, f"invariants are violated: {broken_rows}")
        return kind

    def tokens(self, rng: random.Random) -> list[str]:
        with forgeries.serving_keys() as provider:
            known: dict[str, Authenticator] = forgeries.authenticators_of(provider)
            tokens = list(forgeries.forgeries(provider))
            found = forgeries.believed(known, tokens)
            self._counts["forged tokens x servers"] += len(tokens) * len(known)
            cases = (
                ("secret", forgeries.HS, forgeries.OUR_SECRET),
                ("keys", forgeries.RS, forgeries.by_key(forgeries.OURS)),
            )
            for kind, header, signer in cases:
                tokens = list(forgeries.improper(header, signer))
                found += forgeries.believed({kind: known[kind]}, tokens)
                self._counts["signed tokens that say something wrong"] += len(tokens)
            count = 500 if self._chosen else CHANGES
            found += forgeries.faults_of_changes(known, rng, count)
            self._counts["random changes of a good token"] += count
            if set(provider.asked) - {"/jwks"}:
                found.append(f"keys were asked for at {set(provider.asked)}")
        return found

    def facts(self) -> dict[str, Any]:
        return dict(self._counts)


SCENARIO = Access
