"""Rows of the table: two sides, measured one after the other in the same run, round by round."""

from __future__ import annotations

import importlib
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.drive import Sample
from bench.stage import Stage

ROWS = Path(__file__).parent / "rows"


@dataclass(frozen=True)
class Row:
    """`floor` and `ours` take one sample each, in turns, round after round. The target is a lower bound."""

    name: str
    title: str
    floor_title: str
    floor: Callable[[int], Sample]
    ours: Callable[[int], Sample]
    target: float | None
    check: Callable[[], None] = lambda: None
    """Afterwards: raises when the books are wrong."""


@dataclass(frozen=True)
class Size:
    """How much is done. A quick run only shows that everything works."""

    calls: int = 32_000
    rounds: int = 7
    bookings: int = 1_000_000
    largest: int = 10_000_000
    quick: bool = False

    @property
    def smallest(self) -> int:
        """What the largest number of bookings is compared with."""
        return max(200, self.largest // 1000)

    @property
    def groups(self) -> int:
        """Two a round, of bookings that expire before the next group does."""
        return 2 * (self.rounds + 1)

    @property
    def group(self) -> int:
        """Bookings of each."""
        return self.smallest // self.groups

    @property
    def loaded(self) -> int:
        """Calls of all rounds, the one that warms up included."""
        return self.calls * (self.rounds + 1)


QUICK = Size(calls=64, rounds=1, bookings=2_000, largest=4_000, quick=True)


class Subject(Protocol):
    """A module of rows/."""

    def rows(self, stage: Stage, size: Size) -> Iterator[Row]: ...


@dataclass
class Result:
    """What a row came to."""

    name: str
    title: str
    floor_title: str
    target: float | None
    floor: list[dict[str, float]] = field(default_factory=list)
    ours: list[dict[str, float]] = field(default_factory=list)
    spin_ms: list[float] = field(default_factory=list)
    """A fixed piece of work, timed before each round: how even the machine was."""

    @property
    def ratio(self) -> float:
        """Median against median."""
        return self.median("ours") / self.median("floor")

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest ratio of a single round."""
        ratios = [ours["rate"] / floor["rate"] for floor, ours in zip(self.floor, self.ours, strict=True)]
        return min(ratios), max(ratios)

    @property
    def cpu_ratio(self) -> float:
        """The same of the machine's CPU a call: floor against ours."""
        ours = self.median("ours", "cpu_us")
        return self.median("floor", "cpu_us") / ours if ours else 0.0

    @property
    def noise(self) -> float:
        """How far the machine's own speed went apart between rounds, as a share of its median."""
        return (max(self.spin_ms) - min(self.spin_ms)) / statistics.median(self.spin_ms)

    def median(self, side: str, what: str = "rate") -> float:
        """Of the rounds of a side."""
        return float(statistics.median(sample[what] for sample in getattr(self, side)))


def measure(row: Row, rounds: int, show: Callable[[str], None] = lambda _: None) -> Result:
    """A B A B ...; a first round warms both sides up and is not counted."""
    result = Result(row.name, row.title, row.floor_title, row.target)
    for number in range(rounds + 1):
        spin = spin_ms()
        floor, ours = row.floor(number), row.ours(number)
        if number == 0 and rounds > 1:
            continue
        result.spin_ms.append(spin)
        result.floor.append(asdict(floor))
        result.ours.append(asdict(ours))
        show(f"{row.name} {number}: {floor.rate:,.0f} {ours.rate:,.0f} = {ours.rate / floor.rate:.2f}")
        if rounds == 1:
            break
    row.check()
    return result


def subject(name: str) -> Any:
    """The module of that name."""
    return importlib.import_module(f"bench.rows.{name}")


def subjects() -> list[str]:
    """All of them."""
    return sorted(path.stem for path in ROWS.glob("[!_]*.py"))


def spin_ms() -> float:
    """Milliseconds for a fixed piece of work of one processor."""
    begin = time.perf_counter()
    sum(range(2_000_000))
    return (time.perf_counter() - begin) * 1000


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpus": os.cpu_count(),
        "cpu": model[0].partition(":")[2].strip() if model else platform.processor(),
        "kernel": platform.release(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
