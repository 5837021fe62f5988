"""Seats of a class, spread over several counters: never oversold, never refused while one is free."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from tests.py.races.helpers import (
    BOOK,
    CANCEL,
    CLEANUP,
    Arena,
    Outcome,
    Row,
    Session,
    new_name,
    results,
)

PER_COUNTER = 16


def open_counter(arena: Arena, slot: UUID) -> int:
    """The one counter that has a seat left."""
    return int(
        arena.value(
            "select part from booking.slot_seats where slot_id = %(slot)s and taken < capacity",
            {"slot": slot},
        )
    )


def someone_in(arena: Arena, slot: UUID, part: int, *, offset: int = 0) -> Row:
    """A booking of this counter and who may cancel it, as parameters."""
    return arena.one(
        "select id as booking, student_id as who from booking.bookings where slot_id = %(slot)s"
        " and seat_part = %(part)s and status = 'pending' order by id limit 1 offset %(offset)s",
        {"slot": slot, "part": part, "offset": offset},
    )


def nearly_full(arena: Arena, counters: int, part: int) -> UUID:
    """A class whose one free seat is in this counter."""
    slot = arena.slot(capacity=counters * PER_COUNTER)
    arena.fill(slot, counters * PER_COUNTER)
    assert arena.watch.call(CANCEL, someone_in(arena, slot, part)).code == "ok"
    assert open_counter(arena, slot) == part
    return slot


def buy(slot: UUID) -> Row:
    return {"student": new_name("student"), "slot": slot}


def make_due(arena: Arena, *bookings: Row) -> None:
    arena.run(
        "update booking.bookings set created_at = created_at - interval '1 hour' where id = any(%(ids)s)",
        {"ids": [each["booking"] for each in bookings]},
    )


def test_600_seats_under_800_buyers_sell_exactly_600(arena: Arena) -> None:
    slot = arena.slot(capacity=600)
    sessions = arena.sessions(40)

    def buyer(session: Session) -> list[Outcome]:
        return [session.call(BOOK, buy(slot)) for _ in range(20)]

    with ThreadPoolExecutor(len(sessions)) as pool:
        codes = [outcome.code for found in pool.map(buyer, sessions) for outcome in found]
    assert sorted(set(codes)) == ["PT409 slot_unavailable", "ok"]
    assert codes.count("ok") == 600
    assert arena.seats_taken(slot) == 600
    assert arena.value("select count(*) from booking.slot_seats where slot_id = %(s)s", {"s": slot}) == 32
    arena.assert_sound()


def test_nobody_is_refused_while_seats_come_and_go_and_there_is_one_for_everybody(arena: Arena) -> None:
    """Sixty seats, thirty buyers who never hold more than two each: a refusal is always wrong."""
    slot = arena.slot(capacity=60)
    sessions = arena.sessions(30)
    seed = 20261121
    print(f"seed {seed}")

    def buyer(number: int) -> list[Outcome]:
        session, rng = sessions[number], random.Random(seed + number)
        held: list[tuple[UUID, str]] = []
        found: list[Outcome] = []
        for _ in range(25):
            if len(held) == 2 or (held and rng.random() < 0.3):
                booking, student = held.pop(rng.randrange(len(held)))
                found.append(session.call(CANCEL, {"who": student, "booking": booking}))
            else:
                wish = buy(slot)
                found.append(session.call(BOOK, wish))
                if not found[-1].refused:
                    held.append((found[-1].row["booking_id"], wish["student"]))
        return found

    with ThreadPoolExecutor(len(sessions)) as pool:
        codes = {outcome.code for found in pool.map(buyer, range(len(sessions))) for outcome in found}
    assert codes == {"ok"}
    arena.assert_sound()


def test_whoever_waits_for_the_last_counter_gets_its_seat_when_the_holder_rolls_back(arena: Arena) -> None:
    slot = nearly_full(arena, 3, part=1)
    holder, buyer = arena.sessions(2)
    assert holder.hold(BOOK, buy(slot)).code == "ok"
    buying = buyer.start(BOOK, buy(slot))
    arena.wait_blocked(buyer, holder, buying)
    holder.rollback()
    assert buying.result().code == "ok"
    assert arena.seats_taken(slot) == 48
    arena.assert_sound()


def test_whoever_waits_for_the_last_counter_is_refused_when_the_holder_commits(arena: Arena) -> None:
    slot = nearly_full(arena, 3, part=1)
    holder, buyer = arena.sessions(2)
    assert holder.hold(BOOK, buy(slot)).code == "ok"
    buying = buyer.start(BOOK, buy(slot))
    arena.wait_blocked(buyer, holder, buying)
    holder.commit()
    assert buying.result().code == "PT409 slot_unavailable"
    assert arena.seats_taken(slot) == 48
    arena.assert_sound()


def test_whoever_waited_in_vain_gets_a_seat_that_came_free_elsewhere_meanwhile(arena: Arena) -> None:
    slot = nearly_full(arena, 3, part=2)
    holder, buyer, leaver = arena.sessions(3)
    assert holder.hold(BOOK, buy(slot)).code == "ok"
    buying = buyer.start(BOOK, buy(slot))
    arena.wait_blocked(buyer, holder, buying)
    assert leaver.call(CANCEL, someone_in(arena, slot, 0)).code == "ok"
    holder.commit()
    assert buying.result().code == "ok"
    assert arena.seats_taken(slot) == 48
    arena.assert_sound()


def test_every_waiter_gets_a_seat_when_the_holders_of_all_counters_roll_back(arena: Arena) -> None:
    slot = arena.slot(capacity=600)
    arena.fill(slot, 600 - 32)
    gate = arena.session(None)
    gate.hold("select from booking.slot_seats where slot_id = %(slot)s for no key update", {"slot": slot})
    buyers = arena.sessions(40)
    buying = [each.start(BOOK, buy(slot)) for each in buyers]
    arena.wait_all_waiting(buyers)
    gate.rollback()
    codes = [outcome.code for outcome in results(buying)]
    assert codes.count("ok") == 32
    assert codes.count("PT409 slot_unavailable") == 8
    arena.assert_sound()


def test_a_buyer_who_waited_in_vain_and_a_cleanup_do_not_wait_for_each_other(arena: Arena) -> None:
    """The buyer keeps the counter that filled and wants a lower one; the cleanup takes them ascending."""
    slot = nearly_full(arena, 2, part=1)
    holder, buyer, leaver, sweeper = *arena.sessions(3), arena.session("booking_cron")
    due = someone_in(arena, slot, 0), someone_in(arena, slot, 1)
    assert holder.hold(BOOK, buy(slot)).code == "ok"
    buying = buyer.start(BOOK, buy(slot))
    arena.wait_blocked(buyer, holder, buying)
    assert leaver.call(CANCEL, someone_in(arena, slot, 0, offset=1)).code == "ok"  # a seat comes free
    make_due(arena, *due)
    sweeping = sweeper.start(CLEANUP)
    arena.settle(sweeper, sweeping)
    holder.commit()
    assert buying.result().code == "ok"
    assert sweeping.result().value == 1, "the counter that somebody is writing is left to the next run"
    assert sweeper.call(CLEANUP).value == 1
    arena.assert_sound()


def test_a_repair_of_counters_waits_for_no_buyer(arena: Arena) -> None:
    slot = arena.slot(capacity=2 * PER_COUNTER)
    arena.fill(slot, 20)
    # one less: one more would be too many where a counter happens to be full
    arena.run("update booking.slot_seats set taken = taken - 1 where slot_id = %(slot)s", {"slot": slot})
    gate, sweeper = arena.session(None), arena.session("booking_cron")
    gate.hold(
        "select from booking.slot_seats where slot_id = %(slot)s and part = 0 for no key update",
        {"slot": slot},
    )
    assert sweeper.call("select booking.cleanup_orphaned_slots()").value == 1
    gate.rollback()
    assert sweeper.call("select booking.cleanup_orphaned_slots()").value == 1
    assert sweeper.call("select booking.cleanup_orphaned_slots()").value == 0
    assert "seats_match_bookings" not in [row["invariant"] for row in arena.invariants()]


def test_a_cleanup_leaves_the_bookings_that_somebody_works_on_to_the_next_run(arena: Arena) -> None:
    slot = arena.slot(capacity=5 * PER_COUNTER)
    arena.fill(slot, 60)
    bookings = arena.all(
        "select id as booking, student_id as who from booking.bookings where slot_id = %(slot)s",
        {"slot": slot},
    )
    make_due(arena, *bookings)
    payer, sweeper = arena.session(), arena.session("booking_cron")
    payer.hold(
        "select * from booking.prepare_payment_intent(p_student_id => %(who)s, p_booking_id => %(booking)s)",
        bookings[0],
    )
    assert sweeper.call(CLEANUP).value == 59
    assert sweeper.call(CLEANUP).value == 0
    payer.commit()
    assert sweeper.call(CLEANUP).value == 1
    assert arena.seats_taken(slot) == 0
    arena.assert_sound()


def test_cleanups_and_people_in_one_class_never_deadlock(arena: Arena) -> None:
    """Three cleanups sweep what is due while twenty-four people book, pay, cancel in the same class."""
    slot = arena.slot(capacity=100)
    people, sweepers = arena.sessions(24), arena.sessions(3, "booking_cron")
    hands = arena.sessions(24, None)
    seed = 7
    print(f"seed {seed}")

    def person(number: int) -> list[Outcome]:
        rng, session, found = random.Random(seed + number), people[number], []
        for _ in range(15):
            wish = buy(slot)
            found.append(session.call(BOOK, wish))
            if found[-1].refused:
                continue
            booking = found[-1].row["booking_id"]
            match rng.randrange(3):
                case 0:
                    found.append(session.call(CANCEL, {"who": wish["student"], "booking": booking}))
                case 1:
                    found.append(
                        session.call(
                            "select * from booking.prepare_payment_intent(p_student_id => %(student)s,"
                            " p_booking_id => %(booking)s)",
                            {**wish, "booking": booking},
                        )
                    )
                case 2:
                    hands[number].call(
                        "update booking.bookings set created_at = created_at - interval '1 hour'"
                        " where id = %(b)s",
                        {"b": booking},
                    )
                    found.append(session.call(CANCEL, {"who": wish["student"], "booking": booking}))
        return found

    def sweep(session: Session) -> list[Outcome]:
        return [session.call(CLEANUP) for _ in range(60)]

    with ThreadPoolExecutor(40) as pool:
        sweeping = [pool.submit(sweep, each) for each in sweepers]
        found = [outcome for each in pool.map(person, range(len(people))) for outcome in each]
        found += [outcome for each in sweeping for outcome in each.result()]
    assert {each.code for each in found} <= {"ok", "PT409 slot_unavailable", "PT409 already_processed"}
    arena.assert_sound()
