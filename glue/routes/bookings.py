"""Bookings and the slots that they are made in."""

from __future__ import annotations

from flask import Response, g
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from werkzeug.routing import BaseConverter

from glue import schemas
from glue.routes.base import BEARER, Services, answer, endpoint, errors, page


class BookingConverter(BaseConverter):
    """One segment that may be a booking's id: the words beside it in the address are other routes'."""

    regex = "(?!create$|confirm$|cancel$|expert$)[^/]+"


def routes(services: Services) -> APIBlueprint:
    """The blueprint of bookings and slots."""
    api = APIBlueprint("bookings", __name__, abp_tags=[Tag(name="bookings")], abp_security=BEARER)
    db = services.db

    @api.post(
        "/api/bookings/create",
        summary="Book a slot",
        responses={201: schemas.BookingCreated, **errors(401, 403, 404, 409, body=True)},
    )
    @endpoint(services, "student")
    def create_booking(body: schemas.CreateBooking, header: schemas.CreateBookingHeader) -> Response:
        row = db.one(
            "select * from booking.create_booking_transaction(p_student_id => %(student)s,"
            " p_slot_id => %(slot)s, p_session_id => %(session)s, p_idempotency_key => %(key)s)",
            {
                "student": services.principal().user_id,
                "slot": body.slot_id,
                "session": body.session_id,
                "key": header.idempotency_key,
            },
        )
        return answer(schemas.BookingCreated, row, 201)

    @api.post(
        "/api/bookings/expert/confirm",
        summary="Confirm (capture) or decline (release) a pending booking",
        responses={200: schemas.Decision, **errors(401, 403, 404, 409, body=True)},
    )
    @endpoint(services, "expert")
    def decide_booking(body: schemas.DecideBooking) -> Response:
        expert = services.principal().user_id
        row = services.decided_booking(
            "select * from booking.confirm_booking_transaction("
            "p_expert_id => booking.on_request(%(request_id)s, %(expert)s),"
            " p_booking_id => %(booking)s, p_action => %(action)s, p_reason => %(reason)s)",
            {
                "request_id": g.request_id,
                "expert": expert,
                "booking": body.booking_id,
                "action": body.action,
                "reason": body.reason,
            },
            expert,
        )
        return answer(schemas.Decision, row)

    @api.post(
        "/api/bookings/cancel",
        summary="Cancel a booking; the refund follows the policy",
        responses={200: schemas.Cancellation, **errors(401, 403, 404, 409, body=True)},
    )
    @endpoint(services, "student", "expert")
    def cancel_booking(body: schemas.CancelBooking) -> Response:
        actor = services.principal().user_id
        row = services.decided_booking(
            "select * from booking.cancel_booking_transaction("
            "p_actor_id => booking.on_request(%(request_id)s, %(actor)s),"
            " p_booking_id => %(booking)s, p_reason => %(reason)s)",
            {
                "request_id": g.request_id,
                "actor": actor,
                "booking": body.booking_id,
                "reason": body.reason,
            },
            actor,
        )
        return answer(schemas.Cancellation, row)

    @api.get(
        "/api/bookings/<booking:id>",
        summary="One booking",
        responses={200: schemas.Booking, **errors(400, 401, 403, 404)},
    )
    @endpoint(services)
    def get_booking(path: schemas.BookingPath) -> Response:
        row = db.one(
            "select * from booking.get_booking(p_user_id => %(user)s, p_booking_id => %(booking)s)",
            {"user": services.principal().user_id, "booking": path.id},
        )
        return answer(schemas.Booking, row)

    @api.get(
        "/api/bookings/<booking:id>/cancellation-quote",
        summary="What cancelling now would give back",
        responses={200: schemas.Quote, **errors(400, 401, 403, 404, 409)},
    )
    @endpoint(services)
    def quote_cancellation(path: schemas.BookingPath) -> Response:
        row = db.one(
            "select * from booking.quote_cancellation(p_actor_id => %(actor)s, p_booking_id => %(booking)s)",
            {"actor": services.principal().user_id, "booking": path.id},
        )
        return answer(schemas.Quote, row)

    @api.get(
        "/api/bookings",
        summary="One's own bookings, newest first",
        responses={200: schemas.Bookings, **errors(400, 401, 403)},
    )
    @endpoint(services)
    def list_bookings(query: schemas.ListBookings) -> Response:
        rows = db.all(
            "select * from booking.list_bookings(p_user_id => %(user)s, p_status => %(status)s,"
            " p_after => %(after)s, p_limit => %(limit)s)",
            {
                "user": services.principal().user_id,
                "status": query.status,
                "after": query.after,
                "limit": query.limit,
            },
        )
        return answer(schemas.Bookings, page(rows, "bookings", "booking_id", query.limit))

    @api.get(
        "/api/slots",
        summary="Open slots, earliest first",
        responses={200: schemas.Slots, **errors(400, 401, 403, 404)},
    )
    @endpoint(services)
    def list_slots(query: schemas.ListSlots) -> Response:
        rows = db.all(
            "select * from booking.list_open_slots(p_from => %(from)s, p_to => %(to)s,"
            " p_expert_id => %(expert)s, p_after => %(after)s, p_limit => %(limit)s)",
            {
                "from": query.from_,
                "to": query.to,
                "expert": query.expert_id,
                "after": query.after,
                "limit": query.limit,
            },
        )
        return answer(schemas.Slots, page(rows, "slots", "slot_id", query.limit))

    return api
