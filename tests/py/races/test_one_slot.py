"""Many students at once: as many win as there are seats, the others are told so, nothing is left over."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any
from uuid import UUID

import pytest

from tests.py.races.helpers import BOOK, BOOK_WITH_KEY, Arena, Outcome, Session, new_name, results

FULL = "PT409 slot_unavailable"


def lock_seats(arena: Arena, slot: UUID) -> Session:
    """Nobody gets a seat of this slot until the session lets go."""
    gate = arena.session(None)
    gate.hold("select from booking.slot_seats where slot_id = %(slot)s for no key update", {"slot": slot})
    return gate


def rush(arena: Arena, slot: UUID, students: int) -> list[Outcome]:
    """All of them are seen waiting for the seat before anybody gets it."""
    gate = lock_seats(arena, slot)
    sessions = arena.sessions(students)
    running = [
        each.start(BOOK_WITH_KEY, {"student": new_name("student"), "slot": slot, "key": "my key"})
        for each in sessions
    ]
    arena.wait_all_waiting(sessions)
    gate.rollback()
    return results(running)


def assert_only(arena: Arena, slot: UUID, winners: list[Outcome]) -> None:
    """Of the whole rush, the winners' rows are there and nothing else."""
    ids = sorted(each.row["booking_id"] for each in winners)
    assert [row["id"] for row in arena.bookings_of(slot)] == ids
    assert arena.seats_taken(slot) == len(ids)
    keys = arena.all("select result_id from booking.client_idempotency order by result_id")
    assert [row["result_id"] for row in keys] == ids
    lines = arena.one(
        "select sum(quantity) filter (where metric = 'booked') as booked,"
        " sum(quantity) filter (where metric = 'seats') as seats from booking.stat_deltas"
    )
    assert lines == {"booked": len(ids), "seats": len(ids)}
    assert arena.value("select count(*) from booking.payments") == 0
    assert arena.value("select count(*) from booking.booking_events") == 0
    arena.assert_sound()


@pytest.mark.parametrize("students", [10, 64])
def test_one_of_many_students_gets_the_slot(arena: Arena, students: int) -> None:
    slot = arena.slot()
    found = rush(arena, slot, students)
    winners = [each for each in found if not each.refused]
    assert len(winners) == 1
    assert [each.code for each in found if each.refused] == [FULL] * (students - 1)
    assert_only(arena, slot, winners)


def test_a_class_of_30_takes_30_of_64(arena: Arena) -> None:
    slot = arena.slot(capacity=30, confirmation="instant")
    found = rush(arena, slot, 64)
    winners = [each for each in found if not each.refused]
    assert len(winners) == 30
    assert [each.code for each in found if each.refused] == [FULL] * 34
    assert_only(arena, slot, winners)


def test_50_students_at_50_slots_all_win_and_nobody_waits_for_anybody(arena: Arena) -> None:
    """Each of them keeps the transaction open until all have booked: one who waited would never get there."""
    slots = [arena.slot() for _ in range(50)]
    sessions = arena.sessions(50)
    everybody = threading.Barrier(50, timeout=120)

    def book(session: Session, slot: UUID) -> Outcome:
        found = session.hold(BOOK, {"student": new_name("student"), "slot": slot})
        everybody.wait()
        session.commit()
        return found

    running: list[Future[Outcome]] = [
        session.do(lambda session=session, slot=slot: book(session, slot))  # type: ignore[misc]
        for session, slot in zip(sessions, slots, strict=True)
    ]
    assert {each.code for each in results(running)} == {"ok"}
    assert arena.value("select count(*) from booking.bookings") == 50
    arena.assert_sound()


def test_the_next_in_line_gets_the_slot_when_the_first_rolls_back(arena: Arena) -> None:
    slot = arena.slot()
    first, second = arena.sessions(2)
    assert first.hold(BOOK, {"student": new_name("student"), "slot": slot}).code == "ok"
    running = second.start(BOOK, {"student": new_name("student"), "slot": slot})
    arena.wait_blocked(second, first, running)
    first.rollback()
    assert running.result().code == "ok"
    arena.assert_sound()


def twice(arena: Arena, slot: UUID, query: str, **more: Any) -> tuple[Outcome, Outcome]:
    """The same student, twice at once: the second is seen waiting for the first."""
    first, second = arena.sessions(2)
    wish = {"student": new_name("student"), "slot": slot, **more}
    one = first.hold(query, wish)
    running = second.start(query, wish)
    arena.wait_blocked(second, first, running)
    first.commit()
    return one, running.result()


@pytest.mark.parametrize("capacity", [1, 2, 64])
def test_the_same_student_with_the_same_key_gets_the_same_booking(arena: Arena, capacity: int) -> None:
    slot = arena.slot(capacity=capacity)
    one, other = twice(arena, slot, BOOK_WITH_KEY, key="my key")
    assert one.row["was_created"] is True
    assert other.row["was_created"] is False
    assert {**other.row, "was_created": True} == one.row
    assert_only(arena, slot, [one])


@pytest.mark.parametrize("capacity", [1, 2, 64])
def test_the_same_student_without_a_key_holds_one_seat(arena: Arena, capacity: int) -> None:
    slot = arena.slot(capacity=capacity)
    one, other = twice(arena, slot, BOOK)
    assert other.code == "PT409 duplicate_booking"
    assert str(one.row["booking_id"]) in other.detail
    assert arena.seats_taken(slot) == 1
    arena.assert_sound()


def test_eight_requests_with_one_key_make_one_booking(arena: Arena) -> None:
    slot = arena.slot(capacity=64)
    gate = lock_seats(arena, slot)
    sessions = arena.sessions(8)
    wish = {"student": new_name("student"), "slot": slot, "key": "my key"}
    running = [each.start(BOOK_WITH_KEY, wish) for each in sessions]
    arena.wait_all_waiting(sessions)
    gate.rollback()
    found = results(running)
    assert len({each.row["booking_id"] for each in found}) == 1
    assert sorted(each.row["was_created"] for each in found) == [False] * 7 + [True]
    assert_only(arena, slot, [each for each in found if each.row["was_created"]])


def test_a_key_whose_first_request_was_refused_is_free_for_the_second(arena: Arena) -> None:
    slot = arena.slot()
    first, second, holder = arena.sessions(3)
    wish = {"student": new_name("student"), "slot": slot, "key": "my key"}
    assert holder.hold(BOOK, {"student": new_name("student"), "slot": slot}).code == "ok"
    one = first.start(BOOK_WITH_KEY, wish)
    arena.wait_blocked(first, holder, one)
    other = second.start(BOOK_WITH_KEY, wish)
    arena.wait_blocked(second, first, other)
    holder.commit()
    assert [one.result().code, other.result().code] == [FULL, FULL]
    assert arena.value("select count(*) from booking.client_idempotency") == 0
    arena.assert_sound()
