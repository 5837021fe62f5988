"""What is logged, and what never is."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from glue import logs
from glue.settings import Settings, SettingsError
from tests.py.http.site import CRON_SECRET, JWT_SECRET, STRIPE_KEY, WEBHOOK_SECRET, base_env, token

SETTINGS = Settings.from_env(base_env("postgresql://app:database-password@db/booking"))
CARD = "4242424242424242"


def line(message: str = "hello", *args: object, exc_info: Any = None, **extra: Any) -> dict[str, Any]:
    """What a record becomes."""
    record = logging.LogRecord("glue.test", logging.INFO, "file", 1, message, args, exc_info)
    record.__dict__.update(extra)
    text = logs.formatter(SETTINGS).format(record)
    assert "\n" not in text
    return dict(json.loads(text))


@contextmanager
def request(number: str) -> Iterator[None]:
    """A request of this id is in hand."""
    before = logs.request_id.set(number)
    yield
    logs.request_id.reset(before)


def test_a_line_is_json_with_time_level_logger_and_extras() -> None:
    found = line("did %s", "it", booking="b-1", ms=1.5, ok=True, nothing=None, many=[1, "x"])
    assert datetime.fromisoformat(found.pop("timestamp")).utcoffset() == timedelta(0)
    assert found == {
        "event": "did it", "level": "info", "logger": "glue.test",
        "booking": "b-1", "ms": 1.5, "ok": True, "nothing": None, "many": [1, "x"],
    }  # fmt: skip


def plain(message: str, *args: object, exc_info: Any = None, **extra: Any) -> str:
    """What a record becomes with LOG_FORMAT=plain."""
    record = logging.LogRecord("glue.test", logging.INFO, "file", 1, message, args, exc_info)
    record.__dict__.update(extra)
    return logs.formatter(replace(SETTINGS, log_format="PLAIN")).format(record)


def test_a_plain_line_ends_with_the_message_and_what_it_does_not_show() -> None:
    text = plain(
        "[payment-service] idempotencyKey=%s user=%s", "k1", "anna", idempotency_key="k1", user="anna"
    )
    time, _, rest = text.partition(" ")
    assert datetime.fromisoformat(time).utcoffset() == timedelta(0)
    assert rest == "INFO [payment-service] idempotencyKey=k1 user=anna"
    with request("r-12345678"):
        assert plain("request", status=200, ms=1.5).endswith(" INFO r-12345678 request status=200 ms=1.5")


def test_nobody_writes_plain_lines_of_his_own() -> None:
    text = plain("user=%s", "anna\nERROR all is lost\x1b[31m\u2028", product="a\rb")
    assert text.endswith("user=anna\\nERROR all is lost\\x1b[31m\\u2028 product=a\\rb")
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError:
        assert "\n" not in plain("failed", exc_info=sys.exc_info())


def test_a_plain_line_holds_no_secret() -> None:
    assert plain("asked", key=STRIPE_KEY, text=f"with {WEBHOOK_SECRET}", cron_secret="x" * 9).endswith(
        "asked key=[redacted] text=with [redacted] cron_secret=[redacted]"
    )


def test_the_request_id_is_on_every_line_of_a_request() -> None:
    with request("r-12345678"):
        assert line()["request_id"] == "r-12345678"
    assert "request_id" not in line()


@pytest.mark.parametrize("text", ["ü", "\u2028", "\x85", "\ud800", "\U0001f600"])
def test_a_line_is_one_for_every_reader(text: str) -> None:
    record = logging.LogRecord("glue.test", logging.INFO, "file", 1, "%s", (text,), None)
    found = logs.formatter(SETTINGS).format(record)
    assert found.isascii()
    assert found.splitlines() == [found]
    assert json.loads(found)["event"] == text


def test_our_own_request_ids_are_written_as_they_are_and_others_are_not() -> None:
    made = logs.RequestId.new()
    assert made != logs.RequestId.new()
    assert re.fullmatch("[0-9a-f]{32}", made)
    with request(made):
        assert line()["request_id"] == made
    with request(f"id-{STRIPE_KEY}"):
        assert STRIPE_KEY not in line()["request_id"]


SECRETS = {
    "stripe's key": STRIPE_KEY,
    "another key of stripe": "rk_live_51Habcdefghijklmnop",
    "a webhook secret": WEBHOOK_SECRET,
    "an unknown webhook secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "the cron secret": CRON_SECRET,
    "the jwt secret": JWT_SECRET,
    "the database's password": "database-password",
    "another password": "postgresql://me:hidden-word@host/db",
    "a password of libpq": "host=db password='hidden-word' user=me",
    "a client secret": "pi_3MtwBwLkdIwHu7ix28a3tqPa_secret_YrKJUKribcBjcG8HVhfZluoGH",
    "a token": token("somebody"),
    "a header": "Authorization: Bearer abcdefgh12345678",
    "a card": CARD,
    "a card with spaces": "4242 4242 4242 4242",
    "a card with dashes": "5555-5555-5555-4444",
    "american express": "378282246310005",
}
HIDDEN = {
    "another password": "hidden-word",
    "a password of libpq": "hidden-word",
    "a header": "abcdefgh12345678",
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_taken_out_wherever_it_is(name: str) -> None:
    value, hidden = SECRETS[name], HIDDEN.get(name, SECRETS[name])
    try:
        raise RuntimeError(f"failed with {value}")
    except RuntimeError:
        error = sys.exc_info()
    found = [
        line(f"before {value} after"),
        line("%s", value),
        line(field=value, deep={"list": [{"x": f"see {value}."}]}, parts=(value,)),
        line(error=RuntimeError(value)),
        line(exc_info=error),
    ]
    for entry in found:
        assert hidden not in json.dumps(entry)
        assert logs.REDACTED in json.dumps(entry)


@pytest.mark.parametrize(
    "name",
    ["client_secret", "clientSecret", "Authorization", "stripe-signature", "password", "api_key", "cvc",
     "card", "access_token", "Set-Cookie", "card_number"],
)  # fmt: skip
def test_a_field_of_a_secret_name_is_taken_out_whatever_it_holds(name: str) -> None:
    assert line(**{name: "harmless"})[name] == logs.REDACTED
    assert line(outer={name: {"inner": 1}})["outer"] == {name: logs.REDACTED}


@pytest.mark.parametrize(
    "text",
    ["0190c2d2-7b1e-7000-8000-000000000000", "pi_3MtwBwLkdIwHu7ix28a3tqPa", "1700000000000", "5000 eur",
     "2026-11-21T10:00:00+00:00", "4242424242424241", "basic auth", "https://api.stripe.com:443/v1"],
)  # fmt: skip
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert line(text)["event"] == text


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, which is left as it was."""
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    quiet = {name: logging.getLogger(name).level for name in logs.NEVER_BELOW_WARNING}
    logger.handlers[:] = []
    yield logger
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    logger.handlers[:] = before
    logger.setLevel(level)
    logging.captureWarnings(False)
    for name, value in quiet.items():
        logging.getLogger(name).setLevel(value)


def test_without_a_folder_logs_go_to_standard_output(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(SETTINGS)
    logs.configure(SETTINGS)  # again: still one line
    logging.getLogger("glue.x").info("shown", extra={"a": 1})
    logging.getLogger("glue.x").debug("not shown")
    [found] = capsys.readouterr().out.splitlines()
    assert json.loads(found)["a"] == 1


@pytest.mark.parametrize("name", ["stripe", "urllib3.connectionpool", "psycopg.pool", "werkzeug"])
def test_libraries_that_log_bodies_stay_silent_at_debug(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    logs.configure(replace(SETTINGS, log_level="DEBUG"))
    logging.getLogger(name).debug("request body")
    logging.getLogger(name).info("response body")
    logging.getLogger("glue").debug("ours")
    assert [json.loads(text)["event"] for text in capsys.readouterr().out.splitlines()] == ["ours"]


def test_logs_in_a_folder_are_a_file_a_day_and_old_ones_go(root: logging.Logger, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    today = datetime.now(UTC).date()
    for age in (1, 6, 7, 8, 400):
        (folder / f"pgbooking-{today - timedelta(days=age)}.log").write_text("old\n")
    (folder / "somebody-elses.log").write_text("kept")
    logs.configure(replace(SETTINGS, log_dir=folder, log_retention_days=7))
    logging.getLogger("glue.x").info("one")
    logging.getLogger("glue.x").info("two")
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "somebody-elses.log",
        *(f"pgbooking-{today - timedelta(days=age)}.log" for age in (0, 1, 6, 7)),
    }
    file = folder / f"pgbooking-{today}.log"
    assert [json.loads(text)["event"] for text in file.read_text().splitlines()] == ["one", "two"]
    assert file.stat().st_mode & 0o007 == 0


def test_a_new_day_begins_a_new_file(tmp_path: Path) -> None:
    handler = logs.DailyFileHandler(tmp_path, "x", 7)
    record = logging.LogRecord("a", logging.INFO, "f", 1, "tomorrow", (), None)
    record.created += 86_400
    handler.emit(record)
    handler.close()
    handler.close()
    today = datetime.now(UTC).date()
    assert (tmp_path / f"x-{today}.log").read_text() == ""
    assert (tmp_path / f"x-{today + timedelta(days=1)}.log").read_text() == "tomorrow\n"


def test_a_line_that_cannot_be_written_does_not_stop_the_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = logs.DailyFileHandler(tmp_path, "x", 7)
    handler.emit(logging.LogRecord("a", logging.INFO, "f", 1, "%d", ("no number",), None))
    handler.close()
    assert "Logging error" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_stops_the_start(root: logging.Logger, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="LOG_DIR cannot be written"):
        logs.configure(replace(SETTINGS, log_dir=tmp_path / "file" / "logs"))
