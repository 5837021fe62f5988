"""One PaymentIntent for each booking, whichever route it is paid by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import g

from glue.errors import ApiError
from glue.routes.base import Services
from glue.stripe_gateway import StripeFailure


def payment_intent_of(services: Services, prepared: Mapping[str, Any]) -> Mapping[str, Any]:
    """The PaymentIntent of a row of `prepare_payment_intent`, created or found again, with its client secret.

    Raises `ApiError` 409 when the booking has died meanwhile: then the secret is nobody's. Raises
    StripeFailure; that Stripe refuses our key is reported.
    """
    try:
        return _made_once(services, prepared)
    except StripeFailure as failure:
        services.report_refused_key(failure)
        raise


def _made_once(services: Services, prepared: Mapping[str, Any]) -> Mapping[str, Any]:
    gateway, wait = services.gateway, services.stripe_wait
    known = prepared["stripe_payment_intent_id"]
    if known:
        intent = gateway.retrieve_payment_intent(known, deadline=wait)
    else:
        intent = gateway.create_payment_intent(prepared, deadline=wait)
    recorded = _record(services, prepared["payment_id"], intent["id"])
    if recorded["stripe_payment_intent_id"] != intent["id"]:
        # Another request recorded its own first; the database has queued the cancelling of ours.
        intent = gateway.retrieve_payment_intent(recorded["stripe_payment_intent_id"], deadline=wait)
        recorded = _record(services, prepared["payment_id"], intent["id"])
    if not recorded["is_live"]:
        raise ApiError(
            409,
            "already_processed",
            "The booking is no longer open for payment.",
            {"status": recorded["booking_status"], "paymentStatus": recorded["payment_status"]},
        )
    return intent


def _record(services: Services, payment_id: UUID, intent_id: str) -> Mapping[str, Any]:
    row = services.db.one(
        "select * from booking.record_payment_intent("
        "p_payment_id => (select %(payment)s::uuid from booking.on_request(%(request_id)s, %(student)s)),"
        " p_stripe_payment_intent_id => %(intent)s)",
        {
            "request_id": g.request_id,
            "student": services.principal().user_id,
            "payment": payment_id,
            "intent": intent_id,
        },
    )
    assert row is not None
    return row
