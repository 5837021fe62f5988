"""Runs scenarios and keeps what came of them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence

import click

from tests.chaos import results
from tests.chaos.parallel import run_all
from tests.chaos.place import own_place
from tests.chaos.scenario import Control, Scenario, load, names, run

SEED = 7


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("scenarios", nargs=-1, type=click.Choice(names()), metavar="[SCENARIO]...")
@click.option("--tries", type=click.IntRange(1), help="How many; default: as many as a full run has.")
@click.option("--seed", default=SEED, show_default=True, type=int, help="Draws everything that is drawn.")
@click.option("--only", type=click.IntRange(0), help="Just the try of this number, as a report names it.")
@click.option("--control", help="Take this guard away: the tries must report violations then.")
@click.option("--no-controls", is_flag=True, help="Leave the runs without guards out.")
@click.option(
    "--jobs", default=3, show_default=True, type=click.IntRange(1), help="How many scenarios at once."
)
@click.option("--save", is_flag=True, help="Keep the results and write the table of docs/reliability.md.")
def main(
    scenarios: tuple[str, ...],
    tries: int | None,
    seed: int,
    only: int | None,
    control: str | None,
    no_controls: bool,
    jobs: int,
    save: bool,
) -> None:
    """Break things on purpose, heal them, and look whether the promises held.

    Without a scenario: all of them. Exit code 1: a promise was broken, or a run without its guard did not
    notice.

    \b
    python -m tests.chaos
    python -m tests.chaos kills --tries 100 --seed 3
    python -m tests.chaos kills --seed 3 --only 17
    """
    if save and (only is not None or control is not None):
        raise click.UsageError("--save keeps whole runs: leave --only and --control out")
    wanted = scenarios or tuple(names())

    def runs(scenario: Scenario[object]) -> list[Control | None]:
        return _controls(scenario, control, without=no_controls or only is not None)

    if len(wanted) > 1 and jobs > 1:
        given = {"--tries": tries, "--seed": seed, "--only": only, "--control": control}
        options = [f"{name}={value}" for name, value in given.items() if value is not None]
        options += ["--no-controls"] if no_controls else []
        good = _side_by_side(wanted, jobs, options, runs, save=save)
    else:
        good = _one_after_another(wanted, seed, tries, only, runs, save=save)
    if save:
        results.write_table()
    sys.exit(0 if good else 1)


def _side_by_side(
    wanted: Sequence[str],
    jobs: int,
    options: Sequence[str],
    runs: Callable[[Scenario[object]], list[Control | None]],
    *,
    save: bool,
) -> bool:
    """Each scenario in a process of its own; whether all came out as they should."""
    began = time.monotonic()
    # The longest first, so that none is left to run alone at the end.
    order = sorted(wanted, key=lambda name: results.seconds(name, load(name).tries), reverse=True)
    ended = run_all(
        {name: [sys.executable, "-m", "tests.chaos", name, *options] for name in order},
        jobs,
        result=lambda _, line: click.echo(line),
        note=lambda name, line: click.echo(line if line.startswith(name) else f"{name}: {line}", err=True),
    )
    broken = [name for name, each in ended.items() if each.code != 0]
    for name, each in ended.items():
        if save and len(each.lines) == len(runs(load(name))):  # else it crashed
            results.save(name, each.lines)
    click.echo(f"{len(wanted)} scenarios in {time.monotonic() - began:.0f} s", err=True)
    if broken:
        click.echo(f"not as they should: {', '.join(broken)}", err=True)
    return not broken


def _one_after_another(
    wanted: Sequence[str],
    seed: int,
    tries: int | None,
    only: int | None,
    runs: Callable[[Scenario[object]], list[Control | None]],
    *,
    save: bool,
) -> bool:
    logging.disable(logging.CRITICAL)  # what goes wrong here goes wrong on purpose
    good = True
    with own_place() as place:
        for name in wanted:
            scenario = load(name)
            lines = []
            for removed in runs(scenario):
                count = tries or (removed.tries if removed else 0) or scenario.tries
                click.echo(f"{name}{f' without: {removed.name}' if removed else ''}: {count} tries", err=True)
                report = run(
                    load(name),
                    place,
                    seed=seed,
                    tries=count,
                    control=removed,
                    only=only,
                    show=lambda line: click.echo(f"  {line.strip()[-600:]}", err=True),
                )
                good &= report.as_expected or (only is not None and report.violations == 0)
                lines.append(results.line(report))
                click.echo(lines[-1])
            if save:
                results.save(name, lines)
    return good


def _controls(scenario: Scenario[object], wanted: str | None, *, without: bool) -> list[Control | None]:
    """None stands for the run with every guard in place."""
    if wanted is not None:
        found: list[Control | None] = [each for each in scenario.controls if each.name == wanted]
        if not found:
            known = ", ".join(repr(each.name) for each in scenario.controls)
            raise click.BadParameter(f"{scenario.name} knows {known}", param_hint="--control")
        return found
    return [None] if without else [None, *scenario.controls]
