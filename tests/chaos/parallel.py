"""Commands side by side, as processes of their own, each line of theirs whole."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from glue.children import PARENT

LONGEST_LINE = 2**24
"""Bytes; a result with many violations is long."""

Show = Callable[[str, str], None]
"""show(name, line)"""


@dataclass
class Ended:
    """What a command printed on standard output, and its exit code."""

    code: int = -1
    lines: list[str] = field(default_factory=list)


def run_all(
    commands: Mapping[str, Sequence[str]],
    jobs: int,
    *,
    result: Show,
    note: Show,
) -> dict[str, Ended]:
    """Run the commands of these names, at most so many at once, in this order.

    `result` gets each line of standard output, `note` each of standard error.
    Whoever stops us stops them, too.
    """
    return asyncio.run(_run_all(commands, jobs, result, note))


async def _run_all(
    commands: Mapping[str, Sequence[str]], jobs: int, result: Show, note: Show
) -> dict[str, Ended]:
    free = asyncio.Semaphore(jobs)
    ended = {name: Ended() for name in commands}
    leashed = os.environ | {PARENT: str(os.getpid())}

    async def one(name: str) -> None:
        async with free:
            # A group of its own: Ctrl-C reaches us, and we tell it.
            process = await asyncio.create_subprocess_exec(
                *commands[name],
                stdin=PIPE,  # never written to; its end tells a command that we are gone
                stdout=PIPE,
                stderr=PIPE,
                limit=LONGEST_LINE,
                env=leashed,
                process_group=0,
            )

            def printed(line: str) -> None:
                ended[name].lines.append(line)
                result(name, line)

            try:
                await asyncio.gather(
                    _each_line(process.stdout, printed),
                    _each_line(process.stderr, lambda line: note(name, line)),
                )
                ended[name].code = await process.wait()
            finally:
                await _stopped(process)

    async with asyncio.TaskGroup() as group:
        for name in commands:
            group.create_task(one(name))
    return ended


async def _each_line(stream: asyncio.StreamReader | None, take: Callable[[str], None]) -> None:
    assert stream is not None
    async for line in stream:
        take(line.decode(errors="replace").rstrip("\n"))


async def _stopped(process: Process) -> None:
    """A process that still runs puts its things in order and ends."""
    if process.returncode is None:
        process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(process.wait(), 20)
        except TimeoutError:
            process.kill()
