"""Counts of requests by a clock that nobody sets."""

from __future__ import annotations

import time

from limits import parse
from limits.strategies import FixedWindowRateLimiter

from glue.windows import Windows


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_window_ends_when_its_seconds_have_passed() -> None:
    clock = Clock()
    windows = Windows(clock=clock)
    limiter = FixedWindowRateLimiter(windows)
    limit = parse("2 per 60 second")
    assert [limiter.hit(limit, "eve") for _ in range(3)] == [True, True, False]
    assert limiter.hit(limit, "bob")
    clock.now += 59.9
    assert not limiter.test(limit, "eve")
    assert not limiter.hit(limit, "eve")
    clock.now += 0.1
    assert limiter.test(limit, "eve")
    assert [limiter.hit(limit, "eve") for _ in range(3)] == [True, True, False]


def test_its_end_is_told_as_a_time_of_day() -> None:
    clock = Clock()
    windows = Windows(clock=clock)
    windows.incr("eve", 60)
    clock.now += 20
    before = time.time()
    assert before + 40 <= windows.get_expiry("eve") <= time.time() + 40
    clock.now += 100
    assert windows.get_expiry("eve") <= time.time()


def test_windows_that_ended_are_forgotten_and_others_are_not() -> None:
    clock = Clock()
    windows = Windows(clock=clock)
    windows.incr("long", 10_000)
    for number in range(5_000):
        windows.incr(f"somebody-{number}", 60)
        clock.now += 1
    assert windows.get("long") == 1
    assert windows.get("somebody-4999") == 1
    assert windows.reset() < 2_000
    assert windows.get("long") == 0


def test_one_is_forgotten_when_asked_to() -> None:
    windows = Windows()
    windows.incr("eve", 60, amount=3)
    windows.incr("bob", 60)
    windows.clear("eve")
    assert (windows.get("eve"), windows.get("bob")) == (0, 1)
    assert windows.check()
