"""SIGKILL of a server or a worker at every point around every call to Stripe."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import product
from typing import Any

import requests

from tests.chaos import actors, sabotage
from tests.chaos.actors import AT_STRIPE
from tests.chaos.cases import OF_A_REQUEST, OF_THE_OUTBOX, Case
from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, require, spread
from tests.chaos.stage import Stage, fresh

OF_A_SERVER = (
    actors.DECIDING,
    actors.DECIDED,
    actors.SENDING,
    actors.SENT,
    actors.CARRIED_OUT,
    actors.ANSWERED,
    actors.RECORDED,
)
OF_A_WORKER = OF_A_SERVER[2:]
KILLS = [
    *product(("server",), OF_A_REQUEST, OF_A_SERVER),
    *product(("worker",), OF_THE_OUTBOX, OF_A_WORKER),
]


class Kills(Scenario[Stage]):
    title = "Server or worker killed (SIGKILL) at every point around every call to Stripe"
    tries = 1000
    short = 9
    controls = (
        Control(
            "the same idempotency key for the same wish",
            python=sabotage.fresh_keys,
            tries=len(KILLS),
            first=11,
        ),
        Control(
            "the lease of a dead process runs out",
            edits=(
                (
                    "payments/claim_stripe_commands.sql",
                    "(d.status = 'pending' or d.lease_until <= v_now and d.attempts < v_attempts)",
                    "d.status = 'pending'",
                ),
            ),
            tries=len(KILLS),
        ),
    )

    def stage(self, place: Place, removed: Control | None) -> AbstractContextManager[Stage]:
        return fresh(Stage, place, removed)

    def attempt(self, stage: Stage, number: int, rng: random.Random) -> str:
        victim, case, at = spread(KILLS, number)
        stage.kind = f"{victim}, {case.operation}, {at}"
        kill_server(stage, case, at) if victim == "server" else kill_worker(stage, case, at)
        return stage.kind


def kill_server(stage: Stage, case: Case, at: str) -> None:
    """The server that took the booking dies in the middle of the next request; the client asks another."""
    victim = stage.server(case.moment(at))
    stage.front = victim
    try:
        about = case.before(stage)
        hold(stage, case, at)
        with ThreadPoolExecutor(1) as client:
            asked = client.submit(case.ask, stage, about)
            if at in AT_STRIPE:
                stage.control.wait_barrier("kill")
                victim.kill()
                stage.control.release_barrier("kill")
            answer = asked.exception(60)
        require(isinstance(answer, requests.ConnectionError), f"the server was not killed: {answer!r}")
        if at not in AT_STRIPE:
            require(victim.ended() == -9, "the server ended otherwise")
    finally:
        stage.front = None
    ask_again(stage, case, about)
    judge(stage, case, about)


def kill_worker(stage: Stage, case: Case, at: str) -> None:
    """A decision was committed, and the worker that carries it out dies."""
    about = case.before(stage)
    case.decide(stage, about)
    hold(stage, case, at)
    victim = stage.worker(case.moment(at))
    if at in AT_STRIPE:
        stage.control.wait_barrier("kill")
        victim.kill()
        stage.control.release_barrier("kill")
    else:
        require(victim.ended() == -9, "the worker ended otherwise")
    judge(stage, case, about)


def hold(stage: Stage, case: Case, at: str) -> None:
    """Where Stripe has the request at that moment, it keeps it until the killer has come."""
    if at in AT_STRIPE:
        stage.control.barrier("kill", when=AT_STRIPE[at], method="POST", path_regex=case.path)


def ask_again(stage: Stage, case: Case, about: Any) -> None:
    """The client got no answer and asks another server: it is told what is, or that it was decided."""
    stage.wait_until_gone()
    stage.lapse_locks()
    response = case.ask(stage, about)
    decided = response.status_code == 409 and response.json()["error"]["code"] == "already_processed"
    require(response.status_code == 200 or (decided and case.by_command), f"refused: {response.text}")


def judge(stage: Stage, case: Case, about: Any) -> None:
    stage.heal()
    case.finish(stage, about)
    stage.heal()
    case.require_effect(stage, about)
    stage.require_sound()


SCENARIO = Kills
