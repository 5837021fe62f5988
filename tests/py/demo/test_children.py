"""A child ends with the process that started it."""

from __future__ import annotations

import os
import subprocess
import sys

from glue import children

DEAF_ONCE = """
import signal, threading, time
from glue import children
children.INSIST = 0.01
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(1))  # one that comes at a bad moment does nothing
children.end_with_parent()
print("ready", flush=True)
while len(heard) < 3:
    time.sleep(0.01)
"""


def test_a_child_that_missed_the_signal_hears_it_again() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", DEAF_ONCE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, children.PARENT: str(os.getpid()), "PYTHONPATH": str(children.SOURCE)},
    )
    assert child.stdin
    assert child.stdout
    assert child.stdout.readline() == b"ready\n"
    child.stdin.close()  # what happens when we die
    assert child.wait(120) == 0
    child.stdout.close()
