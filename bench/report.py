"""What a run came to, as JSON, and the table of docs/performance.md that is made of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.measure import Result, subjects
from bench.plot import svg

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent / "results"
DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


def save(
    name: str, results: list[Result], settings: dict[str, str], machine: dict[str, Any], folder: Path
) -> None:
    """Keep the raw data of a subject instead of its last."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "settings": settings, "rows": [asdict(result) for result in results]}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def kept(folder: Path = FOLDER) -> list[tuple[Result, dict[str, Any]]]:
    """Every row that is kept, with the machine it was taken on."""
    found = []
    for name in subjects():
        file = folder / f"{name}.json"
        if file.exists():
            content = json.loads(file.read_text())
            found += [(Result(**row), content["machine"]) for row in content["rows"]]
    return found


def table(folder: Path = FOLDER) -> str:
    """The figures as Markdown."""
    lines = [
        "| what | measured against | ours /s | floor /s | ratio | target | of single rounds | by CPU | p95 ms"
        " | machine's noise |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for result, _ in kept(folder):
        lines.append("| " + " | ".join(cells(result)) + " |")
    return "\n".join(lines) + "\n"


def cells(result: Result) -> list[str]:
    """One row of the table."""
    low, high = result.spread
    return [
        result.title,
        result.floor_title,
        f"{result.median('ours'):,.0f}",
        f"{result.median('floor'):,.0f}",
        f"{result.ratio:.2f}",
        f">= {result.target:.2f}" if result.target else "",
        f"{low:.2f} to {high:.2f}",
        f"{result.cpu_ratio:.2f}" if result.cpu_ratio else "",
        f"{result.median('ours', 'p95_ms'):.1f}" if result.median("ours", "p95_ms") else "",
        f"{result.noise:.0%}",
    ]


def plots(folder: Path = FOLDER) -> dict[str, str]:
    """A picture a subject, by name."""
    found: dict[str, list[Result]] = {}
    for name in subjects():
        file = folder / f"{name}.json"
        if file.exists():
            found[name] = [Result(**row) for row in json.loads(file.read_text())["rows"]]
    return {name: svg(name, results) for name, results in found.items() if results}


def write_table(document: Path = DOCUMENT, folder: Path = FOLDER) -> None:
    """Put the figures into the document, and their pictures beside it."""
    pictures = plots(folder)
    place = document.parent / "plots"
    place.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        (place / f"{name}.svg").write_text(picture)
    links = "".join(f"\n![{name}: ratio of ours to the floor](plots/{name}.svg)\n" for name in pictures)
    before, _, rest = document.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(before + BEGIN + table(folder) + links + END + after)
