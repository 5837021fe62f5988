"""Paying for a booking."""

from __future__ import annotations

from flask import Response, g
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from glue import schemas
from glue.routes.base import BEARER, Services, answer, endpoint, errors
from glue.routes.intents import payment_intent_of


def routes(services: Services) -> APIBlueprint:
    """The blueprint of payments."""
    api = APIBlueprint("payments", __name__, abp_tags=[Tag(name="payments")], abp_security=BEARER)
    db = services.db

    @api.post(
        "/api/payment/create-intent",
        summary="The PaymentIntent of a booking: created once, found again afterwards",
        responses={200: schemas.Intent, **errors(401, 403, 404, 409, 502, body=True)},
    )
    @endpoint(services, "student")
    def create_intent(body: schemas.CreateIntent) -> Response:
        prepared = db.one(
            "select * from booking.prepare_payment_intent("
            "p_student_id => booking.on_request(%(request_id)s, %(student)s),"
            " p_booking_id => %(booking)s, p_amount => %(amount)s)",
            {
                "request_id": g.request_id,
                "student": services.principal().user_id,
                "booking": body.booking_id,
                "amount": body.amount,
            },
        )
        assert prepared is not None
        intent = payment_intent_of(services, prepared)
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

    return api
