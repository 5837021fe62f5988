"""The sandbox with a memory: what Stripe knows is kept in a file and is there again after a restart.

`python -m glue.sandbox.keep --file F --port 0`. Everything else is as in `glue.sandbox.server`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glue.children import end_with_parent
from glue.sandbox.api import Api
from glue.sandbox.delivery import Endpoint
from glue.sandbox.errors import Obj
from glue.sandbox.idempotency import Entry
from glue.sandbox.server import create_server

PAUSE_SECONDS = 1.0
"""How much of the last moments a kill may lose."""


def snapshot(api: Api) -> Obj:
    """Objects, timers, clock, keys, receivers: all that Stripe would still know tomorrow."""
    state, keys = api.state, api.idempotency
    with state.lock, keys._lock:
        kept = {
            "objects": {kind: list(store) for kind, store in state.stores.items()},
            "hidden": state.hidden,
            "links": state.links,
            "timers": state.timers,
            "timer_count": state.timer_count,
            "offset": state.clock.offset,
            "keys": {
                key: {**vars(entry), "body": entry.body.decode()}
                for key, entry in keys._entries.items()
                if entry.status is not None
            },
            "endpoints": [vars(endpoint) for endpoint in api.deliveries.endpoints],
        }
        copied: Obj = json.loads(json.dumps(kept))
    return copied


def restore(api: Api, kept: Obj) -> None:
    """Into an api that was just made. Events that nobody received yet are sent again."""
    state = api.state
    with state.lock:
        for kind, rows in kept["objects"].items():
            for row in rows:
                state.stores[kind].add(row)
        state.hidden.update(kept["hidden"])
        state.links.update(kept["links"])
        state.timers = [(due, number, handler, name) for due, number, handler, name in kept["timers"]]
        state.timer_count = kept["timer_count"]
        state.clock.offset = kept["offset"]
        api.idempotency._entries.update(
            {key: Entry(**{**entry, "body": entry["body"].encode()}) for key, entry in kept["keys"].items()}
        )
        api.deliveries.set_endpoints(
            [Endpoint(**{**each, "secrets": tuple(each["secrets"])}) for each in kept["endpoints"]]
        )
        for event in state.stores["event"]:
            if event["pending_webhooks"]:
                api.deliveries.redeliver(event)


class Keeper:
    """Writes the snapshot whenever something has changed, whole or not at all, for the owner's eyes only."""

    def __init__(self, api: Api, file: Path) -> None:
        self._api = api
        self._file = file
        self._seen: Any = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def load(self) -> None:
        """Take up where the file left off, if there is one. Raises ValueError when it cannot be read."""
        if self._file.exists():
            try:
                restore(self._api, json.loads(self._file.read_text()))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{self._file} is not a state of the sandbox: {error}") from error

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Write for the last time."""
        self._stop.set()
        self._thread.join()
        self.save()

    def save(self) -> None:
        seen = self._marks()
        if seen == self._seen:
            return
        text = json.dumps(snapshot(self._api))
        fresh = self._file.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
            handle.write(text)
        fresh.replace(self._file)
        self._seen = seen

    def _run(self) -> None:
        pause = PAUSE_SECONDS
        while not self._stop.wait(pause):
            began = time.monotonic()
            self.save()
            # A large state must not keep the sandbox busy with writing.
            pause = max(PAUSE_SECONDS, 20 * (time.monotonic() - began))

    def _marks(self) -> tuple[Any, ...]:
        """Differs whenever there may be something to keep."""
        api = self._api
        last = api.log[-1] if api.log else {}
        sizes = tuple(len(store) for store in api.state.stores.values())
        delivered = api.deliveries.log()[-1:]
        receivers = api.deliveries.endpoints
        return last.get("id"), last.get("status"), sizes, api.state.clock.offset, delivered, receivers


def serve(file: Path, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Run until SIGTERM or SIGINT, then write the state. Raises ValueError, OSError."""
    server = create_server(host=host, port=port)
    keeper = Keeper(server.api, file)
    keeper.load()

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    keeper.start()
    on_ready(server.url)
    try:
        server.serve_forever()
    finally:
        server.server_close()
        keeper.close()


def main() -> int:
    """Parse the command line and serve; 2 for a port that is taken or a file that is not ours."""
    end_with_parent()
    parser = argparse.ArgumentParser(prog="python -m glue.sandbox.keep")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free port")
    parser.add_argument("--file", type=Path, required=True, help="where the state is kept")
    options = parser.parse_args()
    try:
        serve(options.file, options.host, options.port, on_ready=lambda url: print(READY + url, flush=True))
    except (OSError, ValueError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 2
    return 0


READY = "Stripe sandbox ready at "

if __name__ == "__main__":
    raise SystemExit(main())
