"""Stands in for the others where they are not installed: with it a quick run shows that the rows work.

The least of a server: one conditional update and one insert for a booking, one insert for an event.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from psycopg import Connection
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

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


class Handler(BaseHTTPRequestHandler):
    """A thread for each connection, which stays open."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    pool: ConnectionPool[Connection[tuple[object, ...]]]

    def do_GET(self) -> None:
        """Somebody asks whether we are up."""
        self._answer(200)

    def do_POST(self) -> None:
        """A wish for a slot, or an event."""
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.pool.connection() as connection:
            if self.path == "/webhooks":
                connection.execute(
                    "insert into events (id, payload) values (%s, %s)", [sent["id"], Jsonb(sent)]
                )
                self._answer(200)
                return
            token = self.headers["Authorization"].split()[1]
            claims = jwt.decode(token, os.environ["JWT_SECRET"], algorithms=["HS256"])
            given = {"id": uuid.uuid4(), "slot": sent["slotId"], "student": claims["sub"]}
            is_booked = connection.execute(BOOK, given).fetchone() is not None
        self._answer(201 if is_booked else 409)

    def _answer(self, status: int) -> None:
        self.wfile.write(b"HTTP/1.1 %d _\r\nContent-Length: 2\r\n\r\n{}" % status)

    def log_message(self, *_: object) -> None:
        """Not each request."""


class Server(ThreadingHTTPServer):
    """Everybody who comes at once is let in."""

    request_queue_size = 128


if __name__ == "__main__":
    with ConnectionPool(
        os.environ["DATABASE_URL"], min_size=1, max_size=8, kwargs={"autocommit": True}, open=True
    ) as Handler.pool:
        Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
