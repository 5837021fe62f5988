"""For those who run the server: is it alive, can it serve, what does it count."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from glue import schemas
from glue.db import Database
from glue.errors import ApiError
from glue.metrics import CONTENT_TYPE
from glue.routes.base import Services, answer, errors

_NOT_MIGRATED = (
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedTable,
)


def routes(services: Services) -> APIBlueprint:
    """The blueprint of operations."""
    api = APIBlueprint("operations", __name__, abp_tags=[Tag(name="operations")])
    readiness = Readiness(services.db)

    @api.get("/healthz", summary="The process is alive", responses={200: schemas.Health, 500: errors()[500]})
    def healthz() -> Response:
        return answer(schemas.Health, {})

    @api.get(
        "/readyz",
        summary="Database, migrations and outbox are well",
        responses={200: schemas.Readiness, 500: errors()[500], 503: errors()[503]},
    )
    def readyz() -> Response:
        row = readiness.row()
        if not row["schema_ok"]:
            raise _not_ready("migrations", row)
        if row["oldest_pending_seconds"] > services.settings.outbox_stuck_seconds:
            raise _not_ready("outbox", row)
        return answer(schemas.Readiness, row)

    if services.settings.metrics_enabled:

        @api.get(
            "/metrics",
            summary="Metrics for Prometheus",
            responses={
                200: {"description": "OK", "content": {"text/plain": {"schema": {"type": "string"}}}},
                500: errors()[500],
            },
        )
        def metrics() -> Response:
            try:
                row: Mapping[str, Any] | None = readiness.row()
            except (psycopg.Error, ApiError):
                row = None
            return Response(services.metrics.render(row), content_type=CONTENT_TYPE)

    return api


class Readiness:
    """The row of get_readiness, asked for at most every `LIFETIME` seconds however often the probe comes."""

    LIFETIME = 2.0

    def __init__(self, db: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._lock = threading.Lock()
        self._row: Mapping[str, Any] | None = None
        self._until = float("-inf")

    def row(self) -> Mapping[str, Any]:
        """Raises `ApiError` 503 when the schema is not there, psycopg.Error when the database is not."""
        with self._lock:
            if self._row is None or self._clock() >= self._until:
                self._row = None
                try:
                    self._row = self._db.one("select * from booking.get_readiness()")
                except _NOT_MIGRATED:
                    raise _not_ready("migrations", {}) from None
                self._until = self._clock() + self.LIFETIME
            assert self._row is not None
            return self._row


def _not_ready(what: str, row: Mapping[str, Any]) -> ApiError:
    details = (
        {"commandsDead": row["commands_dead"], "commandsPending": row["commands_pending"]} if row else {}
    )
    return ApiError(503, "not_ready", f"Not ready: {what}.", {"failing": what, **details}, retry_after=5)
