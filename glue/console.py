"""How the command line prints: tables for people, JSON for scripts, progress on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import click

Report = Callable[[str, str, int, int], None]


@contextmanager
def progress(*, quiet: bool) -> Iterator[Report]:
    """Yields report(phase, name, number, total): a bar a phase on a terminal, a line an item elsewhere."""
    if quiet:
        yield _nothing
    elif not sys.stderr.isatty():
        yield _line
    else:
        with _bars() as report:
            yield report


@contextmanager
def _bars() -> Iterator[Report]:
    bars: dict[str, Any] = {}

    def report(phase: str, name: str, number: int, total: int) -> None:  # noqa: ARG001 - the bar counts
        if phase not in bars:
            for bar in bars.values():
                bar.render_finish()
            bars[phase] = click.progressbar(
                length=total, label=f"{phase}s", file=sys.stderr, item_show_func=lambda item: item or ""
            )
        bars[phase].update(1, name)

    try:
        yield report
    finally:
        for bar in bars.values():
            bar.render_finish()


@contextmanager
def counter(label: str, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Yields show(n): how far work of unknown length has come, in one line of a terminal."""
    shown = not quiet and sys.stderr.isatty()

    def show(number: int) -> None:
        if shown:
            click.echo(f"\r{label}: {number}", nl=False, err=True)

    try:
        yield show
    finally:
        if shown:
            click.echo("\r\033[K", nl=False, err=True)


@contextmanager
def bar(label: str, total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Yields advance(n): a progress bar on a terminal, nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as shown:
        yield shown.update


def _line(phase: str, name: str, number: int, total: int) -> None:
    click.echo(f"{phase} {number}/{total}: {name}", err=True)


def _nothing(phase: str, name: str, number: int, total: int) -> None:  # noqa: ARG001
    return None


def print_json(value: Any) -> None:
    """JSON on standard output: instants as ISO 8601, intervals as seconds, ids as text."""
    click.echo(json.dumps(value, default=_as_json, indent=2))


def _as_json(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    return float(value)


def plain(value: Any) -> str:
    """One cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as their widest cell."""
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    table.insert(1, ["-" * width for width in widths])
    for row in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def count(items: Sequence[object], what: str) -> str:
    """'1 migration', '2 migrations'."""
    return f"{len(items)} {what}{'' if len(items) == 1 else 's'}"
