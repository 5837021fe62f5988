"""Runs of the reconciliation at once, on real connections; without each guard, its race fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from tests.py.races.helpers import Arena, Session, mutate
from tests.py.races.test_outbox import queue

BEGIN = (
    "select * from booking.begin_reconciliation(p_from => now() - interval '1 hour',"
    " p_to => now() + interval '1 hour')"
)
SHOW = "select booking.record_stripe_objects(p_run_id => %(run)s, p_objects => %(objects)s)"
DOUBTFUL = "select * from booking.list_doubtful_payments(p_run_id => %(run)s)"
FINISH = "select * from booking.finish_reconciliation(p_run_id => %(run)s)"
LOOK = "select * from booking.claim_unknown_command(p_worker => %(worker)s)"
WORK = "select * from booking.claim_stripe_commands(p_worker => %(worker)s, p_limit => 1)"
COMPLETE = (
    "select booking.complete_stripe_command(p_command_id => %(c)s, p_worker => %(w)s, p_response => %(r)s)"
)


def stray(name: str) -> Jsonb:
    """An object that makes one difference."""
    return Jsonb(
        [
            {
                "id": name,
                "object": "payment_intent",
                "amount": 5,
                "currency": "eur",
                "status": "succeeded",
                "metadata": {"payment_id": str(uuid4())},
            }
        ]
    )


def test_a_run_that_two_finish_has_its_differences_once(arena: Arena) -> None:
    first, second = arena.sessions(2)
    run = first.call(BEGIN).value
    first.call(SHOW, {"run": run, "objects": stray("pi_1")})
    held = first.hold(FINISH, {"run": run})
    waiting = second.start(FINISH, {"run": run})
    arena.wait_blocked(second, first, waiting)
    first.commit()

    again = waiting.result(timeout=120)

    assert again.code == "ok"
    assert again.rows == held.rows
    assert [row["stripe_id"] for row in again.rows] == ["pi_1"]
    assert arena.value("select count(*) from booking.reconciliation_differences") == 1
    assert arena.value("select times from booking.alerts where kind = 'reconciliation_difference'") == 1
    arena.assert_sound()


def test_a_page_that_comes_while_its_run_is_finished_is_refused(arena: Arena) -> None:
    first, second = arena.sessions(2)
    run = first.call(BEGIN).value
    first.hold(FINISH, {"run": run})
    late = second.start(SHOW, {"run": run, "objects": stray("pi_late")})
    arena.wait_blocked(second, first, late)
    first.commit()

    assert late.result(timeout=120).code == "PT409 reconciliation_finished"
    assert arena.value("select count(*) from booking.reconciliation_items") == 0


def test_a_run_that_is_finished_while_a_page_comes_has_it(arena: Arena) -> None:
    first, second = arena.sessions(2)
    run = first.call(BEGIN).value
    first.hold(SHOW, {"run": run, "objects": stray("pi_1")})
    waiting = second.start(FINISH, {"run": run})
    arena.wait_blocked(second, first, waiting)
    first.commit()

    assert [row["stripe_id"] for row in waiting.result(timeout=120).rows] == ["pi_1"]


def test_runs_of_one_window_do_not_wait_for_each_other_and_do_not_mix(arena: Arena) -> None:
    """Every step of one waits in its transaction while the other goes all the way."""
    first, second = arena.sessions(2)
    runs = [each.call(BEGIN).value for each in (first, second)]
    first.hold(SHOW, {"run": runs[0], "objects": stray("pi_first")})
    first.hold(DOUBTFUL, {"run": runs[0]})

    assert second.call(SHOW, {"run": runs[1], "objects": stray("pi_second")}).value == 1
    assert [row["stripe_id"] for row in second.call(DOUBTFUL, {"run": runs[1]}).rows] == ["pi_second"]
    assert [row["stripe_id"] for row in second.call(FINISH, {"run": runs[1]}).rows] == ["pi_second"]

    first.commit()
    assert [row["stripe_id"] for row in first.call(FINISH, {"run": runs[0]}).rows] == ["pi_first"]
    arena.assert_sound()


def unknown(arena: Arena, count: int) -> dict[UUID, Jsonb]:
    """So many captures that were sent by a worker that died, with what Stripe shows of each."""
    queued = queue(arena, count)
    arena.run("select booking.claim_stripe_commands('dead', 1000)")
    arena.run("update booking.stripe_commands set lease_until = now() - interval '1 second'")
    return {each: Jsonb(arena.value("select test.answer(%(c)s)", {"c": each})) for each in queued}


def test_each_unknown_command_is_settled_once_by_askers_and_workers_together(arena: Arena) -> None:
    answers = unknown(arena, 60)

    def settle(session: Session, query: str, worker: str) -> list[UUID]:
        found = []
        while rows := session.call(query, {"worker": worker}).rows:
            command = rows[0]["command_id"]
            done = session.call(COMPLETE, {"c": command, "w": worker, "r": answers[command]})
            assert done.value is True, "another one had it, too"
            found.append(command)
        return found

    sessions = arena.sessions(4)
    running = [
        each.do(lambda each=each, n=n: settle(each, WORK if n == 3 else LOOK, f"w-{n}"))  # type: ignore[misc]
        for n, each in enumerate(sessions)
    ]
    assert Counter(command for each in running for command in each.result()) == Counter(list(answers))
    arena.assert_sound()


def test_a_command_that_somebody_is_claiming_is_passed_over(arena: Arena) -> None:
    one, other = list(unknown(arena, 2))
    first, second = arena.sessions(2)
    held = first.hold(LOOK, {"worker": "first"}).row["command_id"]

    taken = second.start(LOOK, {"worker": "second"})
    assert not arena.settle(second, taken), "it waited"
    assert {held, taken.result().row["command_id"]} == {one, other}
    first.commit()


# -- without the guards ---------------------------------------------------------------------------------

LOCK = ("reconciliation/lock_reconciliation.sql", " for no key update;", ";")
SKIP = ("payments/claim_unknown_command.sql", "      for no key update skip locked\n", "")
Edit = tuple[str, str, str]
CONTROLS: list[tuple[str, Callable[[Arena], None], Edit]] = [
    ("whoever finishes holds the run", test_a_run_that_two_finish_has_its_differences_once, LOCK),
    ("whoever records holds the run", test_a_page_that_comes_while_its_run_is_finished_is_refused, LOCK),
    ("a page is waited for", test_a_run_that_is_finished_while_a_page_comes_has_it, LOCK),
    ("an asker waits for nobody", test_a_command_that_somebody_is_claiming_is_passed_over, SKIP),
]


@pytest.mark.parametrize(
    ("race", "edit"), [each[1:] for each in CONTROLS], ids=[each[0] for each in CONTROLS]
)
def test_without_its_guard_the_race_fails(arena: Arena, race: Callable[[Arena], None], edit: Edit) -> None:
    arena.harmed = True
    arena.patience = 400
    arena.run("alter database " + arena.watch.conn.info.dbname + " set lock_timeout = '1s'")
    mutate(arena.watch.conn, *edit)
    with pytest.raises(AssertionError):
        race(arena)
