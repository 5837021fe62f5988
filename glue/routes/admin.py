"""What an administrator may see."""

from __future__ import annotations

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from glue import schemas
from glue.routes.base import BEARER, Services, answer, endpoint, errors


def routes(services: Services) -> APIBlueprint:
    """The blueprint of the administration."""
    api = APIBlueprint("admin", __name__, abp_tags=[Tag(name="admin")], abp_security=BEARER)

    @api.get(
        "/api/admin/stats",
        summary="The figures of the business",
        responses={200: schemas.Stats, **errors(400, 401, 403)},
    )
    @endpoint(services, "admin")
    def stats(query: schemas.StatsQuery) -> Response:
        row = services.db.one(
            "select * from booking.get_booking_stats(p_from => %(from)s, p_to => %(to)s)",
            {"from": query.from_, "to": query.to},
        )
        return answer(schemas.Stats, row)

    return api
