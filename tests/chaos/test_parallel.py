"""Several scenarios at once: their lines stay whole, their exit codes count, and no more run than may."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.parallel import run_all

# Nothing here is about PostgreSQL.
pytestmark = pytest.mark.pg18

LONG = 200_000


def python(text: str) -> list[str]:
    return [sys.executable, "-S", "-c", text]


def test_each_line_stays_whole_and_each_exit_code_is_told() -> None:
    write = f"import sys; [sys.stdout.write('%s' * {LONG} + chr(10)) or sys.stdout.flush() for _ in range(3)]"
    said: list[str] = []
    noted: list[tuple[str, str]] = []
    ended = run_all(
        {
            "a": python(write % "a"),
            "b": python(write % "b" + "; sys.exit(1)"),
            "c": python("import sys; sys.stderr.write('on it')"),
        },
        3,
        result=lambda name, line: said.append(line),
        note=lambda name, line: noted.append((name, line)),
    )
    assert sorted(said) == ["a" * LONG] * 3 + ["b" * LONG] * 3
    assert {name: (each.code, len(each.lines)) for name, each in ended.items()} == {
        "a": (0, 3),
        "b": (1, 3),
        "c": (0, 0),
    }
    assert noted == [("c", "on it")]


def test_a_command_waits_for_our_end_and_not_for_that_of_our_input() -> None:
    look = "import select; print(select.select([0], [], [], 0)[0])"
    ended = run_all({"a": python(look)}, 1, result=lambda *_: None, note=lambda *_: None)
    assert ended["a"].lines == ["[]"]


def test_as_many_run_at_once_as_may(tmp_path: Path) -> None:
    # Two of the three meet; the third finds that one of them has gone.
    meet = (
        "import os, sys, time\n"
        "open('here/' + sys.argv[1], 'x').close()\n"
        "while len(os.listdir('here')) + len(os.listdir('gone')) < 2: time.sleep(0.01)\n"
        "print(len(os.listdir('here')))\n"
        "os.rename('here/' + sys.argv[1], 'gone/' + sys.argv[1])\n"
    )
    for folder in ("here", "gone"):
        (tmp_path / folder).mkdir()
    seen: list[int] = []
    into = f"import os; os.chdir({str(tmp_path)!r})\n{meet}"
    ended = run_all(
        {name: [*python(into), name] for name in "abc"},
        2,
        result=lambda name, line: seen.append(int(line)),
        note=lambda name, line: pytest.fail(line),
    )
    assert [each.code for each in ended.values()] == [0, 0, 0]
    assert max(seen) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_who_stops_us_stops_them(tmp_path: Path, number: int) -> None:
    wait = (
        "from glue.children import end_with_parent; end_with_parent(); import time; print(1); time.sleep(600)"
    )
    ours = (
        # What a shell starts in the background ignores this signal, and so does all that it starts.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys; from tests.chaos.parallel import run_all\n"
        "run_all({'a': [sys.executable, '-uc', sys.argv[1]]}, 1,"
        " result=lambda _, line: print(line, flush=True), note=lambda *_: None)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", ours, wait],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        process.send_signal(number)
        # Both read from this pipe: an error when nobody is left who could.
        left = select.poll()
        left.register(process.stdin, 0)
        assert [event for _, event in left.poll(30_000)] == [select.POLLERR]
