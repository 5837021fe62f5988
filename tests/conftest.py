"""Databases for the tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from pytest_postgresql import factories
from pytest_postgresql.executors import NoopExecutor
from pytest_postgresql.janitor import DatabaseJanitor

from glue import deploy
from tests.pg.pgtap import FileRunner
from tests.pg.servers import CRON_DATABASE, missing_packages, running_server

Connect = Callable[..., psycopg.Connection[Any]]

HERE = Path(__file__).parent

# What SQL tests share is loaded into their template, it is no test.
collect_ignore = ["sql/helpers"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pg", type=int, choices=(15, 18), default=18, help="major version of PostgreSQL (default 18)"
    )


def pytest_report_header(config: pytest.Config) -> str:
    return f"PostgreSQL {config.getoption('pg')}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    version = config.getoption("pg")
    other = "pg15" if version == 18 else "pg18"
    left_out = [item for item in items if item.get_closest_marker(other)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker(other)]


class _ServerOfTheRun:
    """With several workers, the controller starts one server for all of them."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._url: str | None = None

    def url(self, version: int) -> str:
        if self._url is None:
            self._url = self._stack.enter_context(running_server(version)).url()
        return self._url

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["pg_url"] = self.url(node.config.getoption("pg"))

    def pytest_unconfigure(self) -> None:
        self._stack.close()


def pytest_configure(config: pytest.Config) -> None:
    missing = missing_packages(config.getoption("pg"))
    if missing and not hasattr(config, "workerinput"):
        raise pytest.UsageError("install first: apt-get install -y " + " ".join(missing))
    config.pluginmanager.register(_ServerOfTheRun(), "server-of-the-run")


@pytest.fixture(scope="session")
def pg_version(pytestconfig: pytest.Config) -> int:
    """Major version of the server under test."""
    return int(pytestconfig.getoption("pg"))


@pytest.fixture(scope="session")
def pg_url(pytestconfig: pytest.Config, pg_version: int) -> str:
    """URL of database postgres on the server of this run, as superuser."""
    given = getattr(pytestconfig, "workerinput", {}).get("pg_url")
    if given:
        return str(given)
    server: Any = pytestconfig.pluginmanager.get_plugin("server-of-the-run")
    return str(server.url(pg_version))


@pytest.fixture(scope="session")
def pg_server(pg_url: str) -> NoopExecutor:
    """The same server as pytest-postgresql describes one."""
    parts = conninfo_to_dict(pg_url)
    return NoopExecutor(
        host=str(parts["host"]), port=str(parts["port"]), user=str(parts["user"]), options="", dbname="empty"
    )


def _url(host: str, port: int | str, user: str, dbname: str) -> str:
    return f"postgresql://{user}@{host}:{port}/{dbname}"


def _deploy(**server: Any) -> None:
    deploy.migrate(_url(server["host"], server["port"], server["user"], server["dbname"]))


def _add_pgtap(**server: Any) -> None:
    """pgTAP, what plpgsql_check needs where it exists, and the helpers that SQL tests share."""
    with psycopg.connect(_url(server["host"], server["port"], server["user"], server["dbname"])) as conn:
        conn.execute("create extension pgtap schema public")
        # 18 sees Debian's extensions too, but their libraries are for 15
        if conn.info.server_version < 160000:
            conn.execute("create extension plpgsql_check schema public")
        for helper in sorted((HERE / "sql" / "helpers").glob("*.sql")):
            conn.execute(helper.read_bytes())


class _BareServer(NoopExecutor):
    """What a template is made from when it is made from nothing."""

    template_dbname = None  # type: ignore[assignment]


@pytest.fixture(scope="session")
def _bare(pg_server: NoopExecutor) -> _BareServer:
    return _BareServer(
        host=pg_server.host, port=str(pg_server.port), user=pg_server.user, options="", dbname="empty"
    )


# One template with everything deployed, one with pgTAP on top of it: made once, cloned for every test.
booking_template = factories.postgresql_noproc(dbname="booking", depends_on="_bare", load=[_deploy])
pgtap_template = factories.postgresql_noproc(dbname="pgtap", depends_on="booking_template", load=[_add_pgtap])


_numbers = itertools.count(1)


def _clone(template: NoopExecutor) -> DatabaseJanitor:
    return DatabaseJanitor(
        user=template.user,
        host=template.host,
        port=template.port,
        dbname=f"{template.dbname}_{next(_numbers)}",
        template_dbname=template.template_dbname,
    )


def _url_of(janitor: DatabaseJanitor) -> str:
    return _url(janitor.host, janitor.port, janitor.user, janitor.dbname)


@pytest.fixture
def db_url(booking_template: NoopExecutor) -> Iterator[str]:
    """URL of a fresh database with everything deployed, as superuser; dropped after the test."""
    with _clone(booking_template) as janitor:
        yield _url_of(janitor)


@pytest.fixture
def empty_db_url(pg_server: NoopExecutor) -> Iterator[str]:
    """URL of a fresh database with nothing in it; dropped after the test."""
    janitor = DatabaseJanitor(
        user=pg_server.user,
        host=pg_server.host,
        port=pg_server.port,
        dbname=factories.noprocess.xdistify_dbname(f"empty_{next(_numbers)}_"),
    )
    with janitor:
        yield _url_of(janitor)


@pytest.fixture
def pgtap_db_url(pgtap_template: NoopExecutor) -> Iterator[str]:
    """As db_url, with pgTAP (and on 15 plpgsql_check) installed."""
    with _clone(pgtap_template) as janitor:
        yield _url_of(janitor)


@pytest.fixture
def cron_db_url(pg_url: str, pg_version: int) -> Iterator[str]:
    """URL of the database in which pg_cron lives, everything deployed; mark the test pg15 and
    xdist_group("cron").

    It is shared by the run: unschedule your jobs.
    """
    assert pg_version == 15, "pg_cron is only there on PostgreSQL 15: mark the test with pytest.mark.pg15"
    url = pg_url.rsplit("/", 1)[0] + "/" + CRON_DATABASE
    deploy.migrate(url)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("create extension if not exists pg_cron")
    yield url
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("select cron.unschedule(jobid) from cron.job")


@pytest.fixture
def connect(db_url: str) -> Iterator[Connect]:
    """connect(role=None, **parameters) -> another connection to db_url: autocommit, rows as dict.

    `role` is set for the session ("booking_app"); any parameter of psycopg.connect may be given, for
    example autocommit=False. All are closed after the test.
    """
    with ExitStack() as stack:

        def connect_once(role: str | None = None, **parameters: Any) -> psycopg.Connection[Any]:
            options: dict[str, Any] = {"autocommit": True, "row_factory": dict_row, **parameters}
            conn: psycopg.Connection[Any] = psycopg.connect(db_url, **options)
            stack.callback(conn.close)
            if role is not None:
                conn.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
                if not conn.autocommit:
                    conn.commit()
            return conn

        yield connect_once


@pytest.fixture
def pgtap_connection(pgtap_db_url: str) -> Iterator[psycopg.Connection[Any]]:
    """What pytest-pgtap runs a SQL file on: a database of its own, so a file may even commit."""
    with psycopg.connect(pgtap_db_url, autocommit=True) as conn:
        yield conn


@pytest.fixture
def _pgtap_runner(pgtap_connection: psycopg.Connection[Any]) -> FileRunner:
    return FileRunner(pgtap_connection)
