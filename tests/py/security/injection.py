"""What callers write, tried wherever they can: SQL in every text, members that nobody asked for."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import psycopg
import requests
from psycopg import sql

from tests.py.http.site import Site
from tests.py.security.matrix import BY_NAME
from tests.py.security.openapi import Field, Operation
from tests.py.security.rights import RIGHTS
from tests.py.security.stage import Stage

MARK = "kilroy"
"""Stands in every text that is tried: it may not be found in any statement."""

TEXTS = [
    f"{MARK}' or '1'='1",
    f"{MARK}'; create table public.{MARK} (x int); --",
    f"{MARK}'; drop table booking.bookings cascade; --",
    f"{MARK}' union select stripe_payment_intent_id from booking.payments --",
    f"{MARK}'||(select current_setting('is_superuser'))||'",
    f'{MARK}"; create table public.{MARK} (x int); --',
    f"{MARK}\\'; create table public.{MARK} (x int); --",
    f"{MARK}$$; create table public.{MARK} (x int); $$",
    f"{MARK}%(user)s %s %% {{0}} {{user}} :user $1",
    f"{MARK}\uff07; create table public.{MARK} (x int); --",
    f"{MARK}'/**/or/**/1=1#",
    f"0190c2d2-7b1e-7000-8000-000000000000'; create table public.{MARK} (x int); --",
    f"2026-01-01T00:00:00Z'; create table public.{MARK} (x int); --",
    f"{MARK}\r\nX-Injected: yes",
    f"<script>{MARK}</script>",
    f"${{jndi:ldap://{MARK}}} {{{{7*7}}}}",
]

KEPT = [
    ("POST /api/bookings/cancel", "reason"),
    ("POST /api/refunds/request", "reason"),
    ("POST /api/admin/refunds/{id}/decision", "note"),
]
"""Texts that are stored as they were written."""

OPERATIONS = {name: op for name, op in BY_NAME.items() if op.fields}
TEXT_FIELDS = [(name, field) for name, op in OPERATIONS.items() for field in op.fields if field.is_text]


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is sent to the database as SQL while the block runs, without the values beside it."""
    sent: list[str] = []
    true = psycopg.Connection.execute

    def execute(connection: psycopg.Connection[Any], query: Any, *values: Any, **options: Any) -> Any:
        sent.append(query if isinstance(query, str) else repr(query))
        return true(connection, query, *values, **options)

    with mock.patch.object(psycopg.Connection, "execute", execute):
        yield sent


def faults_of_texts(stage: Stage, name: str, field: Field) -> list[str]:
    """Sends each text in this field. What is not as it must be, in words: a text in a statement, a table that
    came or went, an error of the server, a text that was changed on its way."""
    operation, right = OPERATIONS[name], RIGHTS[name]
    thing = right.thing(stage, stage.new_parties())
    role = next(iter(right.roles), "nobody")
    tables = stage.site.contents().keys()
    found, kept = [], []
    for text in TEXTS:
        with statements() as sent:
            try:
                headers = stage.authorization(role, thing.parties.by_role(role))
                response = stage.send(operation, headers, {**thing.fields, field.name: text})
            except (requests.exceptions.InvalidHeader, UnicodeEncodeError):
                continue  # no client sends it
        said = f"{text!r}: {response.status_code} {response.text[:300]}"
        found += [said] if response.status_code >= 500 else []
        found += [f"{text!r} is part of a statement"] if any(MARK in each for each in sent) else []
        found += [f"{text!r} is a header"] if "X-Injected" in response.headers else []
        if not field.is_free_text and field.name not in ("action", "decision"):
            found += [said] if response.status_code not in (400, 404) else []
        kept += [text] if response.ok else []
    found += ["tables came or went"] if stage.site.contents().keys() != tables else []
    made = stage.site.sql.execute("select to_regclass(%s) as found", (f"public.{MARK}",)).fetchone()
    found += ["a table was made"] if made != {"found": None} else []
    if (name, field.name) in KEPT and not (kept and stored(stage.site, kept[0])):
        found.append(f"{kept[:1]} was changed on its way")
    return found


def stored(site: Site, text: str) -> bool:
    """Whether some column holds exactly this text."""
    columns = site.sql.execute(
        "select table_name, column_name from information_schema.columns"
        " where table_schema = 'booking' and data_type = 'text'"
    ).fetchall()
    return any(
        site.sql.execute(
            sql.SQL("select from booking.{} where {} = %s").format(
                sql.Identifier(column["table_name"]), sql.Identifier(column["column_name"])
            ),
            (text,),
        ).fetchone()
        is not None
        for column in columns
    )


def members(site: Site, operation: Operation) -> dict[str, Any]:
    """Names that somebody might slip in: every column there is, and every field of every answer."""
    columns = site.sql.execute(
        "select distinct column_name as name from information_schema.columns where table_schema = 'booking'"
    ).fetchall()
    spec = requests.get(site.base + "/openapi.json", timeout=120).json()
    fields = {name for s in spec["components"]["schemas"].values() for name in s.get("properties", {})}
    names = {row["name"] for row in columns} | fields
    names |= {re.sub(r"_([a-z])", lambda found: found[1].upper(), name) for name in names}
    names |= {"role", "isAdmin", "userId", "user", "sub", "price", "__proto__", "constructor", "__class__"}
    return {name: value_for(name) for name in sorted(names - {field.name for field in operation.fields})}


def named_faults(response: requests.Response) -> set[str]:
    answer = response.json()
    details = answer["error"]["details"] if "error" in answer else answer["data"]
    return {fault["field"] for fault in details["fields"]}


def value_for(name: str) -> Any:
    if re.search("amount|percent|price|seats|capacity", name, re.I):
        return 1
    if re.search("id$", name, re.I):
        return str(uuid.uuid4())
    return {"status": "confirmed", "role": "admin", "isAdmin": True}.get(name, "admin")


def faults_of_members(stage: Stage, name: str) -> tuple[int, list[str]]:
    """Sends members that the body does not have: how many, and what is not refused, or written."""
    operation, right = BY_NAME[name], RIGHTS[name]
    role = right.roles[0]
    thing = right.thing(stage, stage.new_parties())
    headers = stage.authorization(role, thing.parties.by_role(role))
    good = stage.made_up(operation) | dict(thing.fields)
    body = operation.in_place("body", good)
    extra = members(stage.site, operation)
    found = []

    def send(sent: dict[str, Any]) -> requests.Response:
        path = stage.site.base + operation.path.format(**operation.in_place("path", good))
        return requests.post(path, json=sent, headers=headers, timeout=120)

    stage.quiet()
    before = stage.site.contents()
    for number in range(0, len(extra), 10):  # an answer names at most ten faults
        some = dict(list(extra.items())[number : number + 10])
        response = send({**body, **some})
        if response.status_code != 400:
            found.append(f"{some}: {response.status_code} {response.text[:300]}")
        elif named_faults(response) != set(some):
            found.append(f"{some}: {response.text[:300]}")
    if send({operation.path: body}).status_code != 400:
        found.append("a body inside a body is taken")
    after = stage.site.contents()
    found += [f"{table} changed" for table in after if after[table] != before[table]]
    if not found and (response := send(body)).status_code != operation.success:
        found.append(f"the body without them is refused: {response.text[:300]}")
    return len(extra), found


WITH_BODY = [name for name, operation in BY_NAME.items() if operation.has_body]
