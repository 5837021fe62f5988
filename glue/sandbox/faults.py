"""Faults on demand, and the barriers that hold requests for race tests.

A fault comes with one request (header `Sandbox-Fault: name; option=value`) or waits in a list for the next
N requests that match. Its name decides where it strikes:

    latency                  wait `ms` milliseconds first, then go on (combines with any other fault)
    drop                     close the connection; nothing happened
    401 403 409 429 503      that answer; nothing happened, nothing is kept under the idempotency key
    500_before_unsaved       500; nothing happened, nothing is kept
    500_before_saved         500; nothing happened, but the 500 is kept and replayed
    error                    the answer in `status` and `error` (an error object); kept unless `saved` is
                             false
    timeout                  no answer for `seconds` or until released, then a closed connection; nothing
                             happened
    apply_then_drop          executed and kept, the connection closes without an answer
    apply_then_500           executed, but the answer is a 500, which is kept and replayed
    apply_then_timeout       executed and kept, no answer for `seconds` or until released, then the answer
    barrier                  wait at the barrier `name`, `when` = before (default) or after executing, up to
                             `seconds`
"""

from __future__ import annotations

import random
import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from glue.sandbox.errors import Obj, StripeError

REFUSALS = ("401", "403", "409", "429", "503", "500_before_unsaved")
NAMES = (
    "latency",
    "drop",
    *REFUSALS,
    "500_before_saved",
    "error",
    "timeout",
    "apply_then_drop",
    "apply_then_500",
    "apply_then_timeout",
    "barrier",
)
_ANSWERS = {
    "401": (401, "invalid_request_error", "api_key_expired", "Expired API Key provided: sk_test_****"),
    "403": (
        403,
        "invalid_request_error",
        "account_invalid",
        "The provided key does not have access to this account (or that account does not exist).",
    ),
    "409": (
        409,
        "invalid_request_error",
        "lock_timeout",
        "This object cannot be accessed right now because another API request is accessing it.",
    ),
    "429": (
        429,
        "invalid_request_error",
        "rate_limit",
        "Too many requests hit the API too quickly. We recommend an exponential backoff of your requests.",
    ),
    "503": (503, "api_error", None, "Service unavailable."),
}
_MATCHES = ("method", "path", "path_regex", "idempotency_key", "body_contains")
_OPTIONS = (
    "ms",
    "seconds",
    "name",
    "when",
    "retry_after",
    "should_retry",
    "status",
    "error",
    "saved",
)
HOLD_SECONDS = 60.0


class BadFault(ValueError):
    """A fault that the sandbox does not know; the message names the field."""


@dataclass
class Fault:
    """One fault: `times` requests that match get it, after `skip` of them were let through."""

    fault: str
    times: int = 1
    skip: int = 0
    probability: float = 1.0
    match: dict[str, str] = field(default_factory=dict)
    options: Obj = field(default_factory=dict)
    id: str = ""
    struck: int = 0

    def fits(self, method: str, path: str, key: str | None, body: str) -> bool:
        want = self.match
        return (
            want.get("method", method).upper() == method
            and path.startswith(want.get("path", ""))
            and re.search(want.get("path_regex", ""), path) is not None
            and ("idempotency_key" not in want or (key or "").startswith(want["idempotency_key"]))
            and want.get("body_contains", "") in body
        )

    def shown(self) -> Obj:
        return {
            "id": self.id,
            "fault": self.fault,
            "times": self.times,
            "skip": self.skip,
            "probability": self.probability,
            "match": self.match,
            "struck": self.struck,
            **self.options,
        }


def parse(values: Obj) -> Fault:
    """A fault from the control API's JSON; raises `BadFault`."""
    values = dict(values)
    name = str(values.pop("fault", ""))
    if name not in NAMES:
        raise BadFault(f"fault: {name!r} is not one of {', '.join(NAMES)}")
    match = values.pop("match", None) or {}
    if not isinstance(match, dict) or not set(match) <= set(_MATCHES):
        raise BadFault(f"match: only {', '.join(_MATCHES)} are known")
    try:
        re.compile(match.get("path_regex", ""))
    except re.error as error:
        raise BadFault(f"match.path_regex: {error}") from None
    numbers: dict[str, Any] = {}
    for key, kind in (("times", int), ("skip", int), ("probability", float)):
        if key in values:
            numbers[key] = _number(key, values.pop(key), kind)
    unknown = set(values) - set(_OPTIONS)
    if unknown:
        raise BadFault(f"{sorted(unknown)[0]}: unknown option")
    for key, kind in (("ms", float), ("seconds", float), ("retry_after", float), ("status", int)):
        if key in values:
            values[key] = _number(key, values[key], kind)
    if name == "error" and not (isinstance(values.get("error"), dict) and "status" in values):
        raise BadFault("error: the fault `error` needs `status` and an `error` object")
    if values.get("when", "before") not in ("before", "after"):
        raise BadFault("when: must be before or after")
    return Fault(name, match=match, options=values, **numbers)


def parse_header(text: str) -> Fault:
    """A fault from the header: `barrier; name=x; when=after`."""
    name, *options = (part.strip() for part in text.split(";"))
    return parse({"fault": name, **dict(option.partition("=")[::2] for option in options if option)})


def _number(name: str, value: object, kind: type[int] | type[float]) -> int | float:
    try:
        return kind(str(value))
    except ValueError:
        raise BadFault(f"{name}: {value!r} is not a number") from None


class Faults:
    """The faults that wait for matching requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []
        self._count = 0
        self._random = random.Random(0)  # noqa: S311

    def add(self, fault: Fault) -> str:
        with self._lock:
            self._count += 1
            fault.id = f"fault_{self._count}"
            self._waiting.append(fault)
            return fault.id

    def clear(self, seed: int = 0) -> None:
        with self._lock:
            self._waiting.clear()
            self._random = random.Random(seed)  # noqa: S311

    def shown(self) -> list[Obj]:
        with self._lock:
            return [fault.shown() for fault in self._waiting]

    def take(self, method: str, path: str, key: str | None, body: str) -> list[Fault]:
        """The faults for this request, used up by it: every latency, and at most one of the others."""
        taken: list[Fault] = []
        with self._lock:
            for fault in self._waiting:
                if fault.fault != "latency" and any(other.fault != "latency" for other in taken):
                    continue
                if not fault.fits(method, path, key, body):
                    continue
                if fault.probability < 1 and self._random.random() >= fault.probability:
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.struck += 1
                taken.append(fault)
            self._waiting = [fault for fault in self._waiting if fault.struck < fault.times]
        return taken


def refusal(fault: Fault) -> StripeError:
    """The answer of a fault that strikes before anything happened."""
    headers: dict[str, str] = {}
    if "retry_after" in fault.options:
        headers["Retry-After"] = f"{fault.options['retry_after']:g}"
    if "should_retry" in fault.options:
        headers["Stripe-Should-Retry"] = str(fault.options["should_retry"]).lower()
    if fault.fault == "error":
        error = dict(fault.options["error"])
        kind, message = str(error.pop("type", "api_error")), str(error.pop("message", "An error occurred."))
        saved = str(fault.options.get("saved", True)).lower() == "true"
        return StripeError(int(fault.options["status"]), kind, message, saved=saved, headers=headers, **error)
    if fault.fault in _ANSWERS:
        status, kind, code, message = _ANSWERS[fault.fault]
        return StripeError(status, kind, message, code=code, saved=False, headers=headers)
    unsaved = fault.fault == "500_before_unsaved"
    headers.setdefault("Stripe-Should-Retry", "true" if unsaved else "false")
    return StripeError(500, "api_error", "An unknown error occurred.", saved=not unsaved, headers=headers)


@dataclass
class _Barrier:
    arrived: int = 0
    open: bool = False


class Barriers:
    """Named places where requests wait. Once released, a barrier stays open until it is set up again."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._barriers: dict[str, _Barrier] = {}

    def set_up(self, name: str) -> None:
        """A new, closed barrier of that name; whoever waits at an old one goes on."""
        with self._changed:
            self._release(name)
            self._barriers[name] = _Barrier()

    def arrive(self, name: str, seconds: float) -> bool:
        """Wait until the barrier opens; False when `seconds` passed first."""
        with self._changed:
            barrier = self._barriers.setdefault(name, _Barrier())
            barrier.arrived += 1
            self._changed.notify_all()
            return self._changed.wait_for(lambda: barrier.open, seconds)

    def wait(self, name: str, count: int, seconds: float) -> int:
        """Wait until `count` requests have arrived; returns how many have."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._arrived(name) < count:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return self._arrived(name)

    def release(self, name: str) -> int:
        """Open the barrier; returns how many had arrived."""
        with self._changed:
            self._barriers.setdefault(name, _Barrier())
            return self._release(name)

    def release_all(self) -> None:
        with self._changed:
            for name in self._barriers:
                self._release(name)
            self._barriers = {}

    def _arrived(self, name: str) -> int:
        barrier = self._barriers.get(name)
        return 0 if barrier is None else barrier.arrived

    def _release(self, name: str) -> int:
        barrier = self._barriers.get(name)
        if barrier is None:
            return 0
        barrier.open = True
        self._changed.notify_all()
        return barrier.arrived
