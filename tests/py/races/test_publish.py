"""An expert who publishes overlapping slots at once offers one of them."""

from __future__ import annotations

import pytest

from tests.py.races.helpers import Arena, new_name, results

PUBLISH = (
    "select booking.publish_slot(p_expert_id => %(expert)s, p_session_id => %(session)s,"
    " p_starts_at => date_trunc('hour', now()) + interval '10 days' + %(minute)s * interval '1 minute',"
    " p_ends_at => date_trunc('hour', now()) + interval '10 days' + (%(minute)s + 60) * interval '1 minute')"
)
SESSION = "select booking.create_session(%(expert)s, 'An hour', 5000, 'eur')"


@pytest.mark.parametrize("sessions", [2, 12])
def test_one_of_the_overlapping_slots_is_published(arena: Arena, sessions: int) -> None:
    expert = new_name("expert")
    session = arena.value(SESSION, {"expert": expert})
    gate, experts = arena.session(None), arena.sessions(sessions)
    gate.hold("select from booking.experts where expert_id = %(e)s for no key update", {"e": expert})
    running = [
        each.start(PUBLISH, {"expert": expert, "session": session, "minute": 5 * number})
        for number, each in enumerate(experts)
    ]
    arena.wait_all_waiting(experts)
    gate.rollback()
    codes = sorted(each.code for each in results(running))
    assert codes == ["PT409 slot_overlap"] * (sessions - 1) + ["ok"]
    assert arena.value("select count(*) from booking.slots") == 1
    arena.assert_sound()


def test_slots_that_only_touch_are_all_published(arena: Arena) -> None:
    expert = new_name("expert")
    session = arena.value(SESSION, {"expert": expert})
    experts = arena.sessions(10)
    running = [
        each.start(PUBLISH, {"expert": expert, "session": session, "minute": 60 * number})
        for number, each in enumerate(experts)
    ]
    assert {each.code for each in results(running)} == {"ok"}
    arena.assert_sound()


@pytest.mark.parametrize("known", [True, False], ids=["known-expert", "new-expert"])
@pytest.mark.parametrize("first_commits", [True, False], ids=["commits", "rolls-back"])
def test_the_second_waits_for_the_first(arena: Arena, known: bool, first_commits: bool) -> None:
    expert = new_name("expert")
    session = arena.value(SESSION, {"expert": expert}) if known else None
    first, second = arena.sessions(2)
    assert first.hold(PUBLISH, {"expert": expert, "session": session, "minute": 0}).code == "ok"
    running = second.start(PUBLISH, {"expert": expert, "session": session, "minute": 30})
    arena.wait_blocked(second, first, running)
    first.commit() if first_commits else first.rollback()
    assert running.result().code == ("PT409 slot_overlap" if first_commits else "ok")
    assert arena.value("select count(*) from booking.slots") == 1
    arena.assert_sound()


@pytest.mark.parametrize("first", ["price", "publish"])
def test_a_price_that_changes_meanwhile_reaches_the_new_slot(arena: Arena, first: str) -> None:
    expert = new_name("expert")
    session = arena.value(SESSION, {"expert": expert})
    publish = (arena.session(), PUBLISH, {"expert": expert, "session": session, "minute": 0})
    price = (
        arena.session(None),
        "update booking.sessions set amount = 7000, title = 'Dearer' where id = %(session)s",
        {"session": session},
    )
    one, other = (price, publish) if first == "price" else (publish, price)
    assert one[0].hold(*one[1:]).code == "ok"
    running = other[0].start(*other[1:])
    arena.wait_blocked(other[0], one[0], running)
    one[0].commit()
    assert running.result().code == "ok"
    assert arena.value("select amount from booking.slot_seats") == 7000
    assert arena.value("select title from booking.slot_seats") == "Dearer"
    arena.assert_sound()


def test_experts_do_not_wait_for_each_other(arena: Arena) -> None:
    first, second = arena.sessions(2)
    assert first.hold(PUBLISH, {"expert": new_name("expert"), "session": None, "minute": 0}).code == "ok"
    assert second.call(PUBLISH, {"expert": new_name("expert"), "session": None, "minute": 0}).code == "ok"
    first.commit()
    arena.assert_sound()
