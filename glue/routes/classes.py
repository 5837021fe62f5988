"""Classes: a seat is held, paid at once, and confirmed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from flask import Response, g
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from psycopg.types.json import Jsonb

from glue import schemas
from glue.errors import ApiError
from glue.routes.base import BEARER, Services, answer, endpoint, errors
from glue.routes.intents import payment_intent_of
from glue.stripe_gateway import StripeFailure, StripeRefused

_log = logging.getLogger(__name__)

_TAMPERED = ("amount_mismatch", "payment_metadata_mismatch")
"""Refusals that no page of ours brings about: somebody has changed what was sent."""


def routes(services: Services) -> APIBlueprint:
    """The blueprint of classes."""
    api = APIBlueprint("classes", __name__, abp_tags=[Tag(name="classes")], abp_security=BEARER)
    db, gateway = services.db, services.gateway

    @api.post(
        "/api/payments/create-intent",
        summary="Hold a seat in a class; its PaymentIntent, created once and found again afterwards",
        responses={200: schemas.ClassIntent, **errors(401, 403, 404, 409, 502, body=True)},
    )
    @endpoint(services, "student")
    def create_class_intent(body: schemas.PrepareClass, header: schemas.PrepareClassHeader) -> Response:
        student = services.principal().user_id
        prepared = _watched(
            lambda: db.one(
                "select * from booking.prepare_class_payment("
                "p_user_id => booking.on_request(%(request_id)s, %(student)s), p_class_id => %(class)s,"
                " p_amount => %(amount)s, p_idempotency_key => %(key)s)",
                {
                    "request_id": g.request_id,
                    "student": student,
                    "class": body.class_id,
                    "amount": body.amount,
                    "key": header.idempotency_key,
                },
            ),
            {"user": student, "class_id": str(body.class_id)},
        )
        assert prepared is not None
        intent = payment_intent_of(services, prepared)
        return answer(
            schemas.ClassIntent,
            {
                "booking_id": prepared["booking_id"],
                "payment_intent_id": intent["id"],
                "client_secret": intent["client_secret"],
                "amount": prepared["amount"],
                "currency": prepared["currency"],
                "status": intent["status"],
            },
        )

    @api.post(
        "/api/bookings/confirm",
        summary="The paid seat in a class",
        responses={200: schemas.ClassConfirmed, **errors(401, 402, 403, 404, 409, 502, body=True)},
    )
    @endpoint(services, "student")
    def confirm_class(body: schemas.ConfirmClass) -> Response:
        student = services.principal().user_id
        about = {
            "user": student,
            "class_id": str(body.class_id),
            "payment_intent_id": body.payment_intent_id,
        }
        intent = retrieved(body.payment_intent_id, about)
        row = _watched(
            lambda: db.one(
                "select * from booking.confirm_class_booking("
                "p_user_id => booking.on_request(%(request_id)s, %(student)s), p_class_id => %(class)s,"
                " p_intent => %(intent)s)",
                {
                    "request_id": g.request_id,
                    "student": student,
                    "class": body.class_id,
                    "intent": Jsonb(dict(intent)),
                },
            ),
            about,
        )
        assert row is not None
        # Returned by the database, not raised: the refund is in the same commit.
        match row["refusal"]:
            case None:
                return answer(schemas.ClassConfirmed, row)
            case "capacity_full":
                message = "The time to pay was up and the seat is gone; your payment is refunded whole."
            case _:
                message = "The booking was cancelled."
        raise ApiError(
            409, row["refusal"], message, {"bookingId": str(row["booking_id"]), "status": row["status"]}
        )

    def retrieved(intent_id: str, about: Mapping[str, Any]) -> Mapping[str, Any]:
        """The PaymentIntent as Stripe has it, a bare id where it has none; a browser is never believed."""
        try:
            return gateway.show_payment_intent(intent_id, deadline=services.stripe_wait)
        except StripeRefused as failure:
            if failure.error.get("code") != "resource_missing":
                raise
            _log.warning("a PaymentIntent that Stripe does not know was sent", extra=dict(about))
            return {"id": intent_id, "object": "payment_intent"}  # the database says what is wrong with it
        except StripeFailure as failure:
            services.report_refused_key(failure)
            raise

    return api


def _watched(
    call: Callable[[], Mapping[str, Any] | None], about: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Calls the database, and logs what looks tampered with: ids and what differs, nothing else."""
    try:
        return call()
    except psycopg.Error as error:
        if (code := error.diag.message_primary) in _TAMPERED:
            _log.warning("what was sent does not fit the class", extra={**about, "code": code})
        raise
