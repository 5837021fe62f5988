"""The sandbox as a child process, for tests and the demo."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from glue.sandbox.control import SandboxControl


class SandboxProcess:
    """A sandbox as a child of this process; it ends when this process does, however that comes about."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        webhook_url: str | None = None,
        webhook_secret: str | Sequence[str] = (),
        api_keys: Sequence[str] = (),
        data_file: str | os.PathLike[str] | None = None,
    ) -> None:
        """Start it and wait until it listens; raises RuntimeError when it does not come up."""
        command = [sys.executable, "-m", "glue.sandbox", "--host", host, "--port", str(port), "--exit-on-eof"]
        if webhook_url:
            command += ["--webhook-url", webhook_url]
        for secret in [webhook_secret] if isinstance(webhook_secret, str) else webhook_secret:
            command += ["--webhook-secret", secret]
        for key in api_keys:
            command += ["--api-key", key]
        if data_file is not None:
            command += ["--data-file", os.fspath(data_file)]
        source = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(part for part in (source, os.environ.get("PYTHONPATH", "")) if part)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if "http" not in line:
            self.stop()
            raise RuntimeError("the Stripe sandbox did not start; its message is on standard error")
        self.url = line.split()[-1]
        self.control = SandboxControl(self.url)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self, timeout: float = 10) -> int:
        """End it and wait; returns its exit code."""
        process = self._process
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        return process.returncode


@contextmanager
def running(
    *,
    webhook_url: str | None = None,
    webhook_secret: str | Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int = 0,
    api_keys: Sequence[str] = (),
    data_file: str | os.PathLike[str] | None = None,
) -> Iterator[SandboxProcess]:
    """A sandbox for the length of a `with` block; it has `.url` and `.control`."""
    sandbox = SandboxProcess(
        host=host,
        port=port,
        webhook_url=webhook_url,
        webhook_secret=webhook_secret,
        api_keys=api_keys,
        data_file=data_file,
    )
    try:
        yield sandbox
    finally:
        sandbox.stop()
