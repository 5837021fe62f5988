"""What every route shares: its services, who may call it, how a body is read and an answer is made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any, LiteralString

import psycopg
from flask import Response, g, request
from pydantic import BaseModel

from glue.auth import Authenticator, Principal, Role
from glue.db import Database, Params
from glue.errors import ApiError
from glue.inputs import Inputs
from glue.invoices.renderer import Renderer
from glue.lean import JsonResponse
from glue.metrics import Metrics
from glue.mirror import Mirror, Mirrored
from glue.schemas import ErrorAnswer
from glue.settings import Settings
from glue.stripe_gateway import StripeFailure, StripeGateway

_log = logging.getLogger(__name__)

Handler = Callable[..., Response]
BEARER: list[dict[str, list[Any]]] = [{"bearer": []}]


@dataclass(frozen=True)
class Services:
    """What the routes work with; one set for each process.

    `stripe_wait`: seconds that a request waits for Stripe.
    """

    settings: Settings
    db: Database
    gateway: StripeGateway
    mirror: Mirror
    authenticator: Authenticator
    metrics: Metrics
    stripe_wait: float
    invoices: Renderer

    def principal(self) -> Principal:
        """The person of this request, verified once. Raises `ApiError` 401."""
        own = g._get_current_object()
        found: Principal | ApiError | None = vars(own).get("principal")
        if found is None:
            try:
                found = self.authenticator.authenticate(request.environ.get("HTTP_AUTHORIZATION"))
            except ApiError as refusal:
                found = refusal
            own.principal = found
        if isinstance(found, ApiError):
            raise found
        return found

    def decided(self, call: LiteralString, params: Params) -> tuple[dict[str, Any], Mirrored]:
        """The row of a decision, with `mirror`, after Stripe was told."""
        row, mirrored = self.mirror.decide(call, params, wait=self.stripe_wait)
        self.metrics.mirrored(mirrored.state)
        return {**row, "mirror": mirrored.state}, mirrored

    def report_refused_key(self, failure: StripeFailure) -> None:
        """A rotated key is nobody's request's fault: people must hear of it."""
        status = failure.error.get("http_status")
        if status not in (401, 403):
            return
        try:
            self.db.one(
                "select * from booking.report_stripe_key_refused(p_http_status => %(status)s,"
                " p_code => %(code)s)",
                {"status": status, "code": failure.error.get("code")},
            )
        except psycopg.Error:
            _log.exception("a refused key could not be reported")

    def decided_booking(self, call: LiteralString, params: Params, user_id: str) -> dict[str, Any]:
        """The row of a decision on a booking after Stripe was told, with the statuses as they are then.

        The decision is committed, so nothing that fails here may make it look refused.
        """
        row, mirrored = self.decided(call, params)
        if row["command_id"] is None or mirrored.state != "done":
            return row
        now = mirrored.booking
        if now is None or now["booking_id"] != row["booking_id"]:
            try:
                now = self.db.one(
                    "select * from booking.get_booking(p_user_id => %(user)s, p_booking_id => %(booking)s)",
                    {"user": user_id, "booking": row["booking_id"]},
                )
            except psycopg.Error:
                return row
        return row | {name: now[name] for name in ("status", "payment_status")} if now else row


def endpoint(services: Services, *roles: Role) -> Callable[[Callable[..., Response]], Handler]:
    """Lets the given roles in (none given: everybody who has a token), and then checks the input.

    Who may not call learns nothing of what is wrong with the input.
    """

    def decorate(handler: Callable[..., Response]) -> Handler:
        inputs = Inputs(handler)

        @wraps(handler)
        def guarded(**path: Any) -> Response:
            principal = services.principal()
            if principal.role is None or (roles and principal.role not in roles):
                raise ApiError(403, "forbidden", "Your role does not allow this.", {"allowed": list(roles)})
            return handler(**inputs.read(path))

        guarded.__delay_validate_request__ = True  # type: ignore[attr-defined]
        return guarded

    return decorate


def answer(model: type[BaseModel], row: Mapping[str, Any] | None, status: int = 200) -> Response:
    """A function's row as an answer in camelCase."""
    if row is None:
        raise LookupError("a function that always answers gave no row")
    return JsonResponse(model.model_validate(row).model_dump_json(by_alias=True), status)


def page(rows: list[dict[str, Any]], name: str, key: str, limit: int) -> dict[str, Any]:
    """A list with where the next page begins; a page that is not full is the last one."""
    return {name: rows, "next_after": rows[-1][key] if len(rows) == limit else None}


def errors(*statuses: int, body: bool = False) -> dict[int | str, Any]:
    """The error answers of a route, for its documentation; with `body`, also those of a bad one."""
    always: Iterable[int] = (429, 500, 503)
    of_body: Iterable[int] = (400, 408, 413, 415) if body else ()
    return {status: _error(status) for status in sorted({*statuses, *always, *of_body})}


def _error(status: int) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorAnswer.__name__}"}}},
    }
    header = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}.get(status)
    if header:
        described["headers"] = {header: {"schema": {"type": "string"}}}
    return described
