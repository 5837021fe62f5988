"""The routes: authenticate, validate, call one function, mirror, answer."""

from __future__ import annotations

from types import ModuleType

from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.openapi import OpenAPI

from glue.routes import (
    admin,
    bookings,
    checkout,
    classes,
    cron,
    documents,
    invoices,
    operations,
    payments,
    reconcile,
    refunds,
    webhooks,
)
from glue.routes.base import Services

__all__ = ["Services", "register"]

_AREAS: tuple[ModuleType, ...] = (
    bookings,
    payments,
    classes,
    checkout,
    refunds,
    webhooks,
    cron,
    admin,
    reconcile,
    invoices,
    operations,
)


def register(app: OpenAPI, services: Services) -> list[APIBlueprint]:
    """Adds every route to the application; the blueprints of the API, for the limits on their use."""
    app.url_map.converters["booking"] = bookings.BookingConverter
    app.url_map.converters["invoice"] = invoices.InvoiceConverter
    blueprints: list[APIBlueprint] = [area.routes(services) for area in _AREAS]
    for blueprint in blueprints:
        app.register_api(blueprint)
    app.register_blueprint(documents.routes(app))
    return blueprints
