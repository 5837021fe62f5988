"""The application factory: settings and what they lead to go in, a Flask application comes out."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import socket
import time
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, NoReturn

from flask import Flask, Response, g, request
from flask.json.provider import DefaultJSONProvider
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.info import Info
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix

from glue import logs
from glue.auth import Authenticator
from glue.db import Database
from glue.errors import ApiError, from_exception
from glue.front import BUSY, LATE
from glue.inputs import refuse_input
from glue.invoices.renderer import Renderer
from glue.lean import JsonResponse, LeanApplication
from glue.limits import Limits
from glue.metrics import Metrics
from glue.mirror import Mirror
from glue.protection import Protection
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
    invoices: Renderer | None = None,
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
    mirror = mirror or Mirror(
        db, gateway, f"http:{socket.gethostname()}:{os.getpid()}", threads=settings.max_concurrent_payments
    )
    invoices = invoices or Renderer(timeout=settings.invoice_generation_timeout, cache_ttl=settings.cache_ttl)
    services = Services(
        settings, db, gateway, mirror, Authenticator(settings), Metrics(), stripe_wait, invoices
    )

    app = LeanApplication(
        "pgbooking",
        info=Info(title="pgbooking", version="1", description="Bookings and payments"),
        security_schemes={
            "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            "cron": {"type": "http", "scheme": "bearer", "description": "CRON_SECRET"},
        },
        validation_error_status=400,
        validation_error_model=ErrorAnswer,
        validation_error_callback=refuse_input,
        doc_ui=False,
        static_folder=None,
    )
    app.json = StrictJson(app)
    app.config["MAX_CONTENT_LENGTH"] = API_BODY_LIMIT
    app.extensions["pgbooking"] = services
    app.wsgi_app = Protection(app.wsgi_app)  # type: ignore[method-assign]
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count)  # type: ignore[method-assign]

    limit = _limiter(app, services, register(app, services))

    @app.before_request
    def begin() -> None:
        _begin()  # before the limits, so that a refused request has an id and is logged, too
        limit()

    app.register_error_handler(Exception, _handle)
    app.after_request(_finisher(services.metrics))

    @app.teardown_request
    def forget(_: BaseException | None) -> None:
        logs.request_id.set(None)

    return app


class StrictJson(DefaultJSONProvider):
    """JSON as its standard says: no NaN, no name twice in one object (of which another reader may take the
    other), no nesting that a parser breaks at."""

    def loads(self, s: str | bytes, **_: Any) -> Any:
        try:
            text = s if isinstance(s, str) else s.decode(json.detect_encoding(s), "surrogatepass")
            return _STRICT.decode(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


_STRICT = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_no_repeats)
"""Made once: json.loads() would make one for each body."""


def body_limit(path: str) -> int:
    """Bytes that a body sent to this path may have."""
    return WEBHOOK_BODY_LIMIT if path == WEBHOOK_PATH else API_BODY_LIMIT


def _begin() -> None:
    asked = request._get_current_object()  # type: ignore[attr-defined]
    given = asked.environ.get("HTTP_X_REQUEST_ID", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else logs.RequestId.new()
    own = g._get_current_object()
    own.started, own.request_id = time.perf_counter(), request_id
    logs.request_id.set(request_id)
    most = asked.max_content_length = body_limit(asked.path)
    if LATE in asked.environ:
        raise ApiError(408, "request_timeout", "The body did not arrive in time.")
    if (asked.content_length or 0) > most:
        raise RequestEntityTooLarge
    if BUSY in asked.environ:
        raise ApiError(503, "server_busy", "Too many requests wait for their turn; try again.", retry_after=2)


def _limiter(app: Flask, services: Services, blueprints: list[APIBlueprint]) -> Callable[[], None]:
    """Bounds how often somebody may call: payments a tenth of the maximum, webhooks ten times as much.

    People are counted by their verified id, everybody else by address. Probes and documents are not counted.
    """

    def address() -> str:
        return _network(request.remote_addr or "unknown")

    def somebody() -> str:
        try:
            return f"user:{services.principal().user_id}"
        except ApiError:
            return address()

    settings = services.settings
    limits = Limits(settings.rate_limit_storage_uri, math.ceil(settings.rate_limit_window_ms / 1000))
    app.extensions["limits"] = limits
    most = settings.rate_limit_max_requests
    api, payments = ("api", most, somebody), ("payments", max(1, most // 10), somebody)
    others = {
        "payments": payments,
        "classes": payments,
        "checkout": payments,
        "cron": ("api", most, address),
        "webhooks": ("webhooks", most * 10, address),
    }
    limited = {
        blueprint.name: others.get(blueprint.name, api)
        for blueprint in blueprints
        if blueprint.name != "operations"
    }

    def limit() -> None:
        found = limited.get(request.blueprint or "")
        if found is None:
            return
        scope, most, who = found
        wait = limits.hit(scope, who(), most)
        if wait is not None:
            raise ApiError(
                429,
                "rate_limited",
                "Too many requests; wait before the next one.",
                retry_after=max(1, math.ceil(wait)),
            )

    return limit


@lru_cache(1024)
def _network(text: str) -> str:
    """Whose address it is; of IPv6 the network, because one household has 2^64 of them."""
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return text


def _handle(error: Exception) -> Response | HTTPException:
    headers: list[tuple[str, str]] = []
    if isinstance(error, HTTPException):
        if (error.code or 500) < 400:
            return error  # a redirect
        headers = [(name, value) for name, value in error.get_headers() if name == "Allow"]
        known = _from_http(error)
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


def _from_http(error: HTTPException) -> ApiError:
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
    response = JsonResponse(body.model_dump_json(by_alias=True), error.status, headers)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="pgbooking"'
    return response


def _finisher(metrics: Metrics) -> Callable[[Response], Response]:
    """Counts and logs each request: one line, with what its route tells in `g.told`."""

    def finish(response: Response) -> Response:
        asked, own = request._get_current_object(), g._get_current_object()  # type: ignore[attr-defined]
        seconds = time.perf_counter() - own.started
        route = asked.url_rule.rule if asked.url_rule else "unmatched"
        status = response.status_code
        metrics.request(asked.method, route, status, seconds)
        said = {"method": asked.method, "route": route, "status": status, "ms": round(seconds * 1000, 1)}
        _log.info("request", extra=said | own.get("told", {}))
        response.headers.add("X-Request-Id", own.request_id)
        return response

    return finish
