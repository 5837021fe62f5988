"""Idempotency keys as Stripe documents them: the first status and body are kept for 24 hours and replayed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass

from glue.sandbox.errors import Obj, invalid_parameter, key_in_use, key_reused

LIFETIME = 24 * 3600


@dataclass
class Entry:
    """One key: the request that it was first used for and, once that has run, its answer."""

    endpoint: str
    fingerprint: str
    created: float
    status: int | None = None
    body: bytes = b""
    request_id: str = ""


class Idempotency:
    """The keys of one account."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def begin(self, key: str, endpoint: str, params: Obj) -> Entry | None:
        """The finished entry to replay, or None when the caller is to execute and then `finish` or `forget`.

        Raises 409 while the first request still runs and 400 when endpoint or parameters differ.
        """
        if len(key) > 255:
            raise invalid_parameter("Idempotency keys can be at most 255 characters long.")
        fingerprint = json.dumps(params, sort_keys=True)
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.status is not None and entry.created + LIFETIME <= self._now():
                entry = None
            if entry is None:
                self._entries[key] = Entry(endpoint, fingerprint, self._now())
                return None
            if entry.status is None:
                raise key_in_use(key)
            if entry.endpoint != endpoint or entry.fingerprint != fingerprint:
                raise key_reused(key, entry.endpoint, endpoint)
            return entry

    def finish(self, key: str, status: int, body: bytes, request_id: str) -> None:
        """Keep the answer."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                entry.status, entry.body, entry.request_id = status, body, request_id

    def forget(self, key: str) -> None:
        """Drop a key whose request did not execute."""
        with self._lock:
            self._entries.pop(key, None)

    def finished(self) -> dict[str, Entry]:
        """The keys that have an answer."""
        with self._lock:
            return {key: entry for key, entry in self._entries.items() if entry.status is not None}

    def restore(self, entries: dict[str, Entry]) -> None:
        """Go on with keys of an earlier run."""
        with self._lock:
            self._entries = dict(entries)

    def sweep(self) -> None:
        """Drop the keys that are over 24 hours old."""
        with self._lock:
            oldest = self._now() - LIFETIME
            self._entries = {
                key: entry
                for key, entry in self._entries.items()
                if entry.status is None or entry.created > oldest
            }
