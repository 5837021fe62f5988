"""What runs came to, as JSON lines, and the table of docs/reliability.md that is made of them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.chaos.scenario import Report, load, names

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "results"
DOCUMENT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


def line(report: Report) -> str:
    """One line of JSON."""
    row = {name: value for name, value in asdict(report).items() if name != "only"}
    return json.dumps({**row, "command": command(report)}, sort_keys=True)


def command(report: Report) -> str:
    """What runs the same again."""
    words = [".venv/bin/python", "-m", "tests.chaos", report.scenario]
    words += ["--tries", str(report.tried)] if report.only is None else ["--only", str(report.only)]
    words += ["--seed", str(report.seed)]
    words += ["--control", report.control] if report.control else ["--no-controls"]
    return shlex.join(words)


def save(name: str, lines: Iterable[str]) -> None:
    """Keep the reports of a scenario, as lines, instead of its last ones."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.jsonl").write_text("".join(f"{each}\n" for each in lines))


def seconds(name: str, tries: int) -> float:
    """How long this many tries take, by the last time; a scenario that never ran may take long."""
    rows = [row for row in kept() if row["scenario"] == name]
    return sum(
        row["seconds"] * (tries / row["tried"] if row["control"] is None else 1) for row in rows
    ) or float("inf")


def kept() -> list[dict[str, Any]]:
    """Every report that is kept, by scenario."""
    files = [FOLDER / f"{name}.jsonl" for name in names()]
    return [json.loads(text) for file in files if file.exists() for text in file.read_text().splitlines()]


def table() -> str:
    """The figures as Markdown."""
    rows = [
        "| scenario | guard taken away | tried | violated | seed | seconds | command |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for row in kept():
        title = load(row["scenario"]).title if not row["control"] else ""
        cells = [title, row["control"] or "none", f"{row['tried']:,}", f"{row['violations']:,}", row["seed"]]
        cells += [f"{row['seconds']:,.0f}", f"`{row['command']}`"]
        rows.append(_row(*cells))
    rows += ["", "What was counted and measured beside it:", ""]
    rows += ["| scenario | what | figure |", "|---|---|---|"]
    rows += [
        _row(row["scenario"], *fact)
        for row in kept()
        if not row["control"]
        for name, value in row["facts"].items()
        for fact in _facts(name, value)
    ]
    rows += ["", "How many tries there were of each kind:", ""]
    rows += ["| scenario | tries |", "|---|---|"]
    rows += [
        _row(row["scenario"], "; ".join(f"{kind}: {count:,}" for kind, count in sorted(row["kinds"].items())))
        for row in kept()
        if not row["control"] and len(row["kinds"]) > 1
    ]
    return "\n".join(rows) + "\n"


def _facts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """A fact as names and figures; one of several parts has a line for each."""
    if isinstance(value, dict):
        for part, figure in value.items():
            yield from _facts(f"{name}: {part}", figure)
    elif isinstance(value, list):
        yield name, ", ".join(f"{each:,}" for each in value)
    else:
        yield name, f"{value:,}"


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def write_table() -> None:
    """Put the figures into the document."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(before + BEGIN + table() + END + after)
