"""Maintenance by an outside scheduler, for installations without pg_cron."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from werkzeug.exceptions import MethodNotAllowed

from glue import schemas
from glue.db import Database
from glue.errors import ApiError
from glue.routes.base import Services, answer, errors

PATH = "/api/cron/cleanup-bookings"
BUDGET = 20.0
"""Seconds after which no further batch is begun; the next run goes on from there."""


def routes(services: Services) -> APIBlueprint:
    """The blueprint of the scheduler."""
    api = APIBlueprint(
        "cron", __name__, abp_tags=[Tag(name="cron")], abp_security=[{"cron": []}], abp_responses=errors(401)
    )

    def run() -> Response:
        # Flask gives HEAD to whoever has GET. What only asks for headers must not set anything going.
        if request.method == "HEAD":
            raise MethodNotAllowed(["GET", "OPTIONS", "POST"])
        require_secret(services.settings.cron_secret, request.headers.get("Authorization"))
        return answer(schemas.Cleanup, clean_up(services.db, time.monotonic() + BUDGET))

    # Vercel Cron sends GET, others POST.
    @api.get(PATH, summary="Run the maintenance", responses={200: schemas.Cleanup})
    def clean_up_by_get() -> Response:
        return run()

    @api.post(PATH, summary="Run the maintenance", responses={200: schemas.Cleanup})
    def clean_up_by_post() -> Response:
        return run()

    return api


def require_secret(secret: str, header: str | None) -> None:
    """Compares in constant time, so that the answer's time tells nothing. Raises `ApiError` 401."""
    scheme, _, given = (header or "").partition(" ")
    is_right = hmac.compare_digest(given.strip().encode(), secret.encode())
    if not secret or scheme.lower() != "bearer" or not is_right:
        raise ApiError(401, "invalid_cron_secret", "Send CRON_SECRET as a bearer token.")


def clean_up(db: Database, until: float) -> dict[str, int]:
    """Runs every part of the maintenance, in batches that commit one by one; how many rows each dealt with.

    `until`: monotonic seconds. Each part runs at least once.
    """

    def drained(batch: Callable[[], int]) -> int:
        total = 0
        while count := batch():
            total += count
            if time.monotonic() >= until:
                break
        return total

    webhook_events = {"archived": 0, "deleted": 0}

    def old_webhook_events() -> int:
        row = db.one("select * from booking.cleanup_old_webhook_events()")
        assert row is not None
        for name in webhook_events:
            webhook_events[name] += row[name]
        return sum(row.values())

    counts: dict[str, int] = {
        # First: freeing a seat fails where its counter is too low.
        "slots_repaired": db.scalar("select * from booking.cleanup_orphaned_slots()"),
        "bookings_expired": drained(
            lambda: db.scalar(
                "select * from booking.cleanup_expired_bookings(p_timeout => booking.booking_timeout())"
            )
        ),
        "bookings_completed": drained(lambda: db.scalar("select * from booking.complete_past_bookings()")),
        "webhooks_retried": db.scalar("select * from booking.retry_failed_webhooks()"),
        "bookings_scrubbed": drained(lambda: db.scalar("select * from booking.archive_old_bookings()")),
        "idempotency_keys_deleted": drained(
            lambda: db.scalar("select * from booking.clean_expired_idempotency_keys()")
        ),
        "locks_cleaned": drained(lambda: db.scalar("select * from booking.clean_expired_locks()")),
        "orders_expired": drained(lambda: db.scalar("select * from booking.expire_lost_orders()")),
        "statistics_folded": drained(lambda: db.scalar("select * from booking.roll_up_stats()")),
    }
    drained(old_webhook_events)
    return counts | {f"webhook_events_{name}": count for name, count in webhook_events.items()}
