"""How often somebody may call: counted in windows that begin with the first call of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter

from glue.windows import Windows

_log = logging.getLogger(__name__)

PREFIX = "pgbooking"


def own_storage(clock: Callable[[], float]) -> Storage:
    """Where this process counts for itself. The storage in memory that `limits` has looks at every counter a
    hundred times a second, on threads that it starts for it, and goes by the time of day."""
    return Windows(clock=clock)


class Limits:
    """Counters of this process (`memory://`), or in a storage of the library `limits` (`redis://`) for all.

    While a shared storage is away this process counts for itself. `window` is in seconds. Thread-safe.
    """

    AWAY = 10.0
    """Seconds for which a storage that failed is not asked again."""

    def __init__(self, uri: str, window: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._own = own_storage(clock)
        self._window = window
        self._clock = clock
        self._away_until = float("-inf")
        self.storage: Storage | None = None
        if not uri.startswith("memory:"):
            storage = storage_from_string(uri)
            assert isinstance(storage, Storage)
            self.storage = storage
            self._shared = FixedWindowRateLimiter(storage)

    def hit(self, scope: str, who: str, most: int) -> float | None:
        """Count a call; None, or the seconds to wait when it is one too many."""
        if self.storage is not None and self._clock() >= self._away_until:
            item = RateLimitItemPerSecond(most, self._window, PREFIX)
            try:
                return self._hit_shared(item, scope, who)
            except Exception:  # each storage has errors of its own
                _log.exception("the storage of the rate limits is away, they are counted in memory")
                self._away_until = self._clock() + self.AWAY
        key = f"{scope} {who}"
        if self._own.incr(key, self._window) <= most:
            return None
        return max(0.0, self._own.get_expiry(key) - time.time())

    def _hit_shared(self, item: RateLimitItem, scope: str, who: str) -> float | None:
        if self._shared.hit(item, who, scope):
            return None
        return max(0.0, self._shared.get_window_stats(item, who, scope).reset_time - time.time())
