"""Prometheus metrics of one server, or of all its worker processes together.

With several workers PROMETHEUS_MULTIPROC_DIR names a folder that they share (`glue.serve` makes one).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

_METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """What is counted. Labels are route patterns, never what a caller sent, so that they stay few."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "pgbooking_http_requests_total",
            "HTTP requests answered",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "pgbooking_http_request_seconds",
            "Time to the answer",
            ["route"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self._registry,
        )
        self._webhooks = Counter(
            "pgbooking_webhooks_total",
            "Stripe events by what became of them",
            ["result"],
            registry=self._registry,
        )
        self._mirrored = Counter(
            "pgbooking_mirrored_total",
            "Commands run within a request: done or pending",
            ["state"],
            registry=self._registry,
        )

        # Labels are looked up once: there are few of them, and many requests.
        self._of = lru_cache(1024)(
            lambda method, route, status: (
                self._requests.labels(method, route, str(status)).inc,
                self._seconds.labels(route).observe,
            )
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        if method not in _METHODS:
            method = "other"
        count, observe = self._of(method, route, status)
        count()
        observe(seconds)

    def webhook(self, result: str) -> None:
        self._webhooks.labels(result).inc()

    def mirrored(self, state: str) -> None:
        self._mirrored.labels(state).inc()

    def render(self, readiness: Mapping[str, Any] | None) -> bytes:
        """Everything in Prometheus' text form; `readiness`: the row of get_readiness, or None."""
        registry = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        state = CollectorRegistry()
        state.register(_Outbox(readiness))
        return generate_latest(registry) + generate_latest(state)


class _Outbox(Collector):
    def __init__(self, readiness: Mapping[str, Any] | None) -> None:
        self._readiness = readiness

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "pgbooking_database_up", "Whether the database answered", value=self._readiness is not None
        )
        if self._readiness is None:
            return
        for column, text in (
            ("commands_pending", "Commands that Stripe has still to be told"),
            ("commands_dead", "Commands given up: a person must look"),
            ("oldest_pending_seconds", "Age of the oldest pending command"),
        ):
            yield GaugeMetricFamily(f"pgbooking_{column}", text, value=self._readiness[column])
