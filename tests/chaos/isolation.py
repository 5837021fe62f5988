"""PostgreSQL's own isolation tester: specs as text, the tool that runs them, and what it printed taken apart.

A spec is a few sessions, each of which begins a transaction with one call and commits it, and the orders in
which these steps are to be taken. The tester sees for itself when a step waits for another session's lock.
It waits for a step before it takes the session's next one; so no order may end a transaction that then still
waits for somebody who ends later.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

from glue.embedded import embedded_bin_dir

_BELOW = "pgxs/src/test/isolation/isolationtester"
_DEBIAN_15 = Path("/usr/lib/postgresql/15/lib") / _BELOW
PATIENCE = 20
"""Seconds after which a step that waits is given up."""


@dataclass(frozen=True)
class Step:
    """What one session does in its transaction. `skips`: it leaves out what is locked."""

    name: str
    sql: str
    role: str = "booking_app"
    skips: bool = False


@dataclass
class Permutation:
    """One order of steps, and what each of them was answered: rows or errors, without ids and times."""

    steps: list[str]
    answers: dict[str, list[str]] = field(default_factory=dict)
    has_waited: bool = False
    """Whether a step was seen waiting for another session."""

    def errors(self) -> list[tuple[str, str]]:
        """Step and message of each error."""
        return [
            (step, line.partition(":")[2].strip())
            for step, lines in self.answers.items()
            for line in lines
            if re.match(r"(ERROR|FATAL|PANIC):", line)
        ]


def program(version: int) -> Path:
    """The tester that came with this major version, or with another one: they do the same."""
    wheel = embedded_bin_dir().parent / "lib/postgresql" / _BELOW
    found = [
        path for path in ((_DEBIAN_15, wheel) if version == 15 else (wheel, _DEBIAN_15)) if path.exists()
    ]
    if not found:
        raise FileNotFoundError(f"no isolationtester: neither {wheel} nor {_DEBIAN_15}")
    return found[0]


def spec(start: str, steps: Sequence[Step], chosen: Sequence[Sequence[str]]) -> str:
    """The text of a spec: a booking as `start` says, a session a step, and the orders that are chosen."""
    names = session_names(steps)
    parts = [
        f"setup {{ do $$ begin perform tester.open('{start}'); end $$; }}",
        "teardown { do $$ begin perform tester.close(); end $$; }",
    ]
    for name, step in zip(names, steps, strict=True):
        parts += [
            f"session {name}",
            f"setup {{ set role {step.role}; }}",
            f"step {name} {{ begin; {step.sql}; }}",
            f"step {name}_ends {{ commit; }}",
            f"step {name}_whole {{ {step.sql}; }}",
        ]
    parts += [f"permutation {' '.join(order)}" for order in chosen]
    return "\n".join(parts) + "\n"


def session_names(steps: Sequence[Step]) -> list[str]:
    """What the sessions are called: their step, numbered where it is there twice."""
    names = [step.name for step in steps]
    return [
        f"{name}_{names[:place].count(name) + 1}" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def serial(names: Sequence[str]) -> list[list[str]]:
    """One transaction after the other, in every order."""
    return [[word for name in each for word in (name, f"{name}_ends")] for each in permutations(names)]


def overlapping(names: Sequence[str]) -> list[list[str]]:
    """Every order in which each transaction meets another one, of two: the second comes while the first is
    open. Of three: all come before the first ends; or the third comes between the ends of the two others.

    Of two that wait for the same, either may come first. So those end themselves.
    """
    found = []
    for each in permutations(names):
        ends = [f"{name}_ends" for name in each]
        if len(each) == 2:
            found.append([*each, *ends])
        else:
            found.append([each[0], f"{each[1]}_whole", f"{each[2]}_whole", ends[0]])
            found.append([each[0], each[1], ends[0], each[2], *ends[1:]])
    return found


def run(url: str, version: int, text: str) -> list[Permutation]:
    """Let the tester run a spec. Raises RuntimeError when it breaks off."""
    done = subprocess.run(
        [program(version), url],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PGISOLATIONTIMEOUT": str(PATIENCE),
            "PG_TEST_TIMEOUT_DEFAULT": str(PATIENCE // 2),
        },
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"the isolation tester broke off: {done.stderr[-2000:]}\n{done.stdout[-2000:]}\n{text}"
        )
    return list(parsed(done.stdout))


def parsed(output: str) -> Iterator[Permutation]:
    """The permutations of the tester's output."""
    current: Permutation | None = None
    step = ""
    for line in output.splitlines():
        if line.startswith("starting permutation: "):
            if current is not None:
                yield current
            current, step = Permutation(line.partition(": ")[2].split()), ""
        elif current is not None and (found := re.match(r"step (\w+): ", line)):
            step = found[1].removesuffix("_whole")
            current.answers.setdefault(step, [])
            current.has_waited |= line.endswith("<waiting ...>")
            if "isolationtester: canceling" in line:
                current.answers[step].append("ERROR:  " + line)
        elif current is not None and line.startswith("isolationtester: canceling"):
            current.answers.setdefault(step, []).append(f"ERROR:  {line}")
        elif current is not None and line.strip() and not re.fullmatch(r"[-+]+", line.strip()):
            current.answers.setdefault(step, []).append(re.sub(r"\s*\|\s*", "|", line.strip()))
    if current is not None:
        yield current
