"""Structured logs: one JSON object a line (LOG_FORMAT=plain: text for people), and the one place where
secrets are taken out of them.

Log with `logging.getLogger(__name__)` and `extra={...}`: the extras become fields. The request id of the HTTP
request in hand is added to every line that is written on its behalf.

The standard library, and its JSON made faster (`glue.plain_json`): a line is written for each request, and
took a quarter of Python's time for it while it went through structlog.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from psycopg import conninfo

from glue.plain_json import plain_json
from glue.settings import Settings, SettingsError

REDACTED = "[redacted]"

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the request in hand."""


class RequestId(str):
    """One that we have made ourselves, of random bytes: it holds no secret."""

    __slots__ = ()

    @classmethod
    def new(cls) -> RequestId:
        return cls(os.urandom(16).hex())


# A field of such a name never holds anything that a log should have, whatever its value looks like.
_SECRET_NAMES = re.compile(
    r"secret|token|password|passwd|authorization|apikey|cookie|signature|cardnumber|^card$|^cvc$|^cvv$|^pan$"
)
_SECRET_TEXTS = (
    ("_", re.compile(r"\b[sr]k_(?:live|test)_\w+")),  # Stripe's secret and restricted keys
    ("whsec_", re.compile(r"\bwhsec_\w+")),
    ("_secret_", re.compile(r"\b(?:pi|seti|cs|src)_\w+_secret_\w+")),  # client secrets
    ("eyJ", re.compile(r"\beyJ[\w-]+\.[\w-]*\.?[\w-]*")),  # JSON Web Tokens
    ("", re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]{8,}")),
    ("@", re.compile(r"(?<=:)[^/\s:@]+(?=@)")),  # user:password@host
    ("=", re.compile(r"(?i)(?<=password=)(?:'[^']*'|\S+)")),
)
"""What must be in a text for the form to be in it, and the form."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CARD_DIGITS = 12
_CARD_NUMBER = re.compile(r"(?<![\w-])(?<!\d\.)[2-6]\d{3}(?:[ -]?\d){8,15}(?![\w-]|\.\d)")

# What a record has by itself; all else is an extra.
_OF_EVERY_RECORD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})

# These log bodies and URLs when they are asked for details; ours is not the place to keep them.
NEVER_BELOW_WARNING = ("stripe", "urllib3", "psycopg", "werkzeug", "limits")


class Redactor:
    """Replaces what must not be logged, at any depth, by name or by form.

    `secrets` are exact values (the configured ones) that are replaced wherever they turn up.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first, so that no rest of a longer one stays behind.
        self._secrets = sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True)
        # Routes, states, names of events come again and again.
        self._remembered = lru_cache(1024)(self._field)

    def fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The same fields without secrets."""
        return {
            name: self._remembered(name, value)
            if type(value) is str and len(value) <= 64
            else self._field(name, value)
            for name, value in fields.items()
        }

    def _field(self, name: str, value: Any) -> Any:
        if value is not None and _is_secret_name(name):
            return REDACTED
        return self.clean(value)

    def clean(self, value: Any) -> Any:
        """`value` without secrets; what is neither a number nor a container becomes text."""
        if type(value) is str:
            return self._text(value)
        if value is None or isinstance(value, (bool, int, float, RequestId)):
            return value
        if isinstance(value, Mapping):
            return {str(name): self._field(str(name), part) for name, part in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.clean(part) for part in value]
        return self._text(str(value))

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, REDACTED)
        for mark, form in _SECRET_TEXTS:
            if mark in text:
                text = form.sub(REDACTED, text)
        if len(text) < _CARD_DIGITS:
            return text
        return _CARD_NUMBER.sub(lambda found: REDACTED if _is_card(found.group()) else found.group(), text)


@lru_cache(1024)
def _is_secret_name(name: str) -> bool:
    return _SECRET_NAMES.search(name.lower().replace("_", "").replace("-", "")) is not None


def _is_card(text: str) -> bool:
    """Whether the digits carry a right check digit (Luhn): an amount or a time should stay readable."""
    digits = [int(character) for character in text if character.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return len(digits) <= 19 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


class DailyFileHandler(logging.Handler):
    """Appends to `directory/name-YYYY-MM-DD.log` (UTC) and deletes files older than `retention_days`.

    A new day begins a new file and nothing is ever renamed, so any number of processes may share one folder.
    Each line is one write to a file opened for appending.
    """

    def __init__(self, directory: Path, name: str, retention_days: int) -> None:
        super().__init__()
        self._directory = directory
        self._name = name
        self._retention = timedelta(days=retention_days)
        self._day = ""
        self._file = -1
        directory.mkdir(parents=True, exist_ok=True)
        self._turn_over(datetime.now(UTC))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._turn_over(datetime.fromtimestamp(record.created, UTC))
            os.write(self._file, (self.format(record) + "\n").encode())
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        with self.lock or threading.RLock():
            if self._file >= 0:
                os.close(self._file)
                self._file, self._day = -1, ""
        super().close()

    def _turn_over(self, now: datetime) -> None:
        day = now.date().isoformat()
        if day == self._day:
            return
        # Personal data may be in a log: not for everybody on the machine.
        file = os.open(
            self._directory / f"{self._name}-{day}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640
        )
        if self._file >= 0:
            os.close(self._file)
        self._file, self._day = file, day
        oldest = f"{self._name}-{(now - self._retention).date().isoformat()}.log"
        for path in self._directory.glob(f"{self._name}-[0-9]*-[0-9]*-[0-9]*.log"):
            if path.name < oldest:
                path.unlink(missing_ok=True)  # another process may have been quicker


class JsonLines(logging.Formatter):
    """A JSON object a line: time (UTC), level, logger, request id, event, extras, exception; redacted."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return plain_json({**self._redactor.fields(self._told(record)), **_own(record)})

    def _told(self, record: logging.LogRecord) -> dict[str, Any]:
        """What a record says that may hold a secret."""
        told: dict[str, Any] = {"event": record.getMessage()}
        current = request_id.get()
        if current is not None:
            told["request_id"] = current
        for name, value in vars(record).items():
            if name not in _OF_EVERY_RECORD:
                told[name] = value
        if record.exc_info and record.exc_info[0] is not None:
            told["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            told["stack"] = record.stack_info
        return told


class PlainLines(JsonLines):
    """One line for a person: time, level, request id, message, then the extras that the message does not
    show already, and the exception. Control characters are escaped: nobody writes lines of his own."""

    def format(self, record: logging.LogRecord) -> str:
        own, told = _own(record), self._redactor.fields(self._told(record))
        current, event, exception = (told.pop(name, None) for name in ("request_id", "event", "exception"))
        message = str(event)
        words = [own["timestamp"], own["level"].upper(), current, message]
        words += [f"{name}={value}" for name, value in told.items() if str(value) not in message]
        line = " ".join(str(word) for word in [*words, exception] if word is not None)
        return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), line)


def _own(record: logging.LogRecord) -> dict[str, str]:
    """What we write ourselves: it holds no secret."""
    return {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        "level": record.levelname.lower(),
        "logger": record.name,
    }


def formatter(settings: Settings) -> logging.Formatter:
    """As LOG_FORMAT says."""
    lines = PlainLines if settings.log_format == "PLAIN" else JsonLines
    return lines(Redactor(_secrets_of(settings)))


def configure(settings: Settings, *, name: str = "pgbooking") -> None:
    """Sets up this process's logging: to LOG_DIR when it is given, to standard output otherwise.

    Raises `SettingsError` when LOG_DIR cannot be written.
    """
    handler: logging.Handler = logging.StreamHandler(sys.stdout)
    if settings.log_dir is not None:
        try:
            handler = DailyFileHandler(settings.log_dir, name, settings.log_retention_days)
        except OSError as error:
            raise SettingsError(f"settings: LOG_DIR cannot be written: {error.strerror}") from error
    handler.setFormatter(formatter(settings))
    # Nobody reads where in the program a line comes from: the logger's name says it ("Optimization" in the
    # logging HOWTO).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(settings.log_level)
    for noisy in NEVER_BELOW_WARNING:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)


def _secrets_of(settings: Settings) -> list[str]:
    found = [settings.stripe_secret_key, settings.cron_secret, settings.jwt_secret]
    found += settings.stripe_webhook_secrets
    found.append(str(conninfo.conninfo_to_dict(settings.database_url).get("password") or ""))
    return found
