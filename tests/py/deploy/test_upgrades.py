"""Between a migration and the functions that fit it, and after an older release's functions were back."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg
import pytest

from glue import deploy
from tests.py.deploy.tools import copy_of_db


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the SQL files to edit."""
    return copy_of_db(tmp_path)


def test_payments_and_events_are_guarded_before_the_functions_are_there(
    empty_db_url: str, root: Path
) -> None:
    shutil.rmtree(root / "functions")
    (root / "functions").mkdir()
    deploy.migrate(empty_db_url, sql_root=root)
    with psycopg.connect(empty_db_url, autocommit=True) as conn:
        conn.execute("set session_replication_role = replica")  # no booking, and no other trigger
        conn.execute("alter table booking.payments enable always trigger keep_payment_amounts")
        with pytest.raises(psycopg.errors.CheckViolation, match="payments_check"):
            conn.execute(
                "insert into booking.payments (id, booking_id, amount, currency, status, amount_captured)"
                " values (gen_random_uuid(), gen_random_uuid(), 5000, 'usd', 'captured', 9000)"
            )
        conn.execute("alter table booking.webhook_events enable always trigger keep_webhook_event")
        with pytest.raises(psycopg.errors.CheckViolation, match="webhook_events_stripe_event_id_check"):
            conn.execute(
                "insert into booking.webhook_events (stripe_event_id, event_type, status, payload)"
                " values ('', 'a.type', 'processed', '{}')"
            )


def test_seat_counters_learn_what_older_functions_did_not_tell_them(db_url: str, root: Path) -> None:
    with psycopg.connect(db_url, autocommit=True) as conn:
        conn.execute(
            "select booking.publish_slot('ann', booking.create_session('ann', 'Cello', 5000, 'usd'),"
            " now() + interval '1 day', now() + interval '25 hours')"
        )
        conn.execute("update booking.slot_seats set title = null")
        file = root / "functions/core/keep_prices.sql"
        file.write_text(file.read_text() + "-- another release\n")

        assert deploy.migrate(db_url, sql_root=root).functions == ["core/keep_prices.sql"]

        assert conn.execute("select title from booking.slot_seats").fetchall() == [("Cello",)]
        assert conn.execute("select * from booking.check_invariants()").fetchall() == []
