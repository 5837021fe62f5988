"""Ways of rendering, good and bad, for the child process of a renderer. Each call leaves a line in a file."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import Any


def _note(invoice: Any) -> int:
    """How often this invoice was rendered, with this time."""
    with Path(invoice["log"]).open("a+") as log:
        log.write(f"{invoice['invoice_id']} v{invoice['version']}\n")
        log.seek(0)
        return len(log.readlines())


def well(invoice: Any) -> bytes:
    _note(invoice)
    return f"{invoice['invoice_id']} v{invoice['version']}".encode()


def large(invoice: Any) -> bytes:
    _note(invoice)
    return bytes(20 * 1024 * 1024)


def hangs_on_the_first(invoice: Any) -> bytes:
    if _note(invoice) == 1:
        threading.Event().wait()
    return b"made"


def dies_twice(invoice: Any) -> bytes:
    if _note(invoice) < 3:
        os._exit(1)
    return b"made"


def always_dies(invoice: Any) -> bytes:
    _note(invoice)
    os._exit(1)


def fails_once(invoice: Any) -> bytes:
    if _note(invoice) == 1:
        raise ValueError("once")
    return b"made"


def always_fails(invoice: Any) -> bytes:
    _note(invoice)
    raise ValueError("always")


def waits(invoice: Any) -> bytes:
    """Until there is a file."""
    _note(invoice)
    while not Path(invoice["go"]).exists():
        threading.Event().wait(0.01)
    return b"made"


def never(invoice: Any) -> bytes:
    threading.Event().wait()
    raise AssertionError


def hangs_with_a_file(invoice: Any) -> bytes:
    with tempfile.NamedTemporaryFile():
        _note(invoice)
        threading.Event().wait()
    return b"never"
