"""What the demo prints: numbered steps, what was asked, what came back, what held."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")


class StepFailed(Exception):
    """A step did not hold."""

    def __init__(self, what: str, expected: object, came: object) -> None:
        super().__init__(f"{what}: expected {expected!r}, came {came!r}")
        self.what = what
        self.expected = expected
        self.came = came


class Console:
    """Prints a story of steps. Ids are shortened to their last part, which is the random one."""

    def __init__(self, write: Callable[[str], None] = click.echo) -> None:
        self._write = write
        self._began = time.monotonic()
        self.steps = 0
        self.title = "the start"

    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def note(self, text: str) -> None:
        self._write(text)

    def step(self, title: str) -> None:
        self.steps += 1
        self.title = title
        self._write("")
        self._write(click.style(f"{self.steps:2}  {title}", bold=True))

    def asked(self, what: str, who: str = "") -> None:
        """`who`: the person or the role that asks."""
        self._write(f"      {click.style('->', fg='cyan')} {short(what):<74} {who}".rstrip())

    def came(self, answer: str) -> None:
        self._write(f"      {click.style('<-', fg='cyan')} {short(answer)}")

    def table(self, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        cells = [list(head), *([short(str(cell)) for cell in row] for row in rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
        for row in cells:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self._write(f"         {line}".rstrip())

    def expect(self, what: str, came: object, expected: object) -> None:
        """Prints that it held, or raises StepFailed."""
        if came != expected:
            raise StepFailed(what, expected, came)
        self._write(f"      {click.style('ok', fg='green')} {what}")

    def failed(self, error: StepFailed) -> None:
        self._write(click.style(f"\nFAILED in step {self.steps} ({self.title}): {error.what}", fg="red"))
        self._write(f"      expected  {_plain(error.expected)}")
        self._write(f"      came      {_plain(error.came)}")


def short(text: str) -> str:
    """Without the parts of ids that a reader has no use for."""
    return _UUID.sub(lambda found: f"..{found.group()[-6:]}", text)


def fields(answer: Mapping[str, Any], *names: str) -> str:
    """Some fields of an answer in one line."""
    return ", ".join(f"{name} {_plain(answer.get(name))}" for name in names)


def money(amount: int, currency: str) -> str:
    """Minor units of a currency with two decimals, for a person."""
    return f"{amount // 100}.{amount % 100:02} {currency}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
