"""Who takes a database away must not overlook somebody who is just coming in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.pg.away import Cut


def test_whoever_is_still_being_let_in_is_thrown_out_too(empty_db_url: str, pg_url: str) -> None:
    def come_in() -> None:
        with psycopg.connect(empty_db_url, options="-c post_auth_delay=1") as late:
            late.execute("select pg_sleep(60)")

    with psycopg.connect(pg_url, autocommit=True) as admin, ThreadPoolExecutor(1) as pool:
        name = empty_db_url.rsplit("/", 1)[1]
        away = Cut(admin, name, spared=0)
        coming = pool.submit(come_in)
        for _ in range(100):  # the lock is there a little before one is past the door
            while not away.arriving():
                assert not coming.done()
        away.cut()
        with pytest.raises(psycopg.OperationalError, match=r"terminating|not currently accepting"):
            coming.result()
        with pytest.raises(psycopg.OperationalError, match="not currently accepting"):
            psycopg.connect(empty_db_url)
