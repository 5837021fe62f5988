"""Who makes the PDFs, and when: in a process of their own, kept for a while, never waited for without end.

A page is laid out in a child process, because a thread that hangs cannot be stopped and a process can.
Requests for the same version share one rendering. What a version looks like never changes, so a PDF that was
made may be kept; it is dropped after a while for the memory's sake only.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.util
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID

from cachetools import TTLCache
from pebble import ProcessExpired, ProcessPool

from glue.turns import step_aside

_log = logging.getLogger(__name__)

Invoice = Mapping[str, Any]
Render = Callable[[Invoice], bytes]
Key = tuple[UUID, int]

CACHE_BYTES = 32 * 1024 * 1024
MOST_WAITING = 4
"""Requests of one process that may wait for PDFs at once: the other threads go on serving."""
MOST_WARMED = 20
ATTEMPTS = 3


class InvoiceUnavailable(Exception):
    """There is no PDF in time; `retry_after`: seconds after which to ask again."""

    def __init__(self, reason: str, retry_after: int = 5) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


def _render(invoice: Invoice) -> bytes:
    from glue.invoices.pdf import render  # only the child needs fonts and layout

    return render(invoice)


def _keep_files_in(folder: str) -> None:
    """A child that is ended cleans nothing up: its parent removes the folder."""
    tempfile.tempdir = folder


class Renderer:
    """PDFs of invoices by version; thread-safe. Nothing is started before the first one is asked for.

    `timeout`: seconds until a rendering, with its retries, is given up. `cache_ttl`: seconds that a PDF is
    kept. `workers`: child processes. `most_waiting`: callers that may wait at once.
    """

    def __init__(
        self,
        *,
        timeout: float,
        cache_ttl: float,
        workers: int = 1,
        most_waiting: int = MOST_WAITING,
        render: Render = _render,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = timeout
        self._workers = workers
        self._most_waiting = most_waiting
        self._render = render
        self._cache: TTLCache[Key, bytes] = TTLCache(CACHE_BYTES, cache_ttl, timer=clock, getsizeof=len)
        self._lock = threading.Lock()
        self._waiting = 0
        self._flights: dict[Key, Future[bytes]] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._pool: ProcessPool | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._running: set[Future[bytes]] = set()
        self._closed = False

    def pdf(self, invoice: Invoice) -> bytes:
        """The PDF of a version, `invoice` being its row of get_invoice().

        Raises `InvoiceUnavailable` when it takes too long, or too many wait already.
        """
        key = _key(invoice)
        with self._lock:
            kept = self._cache.get(key)
            if kept is not None:
                return kept
            if self._waiting >= self._most_waiting:
                raise InvoiceUnavailable("too many wait for a PDF", retry_after=1)
            self._waiting += 1
            flight = self._flight(key, invoice)
        step_aside()
        try:
            return flight.result(self._timeout)
        except (TimeoutError, CancelledError, ProcessExpired):
            _log.warning("no PDF in time", extra={"invoice": str(key[0]), "version": key[1]})
            raise InvoiceUnavailable("the PDF takes too long") from None
        finally:
            with self._lock:
                self._waiting -= 1

    def warm(self, invoices: Iterable[Invoice]) -> None:
        """Has the PDFs made that will be asked for soon, `MOST_WARMED` of them; nobody waits for it."""
        with self._lock:
            for _, invoice in zip(range(MOST_WARMED), invoices, strict=False):
                key = _key(invoice)
                if key not in self._cache:
                    self._flight(key, invoice)

    def close(self) -> None:
        """Ends the child processes; what is under way is given up."""
        with self._lock:
            self._closed = True
            threads, pool, running = self._threads, self._pool, list(self._running)
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)
        for each in running:
            each.cancel()  # else who waits for it waits for good
        if pool is not None:
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()
        if self._folder is not None:
            self._folder.cleanup()
        if threads is not None:
            threads.shutdown()

    def _flight(self, key: Key, invoice: Invoice) -> Future[bytes]:
        """The rendering of this version that is under way, or a new one. The caller holds the lock."""
        if self._closed:
            raise InvoiceUnavailable("the server is stopping")
        flight = self._flights.get(key)
        if flight is None:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._workers, "invoices")
            flight = self._flights[key] = self._threads.submit(self._make, key, dict(invoice))
        return flight

    def _make(self, key: Key, invoice: dict[str, Any]) -> bytes:
        try:
            made = self._in_child(invoice)
            with self._lock:
                if len(made) <= self._cache.maxsize:
                    self._cache[key] = made
            return made
        finally:
            with self._lock:
                self._flights.pop(key, None)

    def _in_child(self, invoice: dict[str, Any]) -> bytes:
        """Renders in a child process, which is ended when the time is up; a child that dies is replaced."""
        until = time.monotonic() + self._timeout
        for attempt in range(1, ATTEMPTS + 1):
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            try:
                return self._child(invoice, left)
            except (TimeoutError, CancelledError):
                raise
            except Exception:
                if attempt == ATTEMPTS:
                    raise
                _log.warning("a PDF is tried again", extra={"attempt": attempt}, exc_info=True)
        raise AssertionError("unreachable")

    def _child(self, invoice: dict[str, Any], timeout: float) -> bytes:
        with self._lock:
            if self._closed:
                raise CancelledError
            if self._pool is None:
                self._folder = tempfile.TemporaryDirectory(prefix="pgbooking-invoices-")
                self._pool = ProcessPool(
                    self._workers,
                    initializer=_keep_files_in,
                    initargs=[self._folder.name],
                    context=multiprocessing.get_context("spawn"),  # not forked: the server has threads
                )
                # The server's processes are children of multiprocessing, which end without atexit: nobody
                # would stop the pool, whose threads would keep the process alive until it is killed.
                multiprocessing.util.Finalize(self, _close, args=[weakref.ref(self)], exitpriority=10)
            future: Future[bytes] = self._pool.schedule(self._render, args=[invoice], timeout=timeout)
            self._running.add(future)
        try:
            return future.result()
        finally:
            with self._lock:
                self._running.discard(future)


def _close(renderer: weakref.ref[Renderer]) -> None:
    found = renderer()
    if found is not None:
        found.close()


def _key(invoice: Invoice) -> Key:
    return invoice["invoice_id"], invoice["version"]
