"""Guards of the Python side, taken away. Each function breaks the process and gives back how to mend it."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]
from limits.storage import MemoryStorage

from glue.front import Front
from glue.metrics import Metrics
from glue.mirror import Claim, Mirror
from glue.stripe_gateway import StripeGateway
from glue.stripe_transport import StripeTransport


def fresh_keys() -> Callable[[], None]:
    """Every request to Stripe has an idempotency key of its own."""
    send = StripeTransport.request

    def sent(self: StripeTransport, method: str, url: str, headers: Any, *more: Any) -> Any:
        if method.upper() == "POST":
            headers = {**headers, "Idempotency-Key": str(uuid.uuid4())}
        return send(self, method, url, headers, *more)

    def mend() -> None:
        StripeTransport.request = send  # type: ignore[method-assign]

    StripeTransport.request = sent  # type: ignore[method-assign,assignment]
    return mend


def forgetful() -> Callable[[], None]:
    """Nobody asks Stripe first when its memory of the idempotency key has run out."""
    ask_first = StripeGateway._must_ask_first

    def mend() -> None:
        StripeGateway._must_ask_first = ask_first  # type: ignore[method-assign]

    StripeGateway._must_ask_first = lambda self, command: False  # type: ignore[method-assign]
    return mend


def endless_bodies() -> Callable[[], None]:
    """A body may have any size."""
    import glue.app

    limits = glue.app.API_BODY_LIMIT, glue.app.WEBHOOK_BODY_LIMIT

    def mend() -> None:
        glue.app.API_BODY_LIMIT, glue.app.WEBHOOK_BODY_LIMIT = limits

    glue.app.API_BODY_LIMIT = glue.app.WEBHOOK_BODY_LIMIT = 10**9
    return mend


def bodies_on_threads() -> Callable[[], None]:
    """While a body is on its way it holds one of the threads that answer."""
    take = Front._take

    class Held:
        """Occupies the thread that looks at it until the body is there."""

        is_whole, transport, since = True, None, math.inf

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self._loop = loop
            self.begun, self.done = loop.create_future(), loop.create_future()
            self.over = threading.Event()

        @property
        def environ(self) -> NoReturn:
            self._loop.call_soon_threadsafe(self.begun.set_result, None)
            self.over.wait()
            raise ProtocolClosed

    async def held(self: Front, *arguments: Any) -> Any:
        place: Any = Held(asyncio.get_running_loop())
        self._open += 1
        self._waiting.put(place)
        try:
            await place.begun
            return await take(self, *arguments)
        finally:
            place.over.set()

    def mend() -> None:
        Front._take = take  # type: ignore[method-assign]

    Front._take = held  # type: ignore[method-assign,assignment]
    return mend


def probes_in_line() -> Callable[[], None]:
    """Whoever asks whether the server is alive waits in line with everybody else."""
    import glue.front

    probes = glue.front.PROBES

    def mend() -> None:
        glue.front.PROBES = probes

    glue.front.PROBES = ()  # type: ignore[assignment]
    return mend


def endless_calls() -> Callable[[], None]:
    """Every request may wait for Stripe."""
    gateway, mirror = StripeGateway.__init__, Mirror.__init__

    def mend() -> None:
        StripeGateway.__init__ = gateway  # type: ignore[method-assign]
        Mirror.__init__ = mirror  # type: ignore[method-assign]

    def many_calls(self: StripeGateway, *arguments: Any, **named: Any) -> None:
        gateway(self, *arguments, **{**named, "max_concurrent": 1000})

    def many_threads(self: Mirror, *arguments: Any, **named: Any) -> None:
        mirror(self, *arguments, **{**named, "threads": 1000})

    StripeGateway.__init__ = many_calls  # type: ignore[method-assign]
    Mirror.__init__ = many_threads  # type: ignore[method-assign]
    return mend


def leak() -> Callable[[], None]:
    """Each answer leaves so many bytes behind as LEAK in the environment says."""
    finish = Metrics.request
    size = int(os.environ.get("LEAK", "0"))
    left: list[bytes] = []

    def kept(self: Metrics, *arguments: Any) -> None:
        left.append(b"x" * size)
        finish(self, *arguments)

    def mend() -> None:
        Metrics.request = finish  # type: ignore[method-assign]

    Metrics.request = kept  # type: ignore[method-assign,assignment]
    return mend


def full_day() -> Callable[[], None]:
    """A key is trusted for as long as Stripe keeps it, by a clock that may be another one."""
    import glue.stripe_gateway as module

    before = module.KEY_LIFETIME

    def mend() -> None:
        module.KEY_LIFETIME = before

    module.KEY_LIFETIME = timedelta(hours=24)
    return mend


def own_turns() -> Callable[[], None]:
    """When a command is due again is counted from the server's own clock."""
    fail = Mirror._fail

    def failed(self: Mirror, claim: Claim, error: Any, retryable: bool, retry_after: float | None) -> None:
        if error["type"] == "looked_up":
            left = (claim.row["run_at"] - datetime.now(UTC)).total_seconds()
            error, retry_after = {**error, "type": "gateway_busy"}, max(0.0, left)
        fail(self, claim, error, retryable, retry_after)

    def mend() -> None:
        Mirror._fail = fail  # type: ignore[method-assign]

    Mirror._fail = failed  # type: ignore[method-assign]
    return mend


def limits_by_the_day() -> Callable[[], None]:
    """How often somebody asked is counted by the time of day."""
    import glue.limits

    own = glue.limits.own_storage

    def mend() -> None:
        glue.limits.own_storage = own

    glue.limits.own_storage = lambda clock: MemoryStorage()
    return mend
