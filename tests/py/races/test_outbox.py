"""Workers at one outbox: each command goes to one of them, and what a lost lease brings home still counts."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from tests.py.races.helpers import Arena, Outcome, Session, results

CLAIM_ALL = "select * from booking.claim_stripe_commands(p_worker => %(worker)s, p_limit => %(limit)s)"
CLAIM_ONE = "select * from booking.claim_stripe_command(p_command_id => %(command)s, p_worker => %(worker)s)"
COMPLETE = (
    "select booking.complete_stripe_command(p_command_id => %(c)s, p_worker => %(w)s, p_response => %(r)s)"
)


def queue(arena: Arena, count: int) -> list[UUID]:
    """So many confirmed bookings whose captures wait."""
    return [
        row["id"]
        for row in arena.all(
            "with b as materialized (select test.book() as id from generate_series(1, %(n)s)),"
            " a as materialized (select b.id, test.authorize(b.id) from b)"
            " select test.confirm(a.id) as id from a",
            {"n": count},
        )
    ]


@pytest.mark.parametrize("workers", [2, 8])
def test_each_of_200_commands_is_run_once(arena: Arena, workers: int) -> None:
    queued = queue(arena, 200)
    answers = {each: arena.value("select test.answer(%(c)s)", {"c": each}) for each in queued}

    def drain(session: Session, worker: str) -> list[UUID]:
        found: list[UUID] = []
        while rows := session.call(CLAIM_ALL, {"worker": worker, "limit": 7}).rows:
            for row in rows:
                done = session.call(
                    COMPLETE,
                    {"c": row["command_id"], "w": worker, "r": Jsonb(answers[row["command_id"]])},
                )
                assert done.value is True
                found.append(row["command_id"])
        return found

    sessions = arena.sessions(workers)
    running = [
        each.do(lambda each=each, n=number: drain(each, f"worker-{n}"))  # type: ignore[misc]
        for number, each in enumerate(sessions)
    ]
    ran = Counter(command for each in running for command in each.result())
    assert ran == Counter(queued)
    assert arena.all(
        "select distinct status::text, outcome::text, attempts from booking.stripe_commands"
    ) == [{"status": "done", "outcome": "applied", "attempts": 1}]
    arena.assert_sound()


@pytest.mark.parametrize("first_is", ["server", "worker"])
@pytest.mark.parametrize("first_commits", [True, False], ids=["commits", "rolls-back"])
def test_a_command_that_one_is_claiming_is_not_waited_for(
    arena: Arena, first_is: str, first_commits: bool
) -> None:
    (command,) = queue(arena, 1)
    one, other = arena.sessions(2)
    claims = [
        (CLAIM_ONE, {"command": command, "worker": "server"}),
        (CLAIM_ALL, {"worker": "worker", "limit": 10}),
    ]
    if first_is == "worker":
        claims.reverse()
    assert [row["command_id"] for row in one.hold(*claims[0]).rows] == [command]
    assert other.call(*claims[1]) == Outcome(())
    one.commit() if first_commits else one.rollback()
    assert len(other.call(*claims[1]).rows) == (0 if first_commits else 1)
    assert arena.value("select attempts from booking.stripe_commands") == 1
    arena.assert_sound()


def test_server_and_worker_at_the_same_command_at_once(arena: Arena) -> None:
    (command,) = queue(arena, 1)
    gate, sessions = arena.session(None), arena.sessions(8)
    gate.hold("lock table booking.stripe_commands in access exclusive mode")
    running = [
        each.start(CLAIM_ONE, {"command": command, "worker": f"server-{number}"})
        if number % 2
        else each.start(CLAIM_ALL, {"worker": f"worker-{number}", "limit": 5})
        for number, each in enumerate(sessions)
    ]
    arena.wait_all_waiting(sessions)
    gate.rollback()
    assert sum(len(each.rows) for each in results(running)) == 1
    assert arena.value("select attempts from booking.stripe_commands") == 1


def test_the_answer_of_a_lost_lease_counts_and_the_next_holder_finishes(arena: Arena) -> None:
    (command,) = queue(arena, 1)
    lost, next_one = arena.sessions(2)
    assert len(lost.call(CLAIM_ONE, {"command": command, "worker": "lost"}).rows) == 1
    arena.run("update booking.stripe_commands set lease_until = now() - interval '1 s'")
    assert len(next_one.call(CLAIM_ALL, {"worker": "next", "limit": 1}).rows) == 1
    answer = Jsonb(arena.value("select test.answer(%(c)s)", {"c": command}))
    assert lost.hold(COMPLETE, {"c": command, "w": "lost", "r": answer}).value is False
    running = next_one.start(COMPLETE, {"c": command, "w": "next", "r": answer})
    arena.wait_blocked(next_one, lost, running)
    lost.commit()
    assert running.result().value is True
    assert arena.value("select status::text from booking.payments") == "captured"
    assert arena.value("select count(*) from booking.transfers") == 1
    arena.assert_sound()


def dead_command(arena: Arena, intent: str, operation: str) -> UUID:
    """A command of a PaymentIntent that was given up."""
    found: UUID = arena.value(
        "insert into booking.stripe_commands (id, payment_id, operation, stripe_id, status, attempts)"
        " select gen_random_uuid(), p.id, %(operation)s, %(intent)s, 'dead', 1"
        " from booking.payments p where p.stripe_payment_intent_id = %(intent)s returning id",
        {"intent": intent, "operation": operation},
    )
    return found


@pytest.mark.parametrize("first_commits", [True, False], ids=["commits", "rolls-back"])
def test_of_two_commands_of_one_payment_revived_at_once_one_is_open(
    arena: Arena, first_commits: bool
) -> None:
    booking = arena.value("select test.book()")
    intent = arena.value("select test.authorize(%(b)s)", {"b": booking})
    dead = [dead_command(arena, intent, "capture_payment_intent") for _ in range(2)]
    one, other = arena.sessions(2, "booking_dba")
    revive = "select booking.retry_stripe_command(p_command_id => %(c)s, p_actor => 'ann')"
    assert one.hold(revive, {"c": dead[0]}).code == "ok"
    running = other.start(revive, {"c": dead[1]})
    arena.wait_blocked(other, one, running)
    one.commit() if first_commits else one.rollback()
    assert running.result().code == ("PT409 command_open" if first_commits else "ok")
    assert arena.value("select count(*) from booking.stripe_commands where status = 'pending'") == 1


def test_a_command_revived_while_a_decision_queues_another_is_told_to_wait(arena: Arena) -> None:
    booking = arena.value("select test.book()")
    intent = arena.value("select test.authorize(%(b)s)", {"b": booking})
    dead = dead_command(arena, intent, "capture_payment_intent")
    expert = arena.value("select test.expert(%(b)s)", {"b": booking})
    one, other = arena.session(), arena.session("booking_dba")
    decline = "select * from booking.confirm_booking_transaction(%(expert)s, %(booking)s, 'decline')"
    assert one.hold(decline, {"expert": expert, "booking": booking}).code == "ok"
    running = other.start(
        "select booking.retry_stripe_command(p_command_id => %(c)s, p_actor => 'ann')", {"c": dead}
    )
    arena.wait_blocked(other, one, running)
    one.commit()
    assert running.result().code == "PT409 command_open"
    arena.assert_sound()
