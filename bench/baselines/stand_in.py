"""Stands in for the others where they are not installed: with it a quick run shows that the rows work.

The least of a server: one conditional update and one insert for a booking, one insert for an event.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING

import jwt
from psycopg import Connection
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

BOOK = """
with s as (
  update slots s set seats_taken = s.seats_taken + 1
  where s.id = %(slot)s and s.seats_taken < s.capacity returning s.*
)
insert into bookings (id, slot_id, session_id, student_id, expert_id, payment_id, status, currency, amount,
  scheduled_at, ends_at, details, created_at, updated_at)
select %(id)s, s.id, s.session_id, %(student)s, s.expert_id, %(id)s, 'pending', 'usd', 5000, s.starts_at,
  s.ends_at, '{}', now(), now()
from s returning 1"""


def create_app() -> WSGIApplication:
    """The application of one worker process."""
    pool: ConnectionPool[Connection[tuple[object, ...]]] = ConnectionPool(
        os.environ["DATABASE_URL"], min_size=1, max_size=8, kwargs={"autocommit": True}, open=True
    )

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        status = 200
        with pool.connection() as connection:
            if environ["PATH_INFO"] == "/api/bookings/create":
                claims = jwt.decode(
                    environ["HTTP_AUTHORIZATION"].split()[1], os.environ["JWT_SECRET"], algorithms=["HS256"]
                )
                given = {"id": uuid.uuid4(), "slot": json.loads(body)["slotId"], "student": claims["sub"]}
                status = 201 if connection.execute(BOOK, given).fetchone() else 409
            elif environ["PATH_INFO"] == "/webhooks":
                event = json.loads(body)
                connection.execute(
                    "insert into events (id, payload) values (%s, %s)", [event["id"], Jsonb(event)]
                )
        start_response(f"{status} _", [("Content-Type", "application/json")])
        return [b"{}"]

    return app
