"""The account in a file, so that a sandbox goes on where it was left.

Kept: objects, what hangs on them, timers, the clock, idempotency keys, webhook endpoints. Not kept: faults,
barriers, the log of requests, settings of the delivery. Events that were not delivered yet are sent after a
restart.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict
from pathlib import Path

from glue.sandbox.api import Api
from glue.sandbox.delivery import Endpoint
from glue.sandbox.errors import Obj
from glue.sandbox.idempotency import Entry

VERSION = 1


class Keeper:
    """Saves an account's state to one file, at most as often as it is asked to."""

    def __init__(self, api: Api, path: Path) -> None:
        self._api = api
        self._path = path
        self._saved: object = None
        self._lock = threading.Lock()

    def load(self) -> None:
        """Take up the file, if there is one; raises ValueError when it is not ours."""
        if not self._path.exists():
            return
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
            if values["version"] != VERSION:
                raise ValueError(f"version {values['version']} is not {VERSION}")
            _restore(self._api, values)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"data_file: {self._path} cannot be read: {error!r}") from None
        self._saved = self._mark()

    def save(self) -> None:
        """Write the state when anything happened since the last time. The file is replaced as a whole."""
        with self._lock:
            mark = self._mark()
            if mark == self._saved:
                return
            text = json.dumps(_dump(self._api))
            temporary = self._path.with_suffix(f"{self._path.suffix}.new")
            # It holds webhook secrets and client secrets.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, self._path)
            self._saved = mark

    def _mark(self) -> object:
        state = self._api.state
        deliveries = self._api.deliveries
        return (
            self._api.calls,
            len(state.stores["event"]),
            state.clock.offset,
            deliveries.delivered,
            deliveries.endpoints,
        )


def _dump(api: Api) -> Obj:
    state = api.state
    with state.lock:
        # Through text: the rows must not change while the file is written.
        values: Obj = json.loads(
            json.dumps(
                {
                    "version": VERSION,
                    "offset": state.clock.offset,
                    "stores": {kind: list(store) for kind, store in state.stores.items()},
                    "hidden": state.hidden,
                    "links": state.links,
                    "timers": state.timers,
                    "timer_count": state.timer_count,
                }
            )
        )
    values["keys"] = {
        key: [
            entry.endpoint,
            entry.fingerprint,
            entry.created,
            entry.status,
            entry.body.decode(),
            entry.request_id,
        ]
        for key, entry in api.idempotency.finished().items()
    }
    values["endpoints"] = [asdict(each) for each in api.deliveries.endpoints]
    return values


def _restore(api: Api, values: Obj) -> None:
    state = api.state
    with state.lock:
        state.clear()
        state.clock.offset = values["offset"]
        for kind, rows in values["stores"].items():
            for row in rows:
                state.stores[kind].add(row)
        state.hidden, state.links = values["hidden"], values["links"]
        state.timers = [
            (due, number, handler, object_id) for due, number, handler, object_id in values["timers"]
        ]
        state.timer_count = values["timer_count"]
        undelivered = [event for event in state.stores["event"] if event["pending_webhooks"] > 0]
    api.idempotency.restore(
        {
            key: Entry(endpoint, fingerprint, created, status, body.encode(), request_id)
            for key, (endpoint, fingerprint, created, status, body, request_id) in values["keys"].items()
        }
    )
    if not api.deliveries.endpoints:
        api.deliveries.set_endpoints(
            [
                Endpoint(each["url"], tuple(each["secrets"]), tuple(each["enabled_events"]), each["id"])
                for each in values["endpoints"]
            ]
        )
    for event in undelivered:
        api.deliveries.enqueue(event)
