"""Our server as it runs in production, and requests to it. Everything has a number, as in setup.sql."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache

import jwt

from bench.load import Server, python, request, served
from bench.rows.webhooks import NUMBER, payload
from bench.stage import Database
from glue.sandbox.signing import signature_header

STRIPE_KEY = "sk_test_bench_0123456789"
WEBHOOK_SECRET = "whsec_bench_0123456789"
CRON_SECRET = "cron-secret-of-the-bench"
JWT_SECRET = "jwt-secret-of-the-bench-0123456789-0123456789"
ROLE = "booking_bench_server"
POOL = 4
"""Connections of each process: with two of them, four for each core of this machine (docs/performance.md)."""
PEOPLE = 1000
"""As many students, and experts, take turns."""


def environment(
    database: Database, *, pool: int = POOL, payments: int = 10, stripe_url: str = "http://127.0.0.1:9"
) -> dict[str, str]:
    """Settings of a server; limits are in force, and out of reach. Each process has a pool of so many
    connections and asks Stripe so many things at once."""
    return {
        "DATABASE_URL": login(database),
        "DATABASE_POOL_SIZE": str(pool),
        "MAX_CONCURRENT_PAYMENTS": str(payments),
        "STRIPE_SECRET_KEY": STRIPE_KEY,
        "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "STRIPE_API_BASE": stripe_url,
        "CRON_SECRET": CRON_SECRET,
        "JWT_SECRET": JWT_SECRET,
        "RATE_LIMIT_MAX_REQUESTS": "100000000",
    }


def login(database: Database) -> str:
    """The URL of a server's login: in booking_app and booking_cron, as docs/operations.md has it."""
    database.run(
        f"do $$ begin create role {ROLE} in role booking_app, booking_cron;"
        " exception when duplicate_object or unique_violation then null; end $$"
    )
    return f"{database.url}{'&' if '?' in database.url else '?'}options=-crole%3D{ROLE}"


def ours(
    settings: Mapping[str, str], *, workers: int = 2, threads: int | None = None
) -> AbstractContextManager[Server]:
    """`pgbooking serve` with these settings."""
    more = ["--threads", str(threads)] if threads else []
    return served(
        lambda port: python("cli.py", "serve", "--port", str(port), "--workers", str(workers), *more),
        settings,
        path="/healthz",
    )


@cache
class Tokens:
    """Bearer tokens of everybody, made once a run: people do not sign in anew for each round."""

    def __init__(self, role: str) -> None:
        until = int(time.time()) + 86_400
        self._headers = [
            {"Authorization": "Bearer " + jwt.encode(_claims(role, number, until), JWT_SECRET, "HS256")}
            for number in range(PEOPLE + 1)
        ]

    def of(self, number: int) -> dict[str, str]:
        """The header of student-<number>, or expert-<number>."""
        return self._headers[number]


def creations(numbers: Iterable[int], slot: int | None = None) -> Iterator[bytes]:
    """Each books the slot of its number, or all the same one."""
    tokens = Tokens("student")
    for number in numbers:
        wanted = {"slotId": slot_id(number if slot is None else slot)}
        yield request("/api/bookings/create", wanted, tokens.of(number % PEOPLE))


def webhooks(numbers: Iterable[int], path: str = "/api/webhooks/stripe") -> Iterator[bytes]:
    """Signed events: the hold of the payment of each number is there."""
    text = payload()
    for number in numbers:
        body = text.replace(NUMBER, f"{number:012d}").encode()
        yield request(path, body, {"Stripe-Signature": signature_header(body, WEBHOOK_SECRET)})


def intents(numbers: Iterable[int]) -> Iterator[bytes]:
    """Each asks for the PaymentIntent of the booking of its number."""
    tokens = Tokens("student")
    for number in numbers:
        wanted = {"bookingId": booking_id(number)}
        yield request("/api/payment/create-intent", wanted, tokens.of(number % PEOPLE))


def confirmations(numbers: Iterable[int]) -> Iterator[bytes]:
    """Each confirms the booking of its number, whose payment is authorized."""
    tokens = Tokens("expert")
    for number in numbers:
        wanted = {"bookingId": booking_id(number), "action": "confirm"}
        yield request("/api/bookings/expert/confirm", wanted, tokens.of(number % PEOPLE + 1))


def cleanup() -> bytes:
    """What the scheduler asks."""
    return request("/api/cron/cleanup-bookings", b"", {"Authorization": f"Bearer {CRON_SECRET}"})


def to_floor(requests: Iterable[bytes], path: str) -> Iterator[bytes]:
    """The same requests, to another address."""
    for text in requests:
        _, _, rest = text.partition(b" HTTP/1.1\r\n")
        yield b"POST " + path.encode() + b" HTTP/1.1\r\n" + rest


def slot_id(number: int) -> str:
    """As bench.slot_id()."""
    return f"00000000-0000-7000-8000-{number:012d}"


def booking_id(number: int) -> str:
    """As bench.booking_id()."""
    return f"00000000-0000-7000-9000-{number:012d}"


def _claims(role: str, number: int, until: int) -> dict[str, object]:
    return {"sub": f"{role}-{number}", "role": role, "exp": until}
