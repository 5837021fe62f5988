"""Runs the benchmarks and keeps what came of them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bench import report
from bench.measure import QUICK, Size, machine, measure, subject, subjects
from bench.stage import Stage, given_server, own_server


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("names", nargs=-1, type=click.Choice(subjects()), metavar="[SUBJECT]...")
@click.option("--rounds", type=click.IntRange(1), help="Of each side; default 7.")
@click.option("--calls", type=click.IntRange(32), help="A round; default 32,000.")
@click.option("--bookings", type=click.IntRange(1000), help="Among which is cleaned; default 1,000,000.")
@click.option(
    "--largest", type=click.IntRange(1000), help="Bookings for statistics and lists; default 10,000,000."
)
@click.option("--row", "only", multiple=True, help="Just these rows (create-32).")
@click.option("--quick", is_flag=True, help="Tiny: shows that everything works, the figures mean nothing.")
@click.option("--url", help="A server that runs already (superuser); default: one of its own.")
@click.option("--folder", type=click.Path(path_type=Path), help="On the disk whose commits are measured.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=report.FOLDER, help="Where --save keeps raw data."
)
@click.option("--save", is_flag=True, help="Keep the raw data, and write the table of docs/performance.md.")
def main(
    names: tuple[str, ...],
    rounds: int | None,
    calls: int | None,
    bookings: int | None,
    largest: int | None,
    only: tuple[str, ...],
    quick: bool,
    url: str | None,
    folder: Path | None,
    out: Path,
    save: bool,
) -> None:
    """Measure against floors in the same run, in turns: medians, their spread, the machine's noise.

    \b
    python -m bench --save
    python -m bench create --row create-32 --rounds 5 --calls 8000
    """
    given: dict[str, Any] = {"rounds": rounds, "calls": calls, "bookings": bookings, "largest": largest}
    size = replace(QUICK if quick else Size(), **{name: value for name, value in given.items() if value})
    place: AbstractContextManager[Stage] = given_server(url) if url else own_server(folder)
    with place as stage:
        settings = stage.settings()
        click.echo(" ".join(f"{setting}={value}" for setting, value in settings.items()), err=True)
        for name in names or subjects():
            seen_on = machine()
            results = []
            for row in subject(name).rows(stage, size):
                if only and row.name not in only:
                    continue
                result = measure(row, size.rounds, show=lambda line: click.echo(f"  {line}", err=True))
                results.append(result)
                click.echo(" | ".join(report.cells(result)))
            if save:
                report.save(name, results, settings, seen_on, out)
    if save and out == report.FOLDER:
        report.write_table()
