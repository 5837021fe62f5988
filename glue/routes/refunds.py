"""Refund requests: students ask, administrators decide."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
from flask import Response, g
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from glue import schemas
from glue.routes.base import BEARER, Services, answer, endpoint, errors, page

_log = logging.getLogger(__name__)


def routes(services: Services) -> APIBlueprint:
    """The blueprint of refund requests."""
    api = APIBlueprint("refunds", __name__, abp_tags=[Tag(name="refunds")], abp_security=BEARER)
    db = services.db

    @api.post(
        "/api/refunds/request",
        summary="Ask for money back",
        responses={201: schemas.RefundRequested, **errors(401, 403, 404, 409, body=True)},
    )
    @endpoint(services, "student")
    def request_refund(body: schemas.RequestRefund) -> Response:
        request_id = db.scalar(
            "select * from booking.request_refund("
            "p_student_id => booking.on_request(%(request_id)s, %(student)s),"
            " p_booking_id => %(booking)s, p_amount => %(amount)s, p_reason => %(reason)s)",
            {
                "request_id": g.request_id,
                "student": services.principal().user_id,
                "booking": body.booking_id,
                "amount": body.amount,
                "reason": body.reason,
            },
        )
        return answer(schemas.RefundRequested, {"request_id": request_id, "booking_id": body.booking_id}, 201)

    @api.get(
        "/api/refunds",
        summary="One's own refund requests, newest first",
        responses={200: schemas.OwnRefundRequests, **errors(400, 401, 403)},
    )
    @endpoint(services, "student")
    def list_own_refund_requests(query: schemas.ListRefundRequests) -> Response:
        rows = db.all(
            "select * from booking.list_own_refund_requests(p_student_id => %(student)s,"
            " p_status => %(status)s, p_after => %(after)s, p_limit => %(limit)s)",
            {
                "student": services.principal().user_id,
                "status": query.status,
                "after": query.after,
                "limit": query.limit,
            },
        )
        return answer(schemas.OwnRefundRequests, page(rows, "requests", "request_id", query.limit))

    @api.get(
        "/api/admin/refunds",
        summary="Everybody's refund requests, newest first",
        responses={200: schemas.RefundRequests, **errors(400, 401, 403)},
    )
    @endpoint(services, "admin")
    def list_refund_requests(query: schemas.ListRefundRequests) -> Response:
        rows = db.all(
            "select * from booking.list_refund_requests(p_status => %(status)s, p_after => %(after)s,"
            " p_limit => %(limit)s)",
            {"status": query.status, "after": query.after, "limit": query.limit},
        )
        return answer(schemas.RefundRequests, page(rows, "requests", "request_id", query.limit))

    @api.post(
        "/api/admin/refunds/<id>/decision",
        summary="Approve (refund) or reject a refund request",
        responses={200: schemas.RefundDecision, **errors(401, 403, 404, 409, body=True)},
    )
    @endpoint(services, "admin")
    def decide_refund_request(path: schemas.RefundRequestPath, body: schemas.DecideRefundRequest) -> Response:
        decided, _ = services.decided(
            "select * from booking.decide_refund_request("
            "p_admin_id => booking.on_request(%(request_id)s, %(admin)s),"
            " p_request_id => %(id)s, p_decision => %(decision)s, p_note => %(note)s)",
            {
                "request_id": g.request_id,
                "admin": services.principal().user_id,
                "id": path.id,
                "decision": body.decision,
                "note": body.note,
            },
        )
        return answer(schemas.RefundDecision, as_it_stands(decided))

    def as_it_stands(decided: dict[str, Any]) -> dict[str, Any]:
        """The decision after Stripe was told, with the statuses as they are then.

        The decision is committed, so nothing that fails here may make it look refused.
        """
        state = decided["mirror"]
        if decided["command_id"] is None or state != "done":
            return decided
        try:
            now = db.one(
                "select * from booking.get_refund_request(p_request_id => %(id)s)",
                {"id": decided["request_id"]},
            )
        except psycopg.Error:
            _log.exception(
                "a decision could not be read back", extra={"refund_request": decided["request_id"]}
            )
            return decided
        if now is None:
            return decided
        if now["status"] == "approved" and now["command_id"] != decided["command_id"]:
            # what ran was the payment's refund before this one; the worker goes on
            state = "pending"
        return {**decided, **{name: now[name] for name in ("status", "payment_status")}, "mirror": state}

    return api
