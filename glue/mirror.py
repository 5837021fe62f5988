"""Carries out the outbox's commands at Stripe and records what came of them.

Claim, call, record: three steps and two short transactions, none of them open while Stripe is called. Whoever
dies in between leaves a lease that lapses; the next one sends the same idempotency key. Durations: seconds.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, LiteralString, TypeVar

import psycopg
from psycopg.types.json import Jsonb

from glue.db import Database, Params
from glue.stripe_gateway import Applied, GatewayBusy, Outcome, Refused, StripeGateway, Unknown
from glue.turns import step_aside

_log = logging.getLogger(__name__)

T = TypeVar("T")
A = TypeVar("A")

State = Literal["done", "pending"]
"""``done``: Stripe and the database agree on this command, nothing is on its way any more."""

_PASSING = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
)
"""Errors of recording that are gone when it is tried again at once."""

_RECORDING_TRIES = 3

_CLAIMING_PAUSES = (0.0, 0.02, 0.05, 0.1)
"""A webhook of the same payment may hold the command for the moment of its transaction."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A command that this process holds until its lease lapses. ``holder`` is unique to the claim, so that a
    claim which outlived its lease cannot record over the next one, not even within one process."""

    row: Mapping[str, Any]
    holder: str

    @property
    def command_id(self) -> uuid.UUID:
        return uuid.UUID(str(self.row["command_id"]))


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What became of a command. ``booking`` is where its booking stands since this process has recorded what
    Stripe did: None when it has not, or when it is no booking's command."""

    state: State
    booking: Mapping[str, Any] | None = None


_DONE, _PENDING = Mirrored("done"), Mirrored("pending")

_DECIDE: LiteralString = (
    "select decided.*, claim.operation as claim_operation, claim.stripe_id as claim_stripe_id,"
    " claim.params as claim_params, claim.idempotency_key as claim_idempotency_key,"
    " claim.attempt as claim_attempt, claim.created_at as claim_created_at from ("
)
_AND_CLAIM: LiteralString = (
    ") decided left join lateral booking.claim_stripe_command(p_command_id => decided.command_id,"
    " p_worker => %(worker)s, p_lease => %(lease)s) claim on true"
)
_RECORD_AND_SEE: LiteralString = (
    "select held, seen.* from booking.complete_stripe_command(p_command_id => %(id)s, p_worker => %(worker)s,"
    " p_response => %(response)s) held left join lateral booking.get_command_booking("
    "p_command_id => case when held is not null then %(id)s::uuid end) seen on true"
)
"""What is seen depends on the answer of the recording, so it is looked at afterwards."""
_CLAIM_COLUMNS = ("operation", "stripe_id", "params", "idempotency_key", "attempt", "created_at")


class Mirror:
    """Runs commands, in the caller's time as far as it lasts, and else in threads of its own.

    ``worker`` names this process in the lease, ``threads`` bounds the commands that run at once for ``run``.
    Create it after forking. The lease must outlast the longest call: ValueError otherwise.
    """

    def __init__(
        self,
        db: Database,
        gateway: StripeGateway,
        worker: str,
        *,
        lease: timedelta = timedelta(minutes=1),
        threads: int = 16,
    ) -> None:
        if lease.total_seconds() < 2 * gateway.call_timeout:
            raise ValueError(f"lease: {lease} is too short for calls of {gateway.call_timeout} s")
        self._db = db
        self._gateway = gateway
        self._worker = worker
        self._lease = lease
        self._free = threading.BoundedSemaphore(threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mirror")

    def close(self) -> None:
        """Finish what is under way, and take nothing new."""
        self._pool.shutdown(wait=True)

    def run(self, command_id: uuid.UUID | str | None, *, wait: float = 5.0) -> State:
        """Carry out a command that was committed before (None: there is nothing to do).

        Waits at most ``wait`` seconds; after that ``pending`` is answered while the call goes on and still
        records its result. ``pending`` is also the answer when somebody else holds the command, when it must
        wait for another one, and when it is to be tried again later. Never raises for a fault of Stripe or of
        the database: the decision is committed, and the outbox keeps the wish.
        """
        if command_id is None:
            return "done"
        if not self._free.acquire(blocking=False):
            return self._left(command_id).state
        return self._begin(wait, self._run_one, str(command_id)).state

    def decide(
        self, call: LiteralString, params: Params, *, wait: float = 5.0
    ) -> tuple[dict[str, Any], Mirrored]:
        """Ask the database for a decision, a row with a ``command_id``, and carry that out as ``run`` does.

        ``call`` is the statement. What it decides and the claim of its command are one commit. Raises
        psycopg.Error when nothing was decided, or when the answer was lost: then the command waits for the
        end of its lease. Never raises for what comes after.
        """
        is_free = self._free.acquire(blocking=False)
        holder = self._holder()
        try:
            if is_free:
                names = {"worker": holder, "lease": self._lease}
                row = self._db.one(_DECIDE + call + _AND_CLAIM, {**params, **names})
            else:
                row = self._db.one(call, params)
            if row is None:
                raise LookupError("a function that always answers gave no row")
            claimed = {name: row.pop(f"claim_{name}", None) for name in _CLAIM_COLUMNS}
            command_id = row["command_id"]
        except BaseException:
            if is_free:
                self._free.release()
            raise
        if command_id is None:
            if is_free:
                self._free.release()
            return row, _DONE
        if not is_free:
            return row, self._left(command_id)
        if claimed["idempotency_key"] is None:  # an older command, which somebody has or which has to wait
            return row, self._begin(wait, self._run_one, str(command_id))
        claim = Claim({"command_id": command_id, **claimed}, holder)
        return row, self._begin(wait, self._carry_out, claim)

    def _begin(self, wait: float, work: Callable[[A], Mirrored], about: A) -> Mirrored:
        """In a thread, which the caller has acquired."""
        try:
            future: Future[Mirrored] = self._pool.submit(copy_context().run, work, about)
        except RuntimeError:  # closing
            self._free.release()
            if isinstance(about, Claim):
                self._give_back(about)
            return _PENDING
        future.add_done_callback(lambda _: self._free.release())
        step_aside()
        try:
            return future.result(timeout=wait)
        except TimeoutError:
            return _PENDING

    def _give_back(self, claim: Claim) -> None:
        """For a worker to take it at once: nothing was sent."""
        try:
            self._fail(claim, {"type": "gateway_busy", "message": "the process is closing"}, True, None)
        except psycopg.Error:
            _log.exception("a command was not given back", extra={"command_id": str(claim.command_id)})

    def _left(self, command_id: uuid.UUID | str) -> Mirrored:
        _log.warning(
            "no thread is free for a command, left to the worker", extra={"command_id": str(command_id)}
        )
        return _PENDING

    def claim_due(self, *, limit: int, min_age: float) -> list[Claim]:
        """Claim up to ``limit`` due commands older than ``min_age`` seconds. Raises psycopg.Error."""
        holder = self._holder()
        rows = self._db.all(
            "select * from booking.claim_stripe_commands(p_worker => %(worker)s, p_limit => %(limit)s,"
            " p_lease => %(lease)s, p_min_age => %(min_age)s)",
            {"worker": holder, "limit": limit, "lease": self._lease, "min_age": timedelta(seconds=min_age)},
        )
        return [Claim(row, holder) for row in rows]

    def run_claimed(self, claim: Claim) -> State:
        """Call Stripe for a claimed command and record the outcome. Never raises an Exception."""
        return self._carry_out(claim).state

    def _carry_out(self, claim: Claim) -> Mirrored:
        about = {
            "command_id": str(claim.command_id),
            "operation": claim.row["operation"],
            "attempt": claim.row["attempt"],
        }
        try:
            outcome = self._call(claim, about)
        except GatewayBusy as busy:
            error = {"type": "gateway_busy", "message": str(busy)}
            outcome = Unknown(error, busy.retry_after)
        except Exception as fault:
            # A fault of ours, after which anything may have been sent: the same key again.
            _log.exception("a command broke off", extra=about)
            outcome = Unknown({"type": "internal_error", "message": type(fault).__name__})
        try:
            return self._record(claim, outcome, about)
        except psycopg.Error:
            # The lease lapses, and the same key gives the same answer then.
            _log.exception("the outcome of a command could not be recorded", extra=about)
            return _PENDING

    def settle_unknown(self) -> tuple[int, int]:
        """Ask Stripe what came of each command that was sent and whose outcome nobody knows; send nothing.

        How many are done now, and how many were put back as they were. Raises psycopg.Error.
        """
        done = left = 0
        after: uuid.UUID | None = None
        while True:
            holder = self._holder()
            row = self._db.one(
                "select * from booking.claim_unknown_command(p_worker => %(worker)s, p_lease => %(lease)s,"
                " p_after => %(after)s)",
                {"worker": holder, "lease": self._lease, "after": after},
            )
            if row is None:
                return done, left
            claim = Claim(row, holder)
            after = claim.command_id
            about = {"command_id": str(after), "operation": row["operation"]}
            try:
                outcome: Outcome = self._gateway.look_up(row)
            except GatewayBusy as busy:
                outcome = Unknown({"type": "gateway_busy", "message": str(busy)})
            if isinstance(outcome, Applied):
                _log.info("a command was carried out, as stripe shows", extra=about)
                done += self._record(claim, outcome, about).state == "done"
            else:
                _log.info("stripe shows no effect of a command, left to the worker", extra=about)
                nothing_sent = {"type": "looked_up", "message": "looked up, not sent"}
                self._fail(claim, nothing_sent, True, None)
                left += 1

    def _run_one(self, command_id: str) -> Mirrored:
        holder = self._holder()
        try:
            row = None
            for pause in _CLAIMING_PAUSES:
                time.sleep(pause)
                row = self._db.one(
                    "select * from booking.claim_stripe_command(p_command_id => %(id)s,"
                    " p_worker => %(worker)s, p_lease => %(lease)s)",
                    {"id": command_id, "worker": holder, "lease": self._lease},
                )
                if row is not None or self._status(command_id) != "pending":
                    break
            if row is None:
                return self._mirrored(command_id)
        except psycopg.Error:
            _log.exception(
                "a command could not be claimed, left to the worker", extra={"command_id": command_id}
            )
            return _PENDING
        return self._carry_out(Claim(row, holder))

    def _call(self, claim: Claim, about: Mapping[str, Any]) -> Outcome:
        outcome = self._gateway.execute(claim.row)
        match outcome:
            case Applied():
                _log.info("a command was carried out", extra=dict(about))
            case Refused(error, retryable):
                _log.warning(
                    "stripe refused a command", extra={**about, **_why(error), "retryable": retryable}
                )
            case Unknown(error, _):
                _log.warning("the outcome of a command is unknown", extra={**about, **_why(error)})
        return outcome

    def _record(self, claim: Claim, outcome: Outcome, about: Mapping[str, Any]) -> Mirrored:
        match outcome:
            case Applied(found):
                recorded = self._again(
                    lambda: self._db.one(
                        _RECORD_AND_SEE,
                        {"id": claim.command_id, "worker": claim.holder, "response": Jsonb(dict(found))},
                    )
                )
                if recorded and recorded.pop("held"):
                    return Mirrored("done", recorded if recorded["booking_id"] else None)
                _log.warning(
                    "the lease of a command was lost before its outcome was recorded", extra=dict(about)
                )
            case Refused(error, retryable):
                self._fail(claim, error, retryable, None)
                if retryable:
                    return _PENDING
            case Unknown(error, retry_after):
                self._fail(claim, error, True, retry_after)
                return _PENDING
        return self._mirrored(str(claim.command_id))

    def _fail(
        self, claim: Claim, error: Mapping[str, Any], retryable: bool, retry_after: float | None
    ) -> None:
        self._again(
            lambda: self._db.one(
                "select * from booking.fail_stripe_command(p_command_id => %(id)s, p_worker => %(worker)s,"
                " p_error => %(error)s, p_retryable => %(retryable)s, p_retry_after => %(retry_after)s)",
                {
                    "id": claim.command_id,
                    "worker": claim.holder,
                    "error": Jsonb(dict(error)),
                    "retryable": retryable,
                    "retry_after": None if retry_after is None else timedelta(seconds=retry_after),
                },
            )
        )

    def _mirrored(self, command_id: str) -> Mirrored:
        return _DONE if self._status(command_id) == "done" else _PENDING

    def _status(self, command_id: str) -> str | None:
        status: str | None = self._db.scalar(
            "select * from booking.get_stripe_command_status(p_command_id => %(id)s)", {"id": command_id}
        )
        return status

    def _holder(self) -> str:
        return f"{self._worker}/{uuid.uuid4().hex[:12]}"

    @staticmethod
    def _again(record: Callable[[], T]) -> T:
        """Recording compares and sets on the lease, so doing it twice is safe."""
        for _ in range(_RECORDING_TRIES - 1):
            try:
                return record()
            except _PASSING as error:
                _log.info("recording is tried again", extra={"sqlstate": error.sqlstate})
        return record()


def _why(error: Mapping[str, Any]) -> dict[str, Any]:
    """What of Stripe's error may be logged: codes and ids, no texts."""
    names = ("type", "code", "decline_code", "param", "http_status", "idempotent_replayed", "request_id")
    return {f"stripe_{name}": error[name] for name in names if name in error}
