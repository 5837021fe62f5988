"""Errors of the database and of Stripe as a client sees them."""

from __future__ import annotations

import psycopg
import pytest
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from glue.db import Database
from glue.errors import ApiError, from_exception
from glue.stripe_gateway import GatewayBusy, StripeRefused, StripeUnavailable


def raised(db_url: str, block: str) -> ApiError:
    with psycopg.connect(db_url, autocommit=True) as connection, pytest.raises(psycopg.Error) as error:
        connection.execute(block)
    return from_exception(error.value)


def raising(state: str, message: str = "some_code", detail: str = "", hint: str = "Do this.") -> str:
    return (
        f"do $$ begin raise exception using errcode = '{state}', message = '{message}',"
        f" detail = '{detail}', hint = '{hint}'; end $$"
    )


@pytest.mark.parametrize("status", [400, 402, 403, 404, 409, 500])
def test_a_refusal_keeps_status_code_hint_and_details(empty_db_url: str, status: int) -> None:
    error = raised(empty_db_url, raising(f"PT{status}", detail='{"booking_id": 1, "field": "slot_id"}'))
    assert (error.status, error.code, error.message) == (status, "some_code", "Do this.")
    assert error.details == {"bookingId": 1, "field": "slotId"}
    assert error.retry_after is None


def test_a_refusal_may_say_when_to_try_again(empty_db_url: str) -> None:
    error = raised(empty_db_url, raising("PT409", "payment_in_progress", '{"retry_after": 5}'))
    assert (error.retry_after, error.details) == (5, {"retryAfter": 5})


@pytest.mark.parametrize("detail", ["", "no json", "[1]", "7"])
def test_a_refusal_without_usable_details_has_none(empty_db_url: str, detail: str) -> None:
    assert raised(empty_db_url, raising("PT404", detail=detail)).details == {}


def test_a_refusal_without_a_hint_has_a_sentence(empty_db_url: str) -> None:
    assert raised(empty_db_url, raising("PT404", "slot_not_found", hint="")).message == "Slot not found."


def test_a_refusal_whose_message_is_no_code_stays_inside(empty_db_url: str) -> None:
    error = raised(empty_db_url, raising("PT409", "Table payments is broken"))
    assert (error.status, error.code) == (500, "internal_error")


@pytest.mark.parametrize(
    ("state", "status", "code", "retry_after"),
    [
        ("40001", 503, "try_again", 1),
        ("40P01", 503, "try_again", 1),
        ("55P03", 503, "try_again", 1),
        ("57014", 503, "try_again", 1),
        ("08006", 503, "database_unavailable", 2),
        ("25006", 503, "database_unavailable", 2),
        ("53300", 503, "database_unavailable", 2),
        ("57P01", 503, "database_unavailable", 2),
        ("22P05", 400, "invalid_request", None),
        ("42501", 500, "internal_error", None),
        ("23505", 500, "internal_error", None),
        ("P0001", 500, "internal_error", None),
        ("PT200", 500, "internal_error", None),
    ],
)
def test_every_other_sqlstate_has_its_answer(
    empty_db_url: str, state: str, status: int, code: str, retry_after: int | None
) -> None:
    error = raised(empty_db_url, raising(state, "internal words"))
    assert (error.status, error.code, error.retry_after) == (status, code, retry_after)
    assert "internal" not in error.message


@pytest.mark.parametrize(
    "error", [PoolTimeout(), PoolClosed(), TooManyRequests(), psycopg.OperationalError()]
)
def test_no_connection_is_503(error: Exception) -> None:
    assert from_exception(error).code == "database_unavailable"


def test_failures_of_stripe_have_their_answers() -> None:
    busy = from_exception(GatewayBusy("busy", retry_after=0.2))
    assert (busy.status, busy.code, busy.retry_after) == (503, "too_many_payments", 1)
    away = from_exception(StripeUnavailable("no answer", {"http_status": 500}, retry_after=7.5))
    assert (away.status, away.code, away.retry_after) == (503, "stripe_unavailable", 8)
    refused = from_exception(StripeRefused("no", {"code": "amount_too_small", "message": "internal"}))
    assert (refused.status, refused.code) == (502, "stripe_refused")
    assert refused.details == {"stripeCode": "amount_too_small"}
    assert from_exception(StripeRefused("no")).details == {}


def test_anything_else_is_a_plain_500_and_our_own_passes() -> None:
    assert from_exception(ValueError("internal words")).code == "internal_error"
    ours = ApiError(418, "teapot", "Short and stout.")
    assert from_exception(ours) is ours


def test_a_pool_has_timeouts_utc_and_dicts(db_url: str) -> None:
    db = Database(db_url, statement_timeout_ms=1234, lock_timeout_ms=567, application_name="pgbooking-x")
    row = db.one(
        "select current_setting('statement_timeout') as s, current_setting('lock_timeout') as l,"
        " current_setting('timezone') as z, current_setting('application_name') as a,"
        " current_setting('idle_in_transaction_session_timeout') as i"
    )
    assert row == {"s": "1234ms", "l": "567ms", "z": "UTC", "a": "pgbooking-x", "i": "1234ms"}
    assert db.all("select generate_series(1, %(n)s) as n", {"n": 2}) == [{"n": 1}, {"n": 2}]
    assert (db.one("select where false"), db.scalar("select 1 as x where false")) == (None, None)
    assert db.scalar("select 7 as x") == 7
    db.close()
    with pytest.raises(PoolClosed):
        db.one("select 1")


def test_what_the_connection_string_says_wins(db_url: str) -> None:
    db = Database(f"{db_url}?options=-cstatement_timeout%3D99&application_name=mine")
    assert db.scalar("select current_setting('statement_timeout')") == "99ms"
    assert db.scalar("select current_setting('application_name')") == "mine"
    db.close()
