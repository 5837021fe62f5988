"""Stripe's events: the signature over the raw body, then one call."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import stripe
from flask import Response, g, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from psycopg.types.json import Jsonb

from glue import schemas
from glue.errors import ApiError
from glue.inputs import read_body
from glue.routes.base import Services, answer, errors
from glue.settings import Settings

PATH = "/api/webhooks/stripe"
TOLERANCE = 300
"""Seconds that a signature stays good: what is older may be a replay."""

_SIGNED_BODY = {
    "parameters": [
        {
            "name": "Stripe-Signature",
            "in": "header",
            "required": True,
            "schema": {"type": "string"},
            "description": "HMAC over the raw body",
        }
    ],
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
}


def routes(services: Services) -> APIBlueprint:
    """The blueprint of webhooks."""
    api = APIBlueprint("webhooks", __name__, abp_tags=[Tag(name="webhooks")])

    @api.post(
        PATH,
        summary="An event of Stripe",
        responses={200: schemas.Received, **errors(400, 403, 408, 413)},
        openapi_extensions=_SIGNED_BODY,
    )
    def receive() -> Response:
        require_known_address(services.settings, request.remote_addr)
        payload = verified_payload(services.settings, read_body(), request.headers.get("Stripe-Signature"))
        event = parsed(payload)
        result = services.db.scalar(
            "select * from booking.process_webhook_event(p_event => %(event)s)", {"event": Jsonb(event)}
        )
        services.metrics.webhook(result)
        g.told = {"event_id": event.get("id"), "event_type": event.get("type"), "result": result}
        if result == "failed":
            raise ApiError(
                500, "webhook_failed", "The event is recorded and could not be applied; send it again."
            )
        return answer(schemas.Received, {"result": result})

    return api


def require_known_address(settings: Settings, address: str | None) -> None:
    """Refuses callers outside of STRIPE_WEBHOOK_IPS, where it is set. Raises `ApiError` 403."""
    networks = settings.stripe_webhook_networks
    if not networks:
        return
    try:
        caller = ip_address(address or "")
    except ValueError:
        caller = None
    if caller is None or not any(caller in network for network in networks):
        raise ApiError(403, "forbidden", "Events are not taken from this address.")


def verified_payload(settings: Settings, body: bytes, signature: str | None) -> str:
    """The body as text, when one of the configured secrets signed it. Raises `ApiError` 400.

    Several secrets: while one is being rotated, Stripe signs with the old and the new one.
    """
    try:
        payload = body.decode()
    except UnicodeDecodeError:
        raise ApiError(400, "invalid_payload", "The body is not UTF-8.") from None
    # Comparing in constant time works on ASCII only.
    known = settings.stripe_webhook_secrets if (signature or "").isascii() else ()
    for secret in known:
        try:
            stripe.WebhookSignature.verify_header(payload, signature, secret, TOLERANCE)
        except (stripe.SignatureVerificationError, ValueError):
            continue
        return payload
    raise ApiError(400, "invalid_signature", "The Stripe-Signature header does not fit the body.")


def parsed(payload: str) -> dict[str, Any]:
    """The event, without the client_secret of its object: that is for the paying browser, not for storing.

    Raises `ApiError` 400.
    """
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError):
        raise ApiError(400, "invalid_payload", "The body is not valid JSON.") from None
    if not isinstance(event, dict):
        raise ApiError(400, "invalid_payload", "The body is not an event.")
    data = event.get("data")
    if isinstance(data, dict) and isinstance(data.get("object"), dict):
        data["object"].pop("client_secret", None)
    return event
