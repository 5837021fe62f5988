"""Buying a product through a Stripe Checkout Session.

Begin, create the session, finish: two short transactions, none of them open while Stripe is called. A server
that dies in between leaves a lock that lapses by itself; the same key then goes on with the same order, and
Stripe gives the same session.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from flask import Response, g, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from glue import schemas
from glue.errors import ApiError, from_exception
from glue.routes.base import BEARER, Services, answer, endpoint, errors
from glue.stripe_gateway import StripeFailure, StripeRefused

_log = logging.getLogger(__name__)

IN_PROGRESS = "payment_in_progress"
RETRY_AFTER = 5
"""Seconds; the database says the same."""


def routes(services: Services) -> APIBlueprint:
    """The blueprint of Checkout."""
    api = APIBlueprint("checkout", __name__, abp_tags=[Tag(name="checkout")], abp_security=BEARER)

    @api.post(
        "/api/checkout/create-session",
        summary="Buy a product: one key is one order and one Checkout Session",
        responses={
            200: schemas.CheckoutAnswer,
            **errors(401, 403, 404, 502, body=True),
            409: schemas.CheckoutRefusal,
        },
    )
    @endpoint(services)
    def create_session(body: schemas.CreateCheckoutSession) -> Response:
        user = services.principal().user_id
        purchase = _Purchase(services, user, body.product_id, body.idempotency_key)
        try:
            order = purchase.begin()
        except psycopg.Error as error:
            refusal = from_exception(error)
            if refusal.code not in (IN_PROGRESS, "idempotency_key_reused"):
                raise
            return purchase.conflict(refusal)
        if order["stripe_session_id"] is not None:
            return purchase.done(order, "session exists already")
        try:
            session = purchase.make_session(order)
        except StripeFailure as failure:
            purchase.abort(order["order_id"], failure)
            services.report_refused_key(failure)
            raise
        # Whoever is told of a session can pay it: not before it is recorded.
        order = purchase.finish(order["order_id"], session)
        if not order["is_live"] and order["status"] != "paid":
            # a newer order has begun, and this session is being ended
            return purchase.conflict(purchase.in_progress())
        return purchase.done(order, "session created successfully")

    return api


@dataclass(frozen=True)
class _Purchase:
    """One request for one product, and its steps."""

    services: Services
    user: str
    product: str
    key: str

    def begin(self) -> Mapping[str, Any]:
        return self._row(
            "select * from booking.begin_checkout(p_user_id => %(user)s, p_product_id => %(product)s,"
            " p_idempotency_key => %(key)s, p_request_id => %(request)s)",
            {"user": self.user, "product": self.product, "key": self.key, "request": g.request_id},
        )

    def make_session(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        product = self._row(
            "select * from booking.get_product(p_product_id => %(product)s)", {"product": self.product}
        )
        settings = self.services.settings
        return self.services.gateway.create_checkout_session(
            order,
            name=product["name"],
            success_url=settings.checkout_success_url or request.url_root,
            cancel_url=settings.checkout_cancel_url or None,
            deadline=self.services.stripe_wait,
        )

    def finish(self, order_id: UUID, session: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._row(
            "select * from booking.finish_checkout(p_order_id => %(order)s, p_request_id => %(request)s,"
            " p_stripe_session_id => %(session)s, p_url => %(url)s)",
            {"order": order_id, "request": g.request_id, "session": session["id"], "url": session.get("url")},
        )

    def abort(self, order_id: UUID, failure: StripeFailure) -> None:
        """Gives the lock back; should that fail, it lapses by itself."""
        code = failure.error.get("code") or failure.error.get("type") or type(failure).__name__
        reason = f"refused: {code}" if isinstance(failure, StripeRefused) else f"unknown: {code}"
        try:
            self._row(
                "select * from booking.abort_checkout(p_order_id => %(order)s, p_request_id => %(request)s,"
                " p_error => %(error)s)",
                {"order": order_id, "request": g.request_id, "error": reason},
            )
        except psycopg.Error:
            _log.exception("a checkout could not be aborted", extra={"order_id": str(order_id)})

    def in_progress(self) -> ApiError:
        """As the database says it."""
        return ApiError(
            409,
            IN_PROGRESS,
            "Payment is already in progress. Please wait.",
            {"idempotencyKey": self.key, "retryAfter": RETRY_AFTER},
            RETRY_AFTER,
        )

    def conflict(self, refusal: ApiError) -> Response:
        """The 409 of this route: its envelope, and the object of every error."""
        _log.warning(
            "Idempotency conflict detected - returning 409 status",
            extra={
                "idempotency_key": self.key,
                "user": self.user,
                "product": self.product,
                "code": refusal.code,
            },
        )
        if refusal.code == IN_PROGRESS:
            try:
                self._row("select * from booking.report_checkout_conflict()", {})
            except psycopg.Error:
                _log.exception("a conflict could not be counted")
        response = answer(
            schemas.CheckoutConflict,
            {
                "message": refusal.message,
                "request_id": g.request_id,
                "data": {"idempotency_key": self.key, "retry_after": refusal.retry_after},
                "error": {"code": refusal.code, "message": refusal.message, "details": refusal.details},
            },
            409,
        )
        if refusal.retry_after is not None:
            response.headers["Retry-After"] = str(refusal.retry_after)
        return response

    def done(self, order: Mapping[str, Any], outcome: str) -> Response:
        if order["checkout_url"] is None:
            raise ApiError(409, "already_processed", "The order is no longer open for payment.")
        session = order["stripe_session_id"]
        about = {
            "idempotency_key": self.key,
            "user": self.user,
            "product": self.product,
            "session": session,
            "order_id": str(order["order_id"]),
        }
        _log.info(
            "[payment-service] idempotencyKey=%s user=%s product=%s session=%s",
            self.key,
            self.user,
            self.product,
            session,
            extra=about,
        )
        _log.info("Idempotency check passed: %s", outcome, extra=about)
        return answer(
            schemas.CheckoutAnswer,
            {
                "message": f"Checkout {outcome}",
                "request_id": g.request_id,
                "data": {
                    "order_id": order["order_id"],
                    "session_id": session,
                    "checkout_url": order["checkout_url"],
                },
            },
        )

    def _row(self, sql: LiteralString, values: Mapping[str, Any]) -> Mapping[str, Any]:
        row = self.services.db.one(sql, values)
        assert row is not None
        return row
