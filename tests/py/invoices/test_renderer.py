"""Rendering in child processes: kept by version, shared, retried, given up in time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from glue.invoices.renderer import ATTEMPTS, MOST_WARMED, InvoiceUnavailable, Render, Renderer
from glue.turns import Turns
from tests.py.invoices import renders

Start = Callable[..., Renderer]
LONG = 120.0  # seconds; a loaded machine takes its time to start a process


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts renderers that end with the test."""
    made: list[Renderer] = []

    def begin(render: Render, *, timeout: float = LONG, cache_ttl: float = 300, **more: Any) -> Renderer:
        made.append(Renderer(timeout=timeout, cache_ttl=cache_ttl, render=render, **more))
        return made[-1]

    yield begin
    for each in made:
        each.close()


class Desk:
    """Invoices, and what was rendered of them."""

    def __init__(self, folder: Path) -> None:
        self.log, self.go = folder / "log", folder / "go"

    def invoice(self, number: int = 1, version: int = 1) -> dict[str, Any]:
        return {"invoice_id": number, "version": version, "log": str(self.log), "go": str(self.go)}

    @property
    def rendered(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.01)


def test_a_version_is_rendered_once(start: Start, desk: Desk) -> None:
    renderer = start(renders.well)
    assert [renderer.pdf(desk.invoice()) for _ in range(3)] == [b"1 v1"] * 3
    assert desk.rendered == ["1 v1"]


def test_every_version_is_another_pdf(start: Start, desk: Desk) -> None:
    renderer = start(renders.well)
    assert renderer.pdf(desk.invoice(1, 1)) == b"1 v1"
    assert renderer.pdf(desk.invoice(1, 2)) == b"1 v2"
    assert renderer.pdf(desk.invoice(2, 1)) == b"2 v1"
    assert renderer.pdf(desk.invoice(1, 1)) == b"1 v1"
    assert desk.rendered == ["1 v1", "1 v2", "2 v1"]


def test_a_pdf_is_kept_for_its_time(start: Start, desk: Desk) -> None:
    clock = Clock()
    renderer = start(renders.well, cache_ttl=300, clock=clock)
    renderer.pdf(desk.invoice())
    clock.now += 299.9
    renderer.pdf(desk.invoice())
    assert len(desk.rendered) == 1
    clock.now += 0.2
    renderer.pdf(desk.invoice())
    assert len(desk.rendered) == 2


def test_what_is_kept_is_bounded(start: Start, desk: Desk) -> None:
    renderer = start(renders.large)
    renderer.pdf(desk.invoice(1))
    renderer.pdf(desk.invoice(2))
    renderer.pdf(desk.invoice(2))
    assert len(desk.rendered) == 2
    renderer.pdf(desk.invoice(1))
    assert len(desk.rendered) == 3


def test_requests_at_once_share_one_rendering(start: Start, desk: Desk) -> None:
    renderer = start(renders.waits, most_waiting=8)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(renderer.pdf, desk.invoice()) for _ in range(8)]
        until(lambda: renderer._waiting == 8)
        desk.go.touch()
        assert {each.result() for each in asked} == {b"made"}
    assert desk.rendered == ["1 v1"]


def test_a_rendering_that_hangs_is_given_up_and_the_next_one_works(start: Start, desk: Desk) -> None:
    renderer = start(renders.hangs_on_the_first, timeout=5)
    with pytest.raises(InvoiceUnavailable):
        renderer.pdf(desk.invoice())
    made: list[bytes] = []

    def works() -> bool:
        try:
            made.append(renderer.pdf(desk.invoice(2)))
        except InvoiceUnavailable:
            return False
        return True

    until(works)
    assert made == [b"made"]


def test_only_so_many_wait(start: Start, desk: Desk) -> None:
    renderer = start(renders.waits, most_waiting=2)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(renderer.pdf, desk.invoice(number)) for number in (1, 2)]
        until(lambda: renderer._waiting == 2)
        with pytest.raises(InvoiceUnavailable) as refusal:
            renderer.pdf(desk.invoice(3))
        assert refusal.value.retry_after == 1
        desk.go.touch()
        assert [each.result() for each in asked] == [b"made"] * 2
    assert renderer.pdf(desk.invoice(3)) == b"made"


def test_who_waits_for_a_pdf_gives_others_a_turn(start: Start, desk: Desk) -> None:
    renderer, turns = start(renders.waits), Turns(1)

    def ask() -> bytes:
        turns.keep()
        return renderer.pdf(desk.invoice())

    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(ask)
        until(lambda: renderer._waiting == 1)
        pool.submit(turns.keep).result(LONG)
        desk.go.touch()
        assert asked.result() == b"made"


def test_a_kept_pdf_is_given_also_when_too_many_wait(start: Start, desk: Desk) -> None:
    renderer = start(renders.waits, most_waiting=1)
    desk.go.touch()
    renderer.pdf(desk.invoice(1))
    desk.go.unlink()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(renderer.pdf, desk.invoice(2))
        until(lambda: renderer._waiting == 1)
        assert renderer.pdf(desk.invoice(1)) == b"made"
        desk.go.touch()
        asked.result()


@pytest.mark.parametrize(("render", "tries"), [(renders.dies_twice, 3), (renders.fails_once, 2)])
def test_what_fails_is_tried_again(start: Start, desk: Desk, render: Render, tries: int) -> None:
    assert start(render).pdf(desk.invoice()) == b"made"
    assert len(desk.rendered) == tries


def test_a_child_that_always_dies_is_unavailable(start: Start, desk: Desk) -> None:
    with pytest.raises(InvoiceUnavailable):
        start(renders.always_dies).pdf(desk.invoice())
    assert len(desk.rendered) == ATTEMPTS


def test_a_bug_is_raised_as_it_is(start: Start, desk: Desk) -> None:
    with pytest.raises(ValueError, match="always"):
        start(renders.always_fails).pdf(desk.invoice())
    assert len(desk.rendered) == ATTEMPTS


def test_what_was_warmed_is_there(start: Start, desk: Desk) -> None:
    renderer = start(renders.well)
    renderer.warm([desk.invoice(1), desk.invoice(2)])
    until(lambda: len(desk.rendered) == 2 and not renderer._flights)
    assert renderer.pdf(desk.invoice(1)) == b"1 v1"
    renderer.warm([desk.invoice(1)])
    assert not renderer._flights
    assert len(desk.rendered) == 2


def test_warming_has_an_end(start: Start, desk: Desk) -> None:
    renderer = start(renders.waits)
    renderer.warm(desk.invoice(number) for number in range(1000))
    assert len(renderer._flights) == MOST_WARMED
    desk.go.touch()


def test_nothing_is_begun_after_the_end(start: Start, desk: Desk) -> None:
    renderer = start(renders.well)
    renderer.pdf(desk.invoice(1))
    renderer.close()
    with pytest.raises(InvoiceUnavailable):
        renderer.pdf(desk.invoice(2))


def test_a_child_that_is_ended_leaves_no_file(
    start: Start, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    renderer = start(renders.hangs_with_a_file)
    renderer.warm([desk.invoice()])
    until(lambda: desk.rendered != [])
    assert [path.is_file() for path in place.glob("*/*")] == [True]
    renderer.close()
    assert list(place.iterdir()) == []
