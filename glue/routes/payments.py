"""Paying for a booking."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import psycopg
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from glue import schemas
from glue.errors import ApiError
from glue.routes.base import BEARER, Services, answer, endpoint, errors
from glue.stripe_gateway import StripeFailure

_log = logging.getLogger(__name__)


def routes(services: Services) -> APIBlueprint:
    """The blueprint of payments."""
    api = APIBlueprint("payments", __name__, abp_tags=[Tag(name="payments")], abp_security=BEARER)
    db, gateway = services.db, services.gateway

    @api.post(
        "/api/payment/create-intent",
        summary="The PaymentIntent of a booking: created once, found again afterwards",
        responses={200: schemas.Intent, **errors(401, 403, 404, 409, 502, body=True)},
    )
    @endpoint(services, "student")
    def create_intent(body: schemas.CreateIntent) -> Response:
        prepared = db.one(
            "select * from booking.prepare_payment_intent(p_student_id => %(student)s,"
            " p_booking_id => %(booking)s, p_amount => %(amount)s)",
            {"student": services.principal().user_id, "booking": body.booking_id, "amount": body.amount},
        )
        assert prepared is not None
        try:
            intent = made_once(prepared)
        except StripeFailure as failure:
            report_refused_key(failure)
            raise
        return answer(
            schemas.Intent,
            {
                "payment_intent_id": intent["id"],
                "client_secret": intent["client_secret"],
                "amount": prepared["amount"],
                "currency": prepared["currency"],
                "status": intent["status"],
            },
        )

    def made_once(prepared: Mapping[str, Any]) -> Mapping[str, Any]:
        """The recorded PaymentIntent as Stripe has it. Once the booking is dead, its secret is nobody's."""
        known = prepared["stripe_payment_intent_id"]
        if known:
            intent = gateway.retrieve_payment_intent(known, deadline=services.stripe_wait)
        else:
            intent = gateway.create_payment_intent(prepared, deadline=services.stripe_wait)
        recorded = record(prepared["payment_id"], intent["id"])
        if recorded["stripe_payment_intent_id"] != intent["id"]:
            # Another request recorded its own first; the database has queued the cancelling of ours.
            intent = gateway.retrieve_payment_intent(
                recorded["stripe_payment_intent_id"], deadline=services.stripe_wait
            )
            recorded = record(prepared["payment_id"], intent["id"])
        if not recorded["is_live"]:
            raise ApiError(
                409,
                "already_processed",
                "The booking is no longer open for payment.",
                {"status": recorded["booking_status"], "paymentStatus": recorded["payment_status"]},
            )
        return intent

    def record(payment_id: UUID, intent_id: str) -> Mapping[str, Any]:
        row = db.one(
            "select * from booking.record_payment_intent(p_payment_id => %(payment)s,"
            " p_stripe_payment_intent_id => %(intent)s)",
            {"payment": payment_id, "intent": intent_id},
        )
        assert row is not None
        return row

    def report_refused_key(failure: StripeFailure) -> None:
        """A rotated key is nobody's request's fault: people must hear of it."""
        status = failure.error.get("http_status")
        if status not in (401, 403):
            return
        try:
            db.one(
                "select * from booking.report_stripe_key_refused(p_http_status => %(status)s,"
                " p_code => %(code)s)",
                {"status": status, "code": failure.error.get("code")},
            )
        except psycopg.Error:
            _log.exception("a refused key could not be reported")

    return api
