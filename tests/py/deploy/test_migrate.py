"""pgbooking migrate, rollback and check, on one database."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest

from glue import deploy
from glue.sessions import LOCK_KEY
from tests.py.deploy.tools import copy_of_db, dump, schema_exists


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the SQL files to edit."""
    return copy_of_db(tmp_path)


def add_migration(root: Path, text: str, back: str = "select 1;") -> str:
    (root / "migrations/9999.extra.sql").write_text(text)
    (root / "migrations/9999.extra.rollback.sql").write_text(back)
    return "9999.extra"


def add_function(root: Path, name: str, body: str = "select 1", *, head: str = "") -> Path:
    path = root / "functions/core" / f"{name}.sql"
    path.write_text(
        f"{head}create or replace function booking.{name}() returns int language sql as $$ {body} $$;\n"
        f"revoke all on function booking.{name}() from public;\n"
        f"comment on function booking.{name}() is 'For a test';\n"
    )
    return path


def test_a_failing_migration_leaves_nothing_behind(db_url: str, root: Path) -> None:
    before = dump(db_url)
    add_migration(root, "create table booking.half_done ();\ninsert into booking.half_done values (1);")

    with pytest.raises(
        deploy.DeployError, match=r"apply of 9999\.extra failed: .*INSERT has more expressions"
    ):
        deploy.migrate(db_url, sql_root=root)

    assert dump(db_url) == before
    assert deploy.pending(db_url, sql_root=root) == ["9999.extra"]


def test_the_error_names_the_statement(db_url: str, root: Path) -> None:
    add_migration(root, "select 1;\nalter table booking.nowhere add column x int;")

    with pytest.raises(deploy.DeployError, match=r"in: alter table booking\.nowhere"):
        deploy.migrate(db_url, sql_root=root)


def test_a_mended_migration_goes_through(db_url: str, root: Path) -> None:
    add_migration(root, "create table booking.half_done (")
    with pytest.raises(deploy.DeployError):
        deploy.migrate(db_url, sql_root=root)

    add_migration(root, "create table booking.half_done ();")

    assert deploy.migrate(db_url, sql_root=root).migrations == ["9999.extra"]


def test_a_migration_may_run_outside_a_transaction(db_url: str, root: Path) -> None:
    add_migration(
        root,
        "-- transactional: false\ncreate index concurrently extra on booking.bookings (closed_at);",
        "drop index booking.extra;",
    )

    assert deploy.migrate(db_url, sql_root=root).migrations == ["9999.extra"]
    assert deploy.rollback(db_url, sql_root=root) == ["9999.extra"]
    assert deploy.pending(db_url, sql_root=root) == ["9999.extra"]


def test_what_a_migration_selects_is_not_printed(
    db_url: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_migration(root, "select 'noise';")

    deploy.migrate(db_url, sql_root=root)

    assert capsys.readouterr().out == ""


def test_only_the_edited_function_is_deployed(db_url: str, root: Path) -> None:
    add_function(root, "answer", "select 41")
    deploy.migrate(db_url, sql_root=root)
    add_function(root, "answer", "select 42")

    done = deploy.migrate(db_url, sql_root=root)

    assert done == deploy.Deployed(functions=["core/answer.sql"])
    with psycopg.connect(db_url) as conn:
        assert conn.execute("select booking.answer()").fetchone() == (42,)


def test_a_function_changes_its_signature_in_one_step(db_url: str, root: Path) -> None:
    path = add_function(root, "answer")
    deploy.migrate(db_url, sql_root=root)
    path.write_text(
        "drop function if exists booking.answer();\n"
        "create or replace function booking.answer(p_to text) returns int language sql as $$ select 42 $$;\n"
    )

    deploy.migrate(db_url, sql_root=root)

    with psycopg.connect(db_url) as conn:
        rows = conn.execute("select oid::regprocedure::text from pg_proc where proname = 'answer'").fetchall()
    assert rows == [("booking.answer(text)",)]


def test_one_broken_function_keeps_the_others_as_they_were(db_url: str, root: Path) -> None:
    add_function(root, "aa_answer")
    (root / "functions/core/zz_broken.sql").write_text("create or replace function\nbooking.zz_broken(;\n")

    with pytest.raises(deploy.DeployError, match=r"functions/core/zz_broken\.sql line 2: syntax error"):
        deploy.migrate(db_url, sql_root=root)

    with psycopg.connect(db_url) as conn:
        assert conn.execute("select from pg_proc where proname = 'aa_answer'").fetchone() is None


def test_functions_belong_to_the_owner(db_url: str, root: Path) -> None:
    add_function(root, "answer")

    deploy.migrate(db_url, sql_root=root)

    with psycopg.connect(db_url) as conn:
        row = conn.execute("select proowner::regrole::text from pg_proc where proname = 'answer'").fetchone()
    assert row == ("booking_owner",)


def test_a_function_without_a_file_is_reported_and_left_alone(db_url: str, root: Path) -> None:
    path = add_function(root, "answer")
    deploy.migrate(db_url, sql_root=root)
    path.unlink()

    done = deploy.migrate(db_url, sql_root=root)

    assert done == deploy.Deployed(orphans=["booking.answer()"])
    assert [(d.kind, d.name) for d in deploy.check(db_url, sql_root=root)] == [
        ("extra", "function booking.answer()")
    ]


def test_a_function_that_was_dropped_by_hand_comes_back(db_url: str) -> None:
    with psycopg.connect(db_url) as conn:
        conn.execute("drop function booking.get_booking_stats(timestamptz, timestamptz)")

    assert deploy.migrate(db_url).functions == ["statistics/get_booking_stats.sql"]
    assert deploy.check(db_url) == []


def test_reload_undoes_edits_by_hand(db_url: str) -> None:
    with psycopg.connect(db_url) as conn:
        conn.execute("alter function booking.get_booking_stats(timestamptz, timestamptz) security invoker")
    assert deploy.migrate(db_url) == deploy.Deployed()

    deploy.migrate(db_url, reload=True)

    assert deploy.check(db_url) == []


def test_progress_is_reported_step_by_step(empty_db_url: str) -> None:
    steps: list[tuple[str, int, int]] = []

    done = deploy.migrate(
        empty_db_url, report=lambda phase, name, number, total: steps.append((phase, number, total))
    )

    migrations, functions = len(done.migrations), len(done.functions)
    assert steps == [("migration", n, migrations) for n in range(1, migrations + 1)] + [
        ("function", n, functions) for n in range(1, functions + 1)
    ]


def test_two_at_once_do_the_work_once(empty_db_url: str) -> None:
    """Both are held up by a lock of the same kind, then let go together."""
    results: list[deploy.Deployed] = []
    threads = [
        threading.Thread(target=lambda: results.append(deploy.migrate(empty_db_url))) for _ in range(2)
    ]
    with psycopg.connect(empty_db_url, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(%s)", [LOCK_KEY])
        for thread in threads:
            thread.start()
        while holder.execute(
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and application_name = 'pgbooking deploy' and query like '%%pg_try_advisory_lock%%'"
        ).fetchone() != (2,):
            pass
        holder.execute("select pg_advisory_unlock(%s)", [LOCK_KEY])
        for thread in threads:
            thread.join()

    assert sorted(bool(done.migrations) for done in results) == [False, True]
    assert sorted(bool(done.functions) for done in results) == [False, True]
    assert deploy.check(empty_db_url) == []


def test_it_gives_up_when_another_run_does_not_end(empty_db_url: str) -> None:
    with psycopg.connect(empty_db_url, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(%s)", [LOCK_KEY])

        with pytest.raises(deploy.DeployError, match="another migration of this database is still running"):
            deploy.migrate(empty_db_url, patience=0.0)


def test_it_gives_up_on_a_table_that_stays_busy(db_url: str, root: Path) -> None:
    add_migration(root, "alter table booking.bookings add column extra int;")
    with psycopg.connect(db_url) as reader:
        reader.execute("select from booking.bookings")

        with pytest.raises(deploy.DeployError, match="lock timeout"):
            deploy.migrate(db_url, sql_root=root, lock_timeout="50ms")

    assert deploy.migrate(db_url, sql_root=root).migrations == ["9999.extra"]


def test_it_respects_the_lock_of_yoyo(db_url: str) -> None:
    with psycopg.connect(db_url) as conn:
        conn.execute("insert into yoyo_lock (locked, pid) values (1, 4711)")

    with pytest.raises(deploy.DeployError, match=r"process 4711.*yoyo break-lock"):
        deploy.migrate(db_url)


def test_timeouts_of_the_login_role_do_not_cut_it_short(empty_db_url: str) -> None:
    name = empty_db_url.rsplit("/", 1)[1]
    with psycopg.connect(empty_db_url, autocommit=True) as conn:
        # one statement takes longer than it may
        conn.execute(
            "create function public.dawdle() returns event_trigger language plpgsql"
            " as $$ begin perform pg_catalog.pg_sleep(2.5); end $$"
        )
        conn.execute(
            "create event trigger dawdle on ddl_command_start when tag in ('CREATE SCHEMA')"
            " execute function public.dawdle()"
        )
        conn.execute(f"alter database {name} set statement_timeout = '2s'".encode())

    deploy.migrate(empty_db_url)

    assert deploy.pending(empty_db_url) == []


def test_rollback_of_nothing_is_nothing(empty_db_url: str) -> None:
    assert deploy.rollback(empty_db_url) == []
    assert not schema_exists(empty_db_url)


def test_without_migrations_functions_have_nowhere_to_go(empty_db_url: str, tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    assert deploy.migrate(empty_db_url, sql_root=tmp_path) == deploy.Deployed()
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions/one.sql").write_text("select 1;")

    with pytest.raises(deploy.DeployError, match=r"booking\.deployed_functions"):
        deploy.migrate(empty_db_url, sql_root=tmp_path)


def test_a_folder_without_migrations_is_refused(empty_db_url: str, tmp_path: Path) -> None:
    with pytest.raises(deploy.DeployError, match="no folder migrations"):
        deploy.migrate(empty_db_url, sql_root=tmp_path)
