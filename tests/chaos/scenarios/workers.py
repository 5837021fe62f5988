"""Several workers at one outbox, one of which dies or sleeps through its lease: each command once."""

from __future__ import annotations

import random
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from itertools import product
from uuid import UUID

from tests.chaos import actors, sabotage
from tests.chaos.actors import Moment
from tests.chaos.cases import OF_THE_OUTBOX, Case
from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, require, spread
from tests.chaos.stage import Stage, fresh
from tests.py.mirror.world import Row

DIES, SLEEPS = "dies", "sleeps through its lease"
POINTS = {
    actors.DECIDED: "after its claim",
    actors.SENDING: "before sending",
    actors.ANSWERED: "after the answer",
    actors.RECORDED: "after recording it",
}
KINDS = list(product((2, 8), (DIES, SLEEPS), POINTS))
COMMANDS = 12
AT_ONCE = 3
"""What a worker claims at once: so that every one gets some."""
CALLS = r"/(capture|cancel|expire)$|^/v1/refunds$"


class Workers(Scenario[Stage]):
    title = "Two and eight workers, one killed, or asleep beyond its lease and waking up"
    tries = 96
    short = 1
    per_stage = 10
    controls = (
        Control("the same idempotency key for the same wish", python=sabotage.fresh_keys, tries=16),
        Control(
            "a command belongs to one worker until its lease runs out",
            edits=(
                (
                    "payments/claim_stripe_commands.sql",
                    "(d.status = 'pending' or d.lease_until <= v_now and d.attempts < v_attempts)",
                    # of the minute that it lasts, a fifth of a second is left
                    "(d.status = 'pending' or d.lease_until <= v_now + interval '59.8 s')",
                ),
            ),
            tries=16,
        ),
    )

    def stage(self, place: Place, removed: Control | None) -> AbstractContextManager[Stage]:
        return fresh(Stage, place, removed)

    def attempt(self, stage: Stage, number: int, rng: random.Random) -> str:
        count, fate, at = spread(KINDS, number)
        stage.kind = f"{count} workers, one {fate} {POINTS[at]}"
        cases: list[Case] = rng.choices(OF_THE_OUTBOX, k=COMMANDS)
        wishes = [(case, case.before(stage)) for case in cases]
        for case, about in wishes:
            case.decide(stage, about)
        queued = {row["id"] for row in stage.commands() if row["status"] == "pending"}
        require(len(queued) == COMMANDS, f"{len(queued)} commands of {COMMANDS} decisions")
        strike = signal.SIGKILL if fate == DIES else signal.SIGSTOP
        skip = 0 if at == actors.DECIDED else rng.randrange(AT_ONCE)
        moment = Moment(at, CALLS, "claim_stripe_commands", "complete_stripe_command", strike, skip)
        lapsed = work(stage, count, moment)
        stage.heal()
        for case, about in wishes:
            case.finish(stage, about)
        stage.heal()
        for case, about in wishes:
            case.require_effect(stage, about)
        for row in stage.commands():
            if row["id"] in queued and row["id"] not in lapsed:
                require(row["attempts"] == 1, f"a command was run {row['attempts']} times by living workers")
        stage.require_sound()
        return stage.kind


def work(stage: Stage, count: int, moment: Moment) -> set[UUID]:
    """So many workers work off the outbox, the first of them with its fate; the commands that others had to
    take over from it."""
    with ExitStack() as stack:
        unlucky = stage.worker(moment, at_once=AT_ONCE)
        stack.callback(unlucky.kill)
        wait(lambda: bool(running(stage)) or not unlucky.is_running(), "nothing was claimed")
        for _ in range(count - 1):
            stack.callback(stage.worker(at_once=AT_ONCE).end)
        asleep = moment.signal == signal.SIGSTOP
        wait(lambda: unlucky.is_stopped() if asleep else not unlucky.is_running(), "its fate did not come")
        name = f"{socket.gethostname()}:{unlucky.pid}/%"
        lapsed: set[UUID] = set()

        def all_done() -> bool:
            # Also what a session of the dead one claims after its death.
            lapsed.update(row["id"] for row in stage.sql.execute(LAPSE, (name,)))
            return not stage.sql.execute(OPEN).fetchall()

        wait(lambda: not stage.sql.execute(OPEN_ELSEWHERE, (name,)).fetchall(), "the others do not finish")
        wait(all_done, "the others do not take over")
        if asleep:
            unlucky.go_on()  # and finish what it has in hand
            unlucky.end()
    return lapsed


def running(stage: Stage) -> list[Row]:
    return stage.sql.execute("select id from booking.stripe_commands where status = 'running'").fetchall()


def wait(condition: Callable[[], bool], what: str) -> None:
    """Asks until it is so; `what` is the matter if it never is."""
    give_up = time.monotonic() + 60
    while not condition():
        require(time.monotonic() < give_up, what)
        time.sleep(0.01)


LAPSE = (
    "update booking.stripe_commands set lease_until = now() - interval '1 s'"
    " where status = 'running' and locked_by like %s and lease_until > now() returning id"
)
OPEN = "select id from booking.stripe_commands where status in ('pending', 'running')"
OPEN_ELSEWHERE = OPEN + " and (locked_by is null or locked_by not like %s)"


SCENARIO = Workers
