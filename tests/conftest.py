"""Databases for the tests."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
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
    left_out = {
        item
        for item in items
        if item.get_closest_marker(other)
        # what uses no server of the run is the same whatever its version
        or (version != 18 and not item.get_closest_marker(f"pg{version}") and not _uses_the_server(item))
    }
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


_SERVER = {"pg_url", "pg_version", "booking_template", "pgtap_template"}


def _uses_the_server(item: pytest.Item) -> bool:
    return not isinstance(item, pytest.Function) or not _SERVER.isdisjoint(item.fixturenames)


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


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[None]:
    """Before coverage reads what all processes left: a killed one may have left half a file."""
    result = yield
    if not hasattr(session.config, "workerinput"):
        for file in session.config.rootpath.glob(".coverage.*"):
            if not _is_whole(file):
                file.unlink(missing_ok=True)
    return result


def _is_whole(file: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as data:
            return bool(data.execute("select count(*) from meta").fetchone()[0])
    except sqlite3.Error:
        return False


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


class _Stock:
    """Clones of the templates, made before they are needed and dropped after nobody waits for it any more.

    Making and dropping a database takes many times what most tests take, and it is the server's time.
    """

    BATCH = 8
    """Every drop waits for a checkpoint: the first of a batch does the work of all."""

    def __init__(self) -> None:
        self._hands = ThreadPoolExecutor(1, thread_name_prefix="databases")
        self._next: dict[tuple[str, str], Future[str]] = {}
        self._done: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._closed = False

    def take(self, template: DatabaseJanitor) -> str:
        """The name of a fresh clone, the caller's own."""
        server, name = _url_of_server(template), str(template.template_dbname)
        with self._lock:
            ready = self._next.pop((server, name), None)
        clone = self._make(server, name) if ready is None else ready.result()
        with self._lock:
            if not self._closed:
                self._next[server, name] = self._hands.submit(self._make, server, name)
        return clone

    def give_back(self, server: str, clone: str) -> None:
        with self._lock:
            self._done.append((server, clone))
            if len(self._done) < self.BATCH or self._closed:
                return
            self._hands.submit(self._bury, self._done)
            self._done = []

    def close(self) -> None:
        """Nothing is copied from a template any more."""
        with self._lock:
            self._closed = True
        self._hands.shutdown(wait=True)

    @staticmethod
    def _make(server: str, template: str) -> str:
        clone = f"{template}_{next(_numbers)}"
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(
                sql.SQL("create database {} template {} strategy file_copy").format(
                    sql.Identifier(clone), sql.Identifier(template)
                )
            )
        return clone

    @staticmethod
    def _bury(clones: list[tuple[str, str]]) -> None:
        for server, clone in clones:
            with psycopg.connect(server, autocommit=True) as admin:
                admin.execute(
                    sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(clone))
                )


_stock = _Stock()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    if nextitem is None:
        _stock.close()


class _Clone(DatabaseJanitor):
    """A database of the stock."""

    def init(self) -> None:
        self.dbname = _stock.take(self)

    def drop(self) -> None:
        _stock.give_back(_url_of_server(self), self.dbname)


def _clone(template: NoopExecutor) -> DatabaseJanitor:
    """A clone for the length of a `with`; it has its name from then on."""
    return _Clone(
        user=template.user,
        host=template.host,
        port=template.port,
        dbname="",
        template_dbname=template.template_dbname,
    )


def _url_of_server(janitor: DatabaseJanitor) -> str:
    return _url(janitor.host, janitor.port, janitor.user, "postgres")


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
    """URL of the database in which pg_cron lives, everything deployed; mark the test pg15.

    There is one for all workers of the run: a test has it to itself until it ends.
    """
    assert pg_version == 15, "pg_cron is only there on PostgreSQL 15: mark the test with pytest.mark.pg15"
    url = pg_url.rsplit("/", 1)[0] + "/" + CRON_DATABASE
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("select pg_advisory_lock(hashtext('cron_db_url'))")
        deploy.migrate(url)
        conn.execute("create extension if not exists pg_cron")
        yield url
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
