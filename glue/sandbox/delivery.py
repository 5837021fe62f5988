"""Webhook delivery: signed POSTs by background threads, with retries, in the order that a test asks for.

Delays and retries run on the wall clock, not on the sandbox clock, and so do the signatures' timestamps.
"""

from __future__ import annotations

import heapq
import http.client
import json
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from glue.sandbox.errors import Obj
from glue.sandbox.signing import signature_header

MODES = ("ordered", "shuffled", "held", "off")
LOG_LENGTH = 20_000


@dataclass(frozen=True)
class Config:
    """How events are delivered.

    mode: ordered; shuffled (collected for `window_ms` of quiet, or until somebody waits, then in an order
    drawn from `seed`); held (until released); off (recorded, never sent). `copies`: how often each event is
    sent. `workers`: parallel senders; with more than one there is no order. A receiver that does not answer
    2xx within `timeout_seconds` gets the event again after `retry_base_ms`, twice that, ... up to
    `retry_max_ms`, at most `max_attempts` times in all.
    """

    mode: str = "ordered"
    copies: int = 1
    delay_ms: float = 0
    seed: int = 0
    window_ms: float = 200
    workers: int = 1
    retry_base_ms: float = 1000
    retry_max_ms: float = 60_000
    max_attempts: int = 16
    timeout_seconds: float = 20


@dataclass(frozen=True)
class Endpoint:
    """A receiver. Several secrets give several signatures, as while a secret is rotated."""

    url: str
    secrets: tuple[str, ...]
    enabled_events: tuple[str, ...] = ("*",)
    id: str = "we_1sandbox0"

    def wants(self, event_type: str) -> bool:
        return any(fnmatchcase(event_type, pattern) for pattern in self.enabled_events)


@dataclass(order=True)
class _Sending:
    due: float
    number: int
    event: Obj = field(compare=False)
    endpoint: Endpoint = field(compare=False)
    attempt: int = field(default=1, compare=False)


class Deliveries:
    """The queue of one account's webhooks."""

    def __init__(self, config: Config | None = None) -> None:
        self._initial = config or Config()
        self._config = self._initial
        self._endpoints: tuple[Endpoint, ...] = ()
        self._changed = threading.Condition()
        self._queue: list[_Sending] = []
        self._batch: list[Obj] = []
        self._batch_due = 0.0
        self._held: list[Obj] = []
        self._in_flight = 0
        self._number = 0
        self._threads = 0
        self._stopping = False
        self._generation = 0
        self.delivered = 0
        self._log: deque[Obj] = deque(maxlen=LOG_LENGTH)

    def start(self) -> None:
        with self._changed:
            self._grow()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def reset(self) -> None:
        """Forget everything but the endpoints, after what is on the wire has ended."""
        with self._changed:
            self._generation += 1
            self._queue, self._batch, self._held = [], [], []
            self._changed.wait_for(lambda: self._in_flight == 0, timeout=self._config.timeout_seconds)
            self._config = self._initial
            self._log.clear()
            self._changed.notify_all()

    def set_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the receivers. What is queued goes to the new one of the same id, or nowhere."""
        with self._changed:
            self._endpoints = tuple(endpoints)
            present = {endpoint.id: endpoint for endpoint in endpoints}
            self._queue = [
                replace(sending, endpoint=present[sending.endpoint.id])
                for sending in self._queue
                if sending.endpoint.id in present
            ]
            heapq.heapify(self._queue)
            self._changed.notify_all()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self._endpoints

    def configure(self, **changes: object) -> Obj:
        """Change some of the settings; raises ValueError naming the one that is wrong."""
        known = asdict(self._config)
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"{name}: unknown setting")
            if isinstance(known[name], str) != isinstance(value, str) or isinstance(value, bool):
                raise ValueError(f"{name}: {value!r} is not of the right type")
        if changes.get("mode", "ordered") not in MODES:
            raise ValueError(f"mode: must be one of {', '.join(MODES)}")
        with self._changed:
            if self._batch and changes.get("mode", "shuffled") != "shuffled":
                self._flush()
            self._config = replace(self._config, **changes)  # type: ignore[arg-type]
            self._grow()
            self._changed.notify_all()
            return asdict(self._config)

    def settings(self) -> Obj:
        return asdict(self._config)

    def enqueue(self, event: Obj) -> None:
        """A new event. Never waits for a receiver."""
        with self._changed:
            wanted = sum(endpoint.wants(event["type"]) for endpoint in self._endpoints)
            event["pending_webhooks"] = wanted
            if not wanted or self._config.mode == "off":
                return
            copies = [event] * max(1, self._config.copies)
            if self._config.mode == "held":
                self._held.extend(copies)
            elif self._config.mode == "shuffled":
                self._batch.extend(copies)
                self._batch_due = time.monotonic() + self._config.window_ms / 1000
            else:
                for each in copies:
                    self._send(each)
            self._changed.notify_all()

    def redeliver(self, event: Obj, copies: int = 1) -> None:
        """Send an event again, whatever the mode."""
        with self._changed:
            for _ in range(copies):
                self._send(event, delay=False)
            self._changed.notify_all()

    def held(self) -> list[Obj]:
        with self._changed:
            return list(self._held)

    def release(self, order: Sequence[str] | None = None, *, shuffle_seed: int | None = None) -> int:
        """Send held events: all in their order, all shuffled, or exactly those in `order` (others stay held).

        An id may stand in `order` several times. Raises KeyError with an id that is not held.
        """
        with self._changed:
            if order is not None:
                by_id = {event["id"]: event for event in self._held}
                chosen = [by_id[event_id] for event_id in order]
                self._held = [event for event in self._held if event["id"] not in set(order)]
            else:
                chosen, self._held = self._held, []
                if shuffle_seed is not None:
                    random.Random(shuffle_seed).shuffle(chosen)  # noqa: S311
            for event in chosen:
                self._send(event, delay=False)
            self._changed.notify_all()
            return len(chosen)

    def retry_now(self) -> int:
        """Make every scheduled sending due at once; returns how many there are."""
        with self._changed:
            for sending in self._queue:
                sending.due = 0.0
            heapq.heapify(self._queue)
            self._changed.notify_all()
            return len(self._queue)

    def wait_idle(self, seconds: float, *, retries: bool = True) -> Obj:
        """Wait until nothing is queued; without `retries`, until only retries in the future are.

        Held events do not count; a batch that waits for its shuffling is sent now.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._busy(retries):
                if self._batch:
                    self._flush()
                left = deadline - time.monotonic()
                if left <= 0 or self._stopping:
                    break
                self._changed.wait(left)
            return {**self._status(), "idle": not self._busy(retries)}

    def status(self) -> Obj:
        with self._changed:
            return self._status()

    def log(self) -> list[Obj]:
        """Attempts so far, oldest first."""
        with self._changed:
            return list(self._log)

    def _status(self) -> Obj:
        return {
            "idle": not self._busy(retries=True),
            "queued": len(self._queue) + len(self._batch),
            "in_flight": self._in_flight,
            "held": len(self._held),
            "retrying": sum(sending.attempt > 1 for sending in self._queue),
        }

    def _busy(self, retries: bool) -> bool:
        now = time.monotonic()
        queued = [each for each in self._queue if retries or each.attempt == 1 or each.due <= now]
        return bool(self._batch or queued or self._in_flight)

    def _send(self, event: Obj, *, delay: bool = True) -> None:
        due = time.monotonic() + (self._config.delay_ms / 1000 if delay else 0)
        for endpoint in self._endpoints:
            if endpoint.wants(event["type"]):
                self._number += 1
                heapq.heappush(self._queue, _Sending(due, self._number, event, endpoint))

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        random.Random(self._config.seed).shuffle(batch)  # noqa: S311
        for event in batch:
            self._send(event)
        self._changed.notify_all()

    def _grow(self) -> None:
        while self._threads < self._config.workers and not self._stopping:
            threading.Thread(
                target=self._run, args=(self._threads,), name=f"webhooks-{self._threads}", daemon=True
            ).start()
            self._threads += 1

    def _run(self, number: int) -> None:
        while True:
            with self._changed:
                sending = self._next(number)
                if sending is None:
                    return
                self._in_flight += 1
                config, generation = self._config, self._generation
            status, error = _post(sending, config.timeout_seconds)
            with self._changed:
                self._in_flight -= 1
                if generation == self._generation:
                    self._done(sending, status, error)
                self._changed.notify_all()

    def _next(self, number: int) -> _Sending | None:
        while not self._stopping:
            now = time.monotonic()
            if self._batch and self._batch_due <= now:
                self._flush()
            waits = [self._batch_due - now] if self._batch else []
            if number < self._config.workers and self._queue:
                if self._queue[0].due <= now:
                    return heapq.heappop(self._queue)
                waits.append(self._queue[0].due - now)
            self._changed.wait(min(waits) if waits else None)
        return None

    def _done(self, sending: _Sending, status: int | None, error: str | None) -> None:
        delivered = status is not None and 200 <= status < 300
        self._log.append(
            {
                "event": sending.event["id"],
                "type": sending.event["type"],
                "url": sending.endpoint.url,
                "attempt": sending.attempt,
                "status": status,
                "error": error,
            }
        )
        if delivered:
            self.delivered += 1
            sending.event["pending_webhooks"] = max(0, sending.event["pending_webhooks"] - 1)
            return
        present = next((each for each in self._endpoints if each.id == sending.endpoint.id), None)
        if present is not None and sending.attempt < self._config.max_attempts:
            wait_ms = min(self._config.retry_max_ms, self._config.retry_base_ms * 2 ** (sending.attempt - 1))
            self._number += 1
            heapq.heappush(
                self._queue,
                replace(
                    sending,
                    endpoint=present,
                    due=time.monotonic() + wait_ms / 1000,
                    number=self._number,
                    attempt=sending.attempt + 1,
                ),
            )


def _post(sending: _Sending, timeout: float) -> tuple[int | None, str | None]:
    """One attempt: the receiver's status, or why there was none."""
    body = json.dumps(sending.event, indent=2).encode()
    parts = urlsplit(sending.endpoint.url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(
            "POST",
            target,
            body,
            {
                "Content-Type": "application/json; charset=utf-8",
                "Stripe-Signature": signature_header(body, sending.endpoint.secrets),
                "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            },
        )
        answer = connection.getresponse()
        answer.read()
        return answer.status, None
    except (OSError, http.client.HTTPException) as error:
        return None, f"{type(error).__name__}: {error}"
    finally:
        connection.close()
