"""Applies Stripe's own list of events: for a database that was restored, or that webhooks did not reach.

What an event does, and that it does it once, is the database's judgement; here they are only fetched. Stripe
lists the newest first, and their effects do not depend on the order.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from glue.db import Database
from glue.stripe_gateway import StripeGateway

_log = logging.getLogger(__name__)

TYPES = (
    "payment_intent.amount_capturable_updated",
    "payment_intent.succeeded",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "charge.succeeded",
    "charge.captured",
    "charge.refunded",
    "charge.expired",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "checkout.session.completed",
    "checkout.session.expired",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
)
"""What has an effect; Stripe takes at most 20 types in a question."""

Progress = Callable[[float], None]
"""progress(share): how much of the window is done, from 0 to 1."""


def _unseen(share: float) -> None:  # noqa: ARG001
    return None


@dataclass(frozen=True)
class Replayed:
    """How many events there were, and what came of them, as `process_webhook_event` says it."""

    events: int
    processed: int
    duplicate: int
    ignored: int
    failed: int


def replay(
    db: Database, gateway: StripeGateway, start: datetime, end: datetime, *, progress: Progress = _unseen
) -> Replayed:
    """Apply every event that Stripe made from `start` up to `end`. Again is harmless.

    Raises psycopg.Error, StripeFailure.
    """
    results: Counter[str] = Counter()
    for page in gateway.events(TYPES, start, end):
        for event in page:
            result = db.scalar(
                "select * from booking.process_webhook_event(p_event => %(event)s)", {"event": Jsonb(event)}
            )
            results[result] += 1
            about = {"event_id": event.get("id"), "event_type": event.get("type"), "result": result}
            _log.log(logging.WARNING if result == "failed" else logging.INFO, "event", extra=about)
        if page:
            left = (page[-1]["created"] - start.timestamp()) / (end - start).total_seconds()
            progress(min(1.0, max(0.0, 1.0 - left)))
    progress(1.0)
    return Replayed(
        events=results.total(),
        processed=results["processed"],
        duplicate=results["duplicate"],
        ignored=results["ignored"],
        failed=results["failed"],
    )
