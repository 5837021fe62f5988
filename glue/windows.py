"""Counts of requests in the memory of this process, by a clock that nobody sets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from limits.storage import Storage

WINDOWS = "windows"
"""The scheme of its URI."""
_FEW = 1024


class Windows(Storage):
    """For fixed windows, like the storage in memory that `limits` has. That one goes by the time of day: when
    it is put back by ten minutes, whoever has used up a window waits for ten minutes more. Thread-safe.
    """

    STORAGE_SCHEME = [WINDOWS]  # noqa: RUF012 (limits declares it so)

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,
        *,
        clock: Callable[[], float] = time.monotonic,
        **_: object,
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[str, tuple[int, float]] = {}
        """How often, and until when by our clock."""
        self._most = _FEW

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """The count of the key with so many more; a window of `expiry` seconds begins where none is open."""
        now = self._clock()
        with self._lock:
            count, until = self._windows.get(key, (0, 0.0))
            if until <= now:
                count, until = 0, now + expiry
                if len(self._windows) >= self._most:
                    self._forget(now)
            self._windows[key] = (count + amount, until)
            return count + amount

    def get(self, key: str) -> int:
        """The count of the key."""
        count, until = self._windows.get(key, (0, 0.0))
        return count if until > self._clock() else 0

    def get_expiry(self, key: str) -> float:
        """When the window ends, as a time of day (Unix seconds)."""
        _, until = self._windows.get(key, (0, 0.0))
        return time.time() + max(0.0, until - self._clock())

    def check(self) -> bool:
        return True

    def clear(self, key: str) -> None:
        with self._lock:
            self._windows.pop(key, None)

    def reset(self) -> int:
        with self._lock:
            count = len(self._windows)
            self._windows.clear()
        return count

    def _forget(self, now: float) -> None:
        """Windows that have ended; next time when there are twice as many as are left."""
        self._windows = {key: window for key, window in self._windows.items() if window[1] > now}
        self._most = max(_FEW, 2 * len(self._windows))
