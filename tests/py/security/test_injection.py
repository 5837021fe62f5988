"""What callers write is never code and never a column: SQL in every text, members that nobody asked for.

The texts and members are tried on every operation of the OpenAPI document.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import requests
from psycopg import sql

from tests.py.http.site import Row, Site
from tests.py.security.matrix import BY_NAME
from tests.py.security.openapi import Field, Operation
from tests.py.security.rights import RIGHTS
from tests.py.security.stage import Stage

pytestmark = pytest.mark.pg18  # values go as parameters, whatever the database

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
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is sent to the database as SQL while the block runs, without the values beside it."""
    sent: list[str] = []
    true = psycopg.Connection.execute

    def execute(connection: psycopg.Connection[Any], query: Any, *values: Any, **options: Any) -> Any:
        sent.append(query if isinstance(query, str) else repr(query))
        return true(connection, query, *values, **options)

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Connection, "execute", execute)
        yield sent


def caller_of(stage: Stage, name: str, user: str) -> dict[str, str]:
    return stage.authorization(next(iter(RIGHTS[name].roles), "nobody"), user)


@pytest.mark.parametrize(("name", "field"), TEXT_FIELDS, ids=[f"{n} {f.name}" for n, f in TEXT_FIELDS])
def test_a_text_is_never_sql(stage: Stage, name: str, field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    operation, right = OPERATIONS[name], RIGHTS[name]
    thing = right.thing(stage, stage.new_parties())
    role = next(iter(right.roles), "nobody")
    tables = stage.site.contents().keys()
    kept = []
    for text in TEXTS:
        with statements(monkeypatch) as sent:
            try:
                headers = stage.authorization(role, thing.parties.by_role(role))
                response = stage.send(operation, headers, {**thing.fields, field.name: text})
            except (requests.exceptions.InvalidHeader, UnicodeEncodeError):
                continue  # no client sends it
        assert response.status_code < 500, f"{text!r}: {response.text[:300]}"
        assert not any(MARK in statement for statement in sent), f"{text!r} is part of a statement"
        assert "X-Injected" not in response.headers
        if not field.is_free_text and field.name not in ("action", "decision"):
            assert response.status_code in (400, 404), f"{text!r}: {response.text[:300]}"
        kept += [text] if response.ok else []
    assert stage.site.contents().keys() == tables
    assert stage.site.sql.execute("select to_regclass(%s) as found", (f"public.{MARK}",)).fetchone() == {
        "found": None
    }
    if (name, field.name) in KEPT:
        assert stored(stage.site, kept[0]), f"{kept[0]!r} was changed on its way"


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


@pytest.mark.parametrize("name", [name for name, operation in BY_NAME.items() if operation.has_body])
def test_a_member_that_nobody_asked_for_is_refused(stage: Stage, name: str) -> None:
    operation, right = BY_NAME[name], RIGHTS[name]
    role = right.roles[0]
    thing = right.thing(stage, stage.new_parties())
    headers = stage.authorization(role, thing.parties.by_role(role))
    good = stage.made_up(operation) | dict(thing.fields)
    path = stage.site.base + operation.path.format(**operation.in_place("path", good))
    body = operation.in_place("body", good)
    extra = members(stage.site, operation)
    with stage.unchanged():
        for number in range(0, len(extra), 10):  # an answer names at most ten faults
            some = dict(list(extra.items())[number : number + 10])
            response = requests.post(path, json={**body, **some}, headers=headers, timeout=120)
            assert response.status_code == 400, f"{some}: {response.status_code} {response.text[:300]}"
            assert named_faults(response) == set(some)
        nested = requests.post(path, json={operation.path: body}, headers=headers, timeout=120)
        assert nested.status_code == 400
    assert len(extra) > 100
    assert requests.post(path, json=body, headers=headers, timeout=120).status_code == operation.success


def test_a_parameter_that_nobody_asked_for_changes_nothing(stage: Stage) -> None:
    """In the address, too: of reads they are refused or have no effect, of writes they have none."""
    other = stage.others(RIGHTS["GET /api/bookings"].thing)
    slipped: Row = {
        "userId": other.parties.student, "user_id": other.parties.student, "studentId": other.parties.student,
        "role": "admin", "p_user_id": other.parties.student, "sub": other.parties.student,
    }  # fmt: skip
    for name, operation in BY_NAME.items():
        right = RIGHTS[name]
        if operation.method != "GET" or not {"student", "expert"} & {*right.roles}:
            continue
        thing = right.thing(stage, stage.new_parties())
        role = next(role for role in right.roles if role in ("student", "expert"))
        path = stage.site.base + operation.path.format(**operation.in_place("path", thing.fields))
        for added, value in slipped.items():
            values = operation.in_place("query", stage.made_up(operation)) | {added: value}
            headers = stage.authorization(role, thing.parties.by_role(role))
            response = requests.get(path, params=values, headers=headers, timeout=120)
            assert response.status_code in (operation.success, 400), f"{name} {added}: {response.text[:300]}"
            assert not [mark for mark in other.marks if mark in response.text], f"{name} {added}"
