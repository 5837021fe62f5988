"""What migrate says when the connection is not what it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from glue import deploy, sessions
from tests.pg.pooler import running_pooler

Pooler = Callable[[str], str]


@pytest.fixture
def pooler(db_url: str) -> Iterator[Pooler]:
    """pooler(mode) -> URL of db_url through a PgBouncer in that mode."""
    with ExitStack() as stack:
        yield lambda mode: stack.enter_context(running_pooler(db_url, mode))


def test_a_transaction_pooler_is_refused(pooler: Pooler) -> None:
    with pytest.raises(deploy.DeployError, match="pooler in transaction mode"):
        deploy.migrate(pooler("transaction"))


def test_a_session_pooler_is_accepted(pooler: Pooler) -> None:
    assert deploy.migrate(pooler("session")) == deploy.Deployed()


def test_an_unreachable_server_is_one_line() -> None:
    with pytest.raises(deploy.DeployError, match="the database cannot be reached") as caught:
        deploy.migrate("postgresql://nobody:hunter2@127.0.0.1:1/nothing")

    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://[::1", "nonsense", "mysql://here"])
def test_what_is_not_a_url_is_refused(url: str) -> None:
    with pytest.raises(deploy.DeployError, match="this is not a PostgreSQL URL"):
        deploy.migrate(url)


def test_the_urls_of_other_tools_are_understood(db_url: str) -> None:
    assert deploy.pending(db_url.replace("postgresql://", "postgresql+psycopg://")) == []
    assert deploy.pending(db_url.replace("postgresql://", "postgres://")) == []


def test_an_old_server_is_refused(db_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "OLDEST_SERVER", 990000)

    with pytest.raises(deploy.DeployError, match="PostgreSQL 15 or newer is needed"):
        deploy.migrate(db_url)


def test_a_server_that_goes_away_in_the_middle_is_one_line(empty_db_url: str) -> None:
    def cut(phase: str, name: str, number: int, total: int) -> None:
        if phase == "migration" and number == 2:
            with psycopg.connect(empty_db_url.rsplit("/", 1)[0] + "/postgres", autocommit=True) as conn:
                conn.execute(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s",
                    [empty_db_url.rsplit("/", 1)[1]],
                )

    with pytest.raises(deploy.DeployError, match=r"0002.* failed: terminating connection|closed"):
        deploy.migrate(empty_db_url, report=cut)

    assert deploy.migrate(empty_db_url).migrations[0].startswith("0002")
