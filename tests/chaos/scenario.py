"""What a scenario is, and how one is run: tries with a seed each, counted, with a guard taken away if asked.

A new scenario is a new module in `tests/chaos/scenarios` with a `SCENARIO`; its name is the module's.
"""

from __future__ import annotations

import importlib
import random
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from tests.chaos.place import Place

S = TypeVar("S")
T = TypeVar("T")
_HERE = Path(__file__).parent / "scenarios"


class Violation(AssertionError):
    """What was promised does not hold."""


def require(holds: object, what: str) -> None:
    """Raises Violation unless it holds."""
    if not holds:
        raise Violation(what)


@dataclass(frozen=True)
class Control:
    """A guard taken away: the same tries must report violations then, else they show nothing.

    `edits`: function file in db/functions, what stands there, what is to stand there. `sql`: statements for
    the database. `python`: a function of a module (child processes import it) that breaks this process and
    gives back how to mend it.
    """

    name: str
    edits: tuple[tuple[str, str, str], ...] = ()
    sql: tuple[str, ...] = ()
    python: Callable[[], Callable[[], None]] | None = None
    tries: int = 0
    """How many in a full run; 0: as many as the scenario itself."""
    first: int = 0
    """The try with which the short run begins, where a violation needs rare circumstances."""


@dataclass
class Report:
    """One run of a scenario."""

    scenario: str
    control: str | None
    seed: int
    tried: int = 0
    violations: int = 0
    seconds: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    """How many tries of each kind."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What was measured beside it."""
    only: int | None = None
    """The number of the one try that was made."""
    found: list[dict[str, Any]] = field(default_factory=list)
    """The first violations: number of the try, kind of fault, what was violated."""

    @property
    def as_expected(self) -> bool:
        return (self.violations > 0) == (self.control is not None) and self.tried > 0


class Scenario(ABC, Generic[S]):
    """Tries of one kind of fault. Each begins and ends healed, and raises Violation if a promise was broken.

    `tries`: in a full run; `short`: in the run inside `make test`, a few seconds. `per_stage`: after so many
    tries, and after each violation, everything begins anew, so that no try suffers from another one.
    """

    title: ClassVar[str]
    tries: ClassVar[int]
    short: ClassVar[int]
    per_stage: ClassVar[int] = 50
    controls: ClassVar[tuple[Control, ...]] = ()
    quick = False
    """The short run: what takes real time takes less of it."""

    @property
    def name(self) -> str:
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def stage(self, place: Place, removed: Control | None) -> AbstractContextManager[S]:
        """Where tries take place, without the guard of the control."""

    @abstractmethod
    def attempt(self, stage: S, number: int, rng: random.Random) -> str:
        """One fault, healed and judged; says what kind it was. Raises Violation."""

    def facts(self) -> dict[str, Any]:
        """What was measured in all tries so far, for the report."""
        return {}


def names() -> list[str]:
    """All scenarios there are."""
    return sorted(path.stem for path in _HERE.glob("[a-z]*.py"))


def load(name: str) -> Scenario[Any]:
    """A new instance of the scenario of this name."""
    scenario: type[Scenario[Any]] = importlib.import_module(f"tests.chaos.scenarios.{name}").SCENARIO
    return scenario()


def run(
    scenario: Scenario[Any],
    place: Place,
    *,
    seed: int,
    tries: int,
    control: Control | None = None,
    only: int | None = None,
    first: int = 0,
    until_violated: bool = False,
    show: Callable[[str], None] = lambda _: None,
) -> Report:
    """Make the tries. `only`: just the try of that number, as in the whole run of the same seed; `first`:
    leave those before it out."""
    report = Report(scenario.name, control.name if control else None, seed, only=only)
    began = time.monotonic()
    numbers = [only] if only is not None else list(range(first, tries))
    broken = control.python() if control and control.python else None
    try:
        with ExitStack() as current:
            stage: Any = None
            used = 0
            for number in numbers:
                if stage is None or used >= scenario.per_stage:
                    current.close()
                    stage, used = current.enter_context(scenario.stage(place, control)), 0
                used += 1
                report.tried += 1
                violated = _one(scenario, stage, number, report)
                if violated:
                    stage = None
                    show(f"try {number}: {violated}")
                    if until_violated:
                        break
                elif report.tried % 100 == 0:
                    show(f"{report.tried} of {len(numbers)} tried, {report.violations} violations")
    finally:
        if broken is not None:
            broken()
    report.seconds = round(time.monotonic() - began, 1)
    report.facts = scenario.facts()
    return report


def _one(scenario: Scenario[Any], stage: Any, number: int, report: Report) -> str:
    """One try; what it violated, or nothing. An error that nobody expected is no pass."""
    rng = random.Random(f"{report.seed}/{number}")
    try:
        kind = scenario.attempt(stage, number, rng)
        report.kinds[kind] = report.kinds.get(kind, 0) + 1
    except Exception as error:
        what = str(error) if isinstance(error, Violation) else "".join(traceback.format_exception(error))
        kind = getattr(stage, "kind", "")
        report.violations += 1
        if len(report.found) < 20:
            report.found.append({"try": number, "kind": kind, "what": what[-2000:]})
        return f"{kind}: {what}"
    return ""


def spread(rows: Sequence[T], number: int) -> T:
    """The row for a try: every row once in a drawn order, again and again, so that few tries see much."""
    turn, place = divmod(number, len(rows))
    order = list(rows)
    random.Random(f"turn {turn}").shuffle(order)
    return order[place]
