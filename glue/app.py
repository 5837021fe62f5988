"""The application factory: settings and what they lead to go in, a Flask application comes out."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import socket
import time
import uuid
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, NoReturn

import structlog
from flask import Flask, Response, g, request
from flask.json.provider import DefaultJSONProvider
from flask_limiter import Limiter
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix

from glue.auth import Authenticator
from glue.db import Database
from glue.errors import ApiError, from_exception
from glue.metrics import Metrics
from glue.mirror import Mirror
from glue.routes import Services, register
from glue.routes.webhooks import PATH as WEBHOOK_PATH
from glue.schemas import ErrorAnswer
from glue.settings import Settings
from glue.stripe_gateway import StripeGateway

_log = logging.getLogger(__name__)

API_BODY_LIMIT = 64 * 1024
WEBHOOK_BODY_LIMIT = 1024 * 1024

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")

_MESSAGES = {
    400: ("bad_request", "The request could not be understood."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method."),
    413: ("payload_too_large", "The body is too large."),
    415: ("unsupported_media_type", "Send the body as application/json."),
}


def create_app(
    settings: Settings,
    db: Database | None = None,
    gateway: StripeGateway | None = None,
    mirror: Mirror | None = None,
    *,
    stripe_wait: float = 5.0,
) -> Flask:
    """A ready application. What is not given is made from the settings; nothing is connected to yet.

    `stripe_wait`: seconds that a request waits for each thing it asks of Stripe.

    Call it in the process that serves: a pool of connections does not survive a fork.
    """
    db = db or Database(
        settings.database_url,
        max_size=settings.database_pool_size,
        statement_timeout_ms=settings.statement_timeout_ms,
        lock_timeout_ms=settings.lock_timeout_ms,
        application_name="pgbooking-http",
    )
    gateway = gateway or StripeGateway(
        settings.stripe_secret_key,
        settings.stripe_api_base,
        max_concurrent=settings.max_concurrent_payments,
    )
    mirror = mirror or Mirror(db, gateway, f"http:{socket.gethostname()}:{os.getpid()}")
    services = Services(settings, db, gateway, mirror, Authenticator(settings), Metrics(), stripe_wait)

    app = OpenAPI(
        "pgbooking",
        info=Info(title="pgbooking", version="1", description="Bookings and payments"),
        security_schemes={
            "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            "cron": {"type": "http", "scheme": "bearer", "description": "CRON_SECRET"},
        },
        validation_error_status=400,
        validation_error_model=ErrorAnswer,
        validation_error_callback=_refuse_input,
        doc_ui=False,
        static_folder=None,
    )
    app.json = StrictJson(app)
    app.config["MAX_CONTENT_LENGTH"] = API_BODY_LIMIT
    app.extensions["pgbooking"] = services
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count)  # type: ignore[method-assign]

    # Registered before the limits, so that a refused request has an id and is logged, too.
    app.before_request(_begin)
    limiter = _limit(app, services, register(app, services))
    app.register_error_handler(Exception, _error_handler(limiter))
    app.after_request(_finisher(services.metrics))
    app.teardown_request(lambda _: structlog.contextvars.clear_contextvars())
    return app


class StrictJson(DefaultJSONProvider):
    """JSON as its standard says: no NaN, no name twice in one object (of which another reader may take the
    other), no nesting that a parser breaks at."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        try:
            return json.loads(s, parse_constant=_no_constant, object_pairs_hook=_no_repeats, **kwargs)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _begin() -> None:
    g.started = time.perf_counter()
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)
    if request.path == WEBHOOK_PATH:
        request.max_content_length = WEBHOOK_BODY_LIMIT
    if (request.content_length or 0) > (request.max_content_length or 0):
        raise RequestEntityTooLarge


def _limit(app: Flask, services: Services, blueprints: list[APIBlueprint]) -> Limiter:
    """Bounds how often somebody may call: payments a tenth of the maximum, webhooks ten times as much.

    People are counted by their verified id, everybody else by address. Probes and documents are not counted.
    """

    def somebody() -> str:
        try:
            return f"user:{services.principal().user_id}"
        except ApiError:
            return _address()

    most = services.settings.rate_limit_max_requests
    window = f"per {math.ceil(services.settings.rate_limit_window_ms / 1000)} second"
    limiter = Limiter(
        somebody,
        app=app,
        storage_uri=services.settings.rate_limit_storage_uri,
        in_memory_fallback_enabled=True,
        key_prefix="pgbooking",
    )
    limits = {
        "bookings": limiter.shared_limit(f"{most} {window}", scope="api"),
        "admin": limiter.shared_limit(f"{most} {window}", scope="api"),
        "cron": limiter.shared_limit(f"{most} {window}", scope="api", key_func=_address),
        "payments": limiter.shared_limit(f"{max(1, most // 10)} {window}", scope="payments"),
        "webhooks": limiter.shared_limit(f"{most * 10} {window}", scope="webhooks", key_func=_address),
    }
    for blueprint in blueprints:
        if blueprint.name in limits:
            limits[blueprint.name](blueprint)
    return limiter


def _address() -> str:
    """The caller's address; of IPv6 the network, because one household has 2^64 of them."""
    text = request.remote_addr or "unknown"
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return text


def _refuse_input(error: ValidationError) -> NoReturn:
    """Names the fields at fault, and never repeats what was sent."""
    fields = [
        {
            "field": ".".join(str(part) for part in found["loc"])[:100],
            "message": found["msg"].removeprefix("Value error, "),
        }
        for found in error.errors(include_url=False, include_context=False, include_input=False)[:10]
    ]
    first = fields[0]
    raise ApiError(
        400,
        "invalid_request",
        f"{first['field']}: {first['message']}",
        {"field": first["field"], "fields": fields},
    )


def _error_handler(limiter: Limiter) -> Callable[[Exception], Response | HTTPException]:
    def handle(error: Exception) -> Response | HTTPException:
        headers: list[tuple[str, str]] = []
        if isinstance(error, HTTPException):
            if (error.code or 500) < 400:
                return error  # a redirect
            headers = [(name, value) for name, value in error.get_headers() if name == "Allow"]
            known = _from_http(error, limiter)
        else:
            known = from_exception(error)
            if known.status >= 500:
                _log.log(
                    logging.ERROR if known.status == 500 else logging.WARNING,
                    "request failed",
                    extra={"code": known.code},
                    exc_info=error if not isinstance(error, ApiError) else None,
                )
        return _envelope(known, headers)

    return handle


def _from_http(error: HTTPException, limiter: Limiter) -> ApiError:
    if error.code == 429:
        breached = limiter.current_limit
        wait = math.ceil(breached.reset_at - time.time()) if breached else 1
        return ApiError(
            429, "rate_limited", "Too many requests; wait before the next one.", retry_after=max(1, wait)
        )
    status = error.code or 500
    code, message = _MESSAGES.get(status, (error.name.lower().replace(" ", "_"), error.name))
    return ApiError(status, code, message)


def _envelope(error: ApiError, headers: list[tuple[str, str]]) -> Response:
    body = ErrorAnswer.model_validate(
        {
            "error": {"code": error.code, "message": error.message, "details": error.details},
            "request_id": g.get("request_id", ""),
        }
    )
    response = Response(
        body.model_dump_json(by_alias=True), error.status, headers, content_type="application/json"
    )
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="pgbooking"'
    return response


def _finisher(metrics: Metrics) -> Callable[[Response], Response]:
    def finish(response: Response) -> Response:
        seconds = time.perf_counter() - g.started
        route = request.url_rule.rule if request.url_rule else "unmatched"
        metrics.request(request.method, route, response.status_code, seconds)
        _log.info(
            "request",
            extra={
                "method": request.method,
                "route": route,
                "status": response.status_code,
                "ms": round(seconds * 1000, 1),
            },
        )
        response.headers["X-Request-Id"] = g.request_id
        _protect(response)
        return response

    return finish


def _protect(response: Response) -> None:
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if (request.endpoint or "").startswith("documents."):
        # Swagger UI sets styles from its script and has its icons as data.
        headers["Content-Security-Policy"] = (
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
            " font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self';"
            " frame-ancestors 'none'"
        )
        headers.setdefault("Cache-Control", "no-cache")
    else:
        headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
        headers["Cache-Control"] = "no-store"
    if request.is_secure:
        headers["Strict-Transport-Security"] = "max-age=31536000"
