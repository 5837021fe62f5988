"""Our books against Stripe's, for an administrator and a window that is not too large."""

from __future__ import annotations

from dataclasses import asdict

from flask import Response, g
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from glue import schemas
from glue.errors import ApiError
from glue.reconcile import Reconciler, WindowTooLarge
from glue.routes.base import BEARER, Services, answer, endpoint, errors

BUDGET = 20.0
"""Seconds after which the request is given up; `pgbooking reconcile` has no such limit."""

PATIENCE = 3.0
"""Seconds for events that are on their way."""


def routes(services: Services) -> APIBlueprint:
    """The blueprint of the reconciliation."""
    api = APIBlueprint("reconciliation", __name__, abp_tags=[Tag(name="admin")], abp_security=BEARER)

    @api.post(
        "/api/admin/reconcile",
        summary="Compare our books with Stripe's",
        responses={200: schemas.Reconciliation, **errors(401, 403, 502, body=True)},
    )
    @endpoint(services, "admin")
    def reconcile(body: schemas.Reconcile) -> Response:
        reconciler = Reconciler(
            services.db, services.gateway, services.mirror, patience=PATIENCE, budget=BUDGET
        )
        try:
            report = reconciler.run(
                body.from_, body.to, actor=services.principal().user_id, request_id=g.request_id
            )
        except WindowTooLarge:
            raise ApiError(
                400,
                "window_too_large",
                "There is too much in this window for one request; narrow it, or run pgbooking reconcile.",
                {"field": "to", "seconds": BUDGET},
            ) from None
        return answer(schemas.Reconciliation, asdict(report))

    return api
