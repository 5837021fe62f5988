"""The one place where an error of the database or of Stripe becomes an HTTP answer.

A refusal of the database is an exception with SQLSTATE `PT` + HTTP status, MESSAGE = machine code, DETAIL =
JSON object, HINT = what the caller can do (docs/errors.md). Nothing else that an exception says reaches a
client.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import psycopg
from pydantic.alias_generators import to_camel

from glue.invoices.renderer import InvoiceUnavailable
from glue.stripe_gateway import GatewayBusy, StripeFailure, StripeUnavailable

_REFUSAL = re.compile(r"PT([45]\d\d)")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,62}")

# Another transaction was in the way; nothing was written and the same request may succeed now.
_TRY_AGAIN = ("40001", "40P01", "55P03", "57014")
# The server is there but cannot serve: read-only after a failover, too many connections, shutting down.
_AWAY = ("25006", "53300", "57P01", "57P02", "57P03", "57P05")
# Text that PostgreSQL cannot hold: a NUL or half a surrogate pair inside of JSON. All else that a caller
# gives has been parsed before it gets there.
_BAD_TEXT = ("22P05", "22021", "22P02")


class ApiError(Exception):
    """An error answer: HTTP status, machine code, sentence, details, and seconds after which to retry."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        self.retry_after = retry_after


def from_exception(error: BaseException) -> ApiError:
    """What a client is told about `error`; an unknown one is a plain 500 without any of its text."""
    match error:
        case ApiError():
            return error
        case psycopg.Error():  # psycopg_pool's errors are among them
            return _from_database(error)
        case StripeFailure():
            return _from_stripe(error)
        case InvoiceUnavailable():
            return ApiError(
                503,
                "invoice_unavailable",
                "The PDF is not ready; try again shortly.",
                retry_after=error.retry_after,
            )
    return internal_error()


def internal_error() -> ApiError:
    """The answer to a fault of ours; the log has the rest under the request id."""
    return ApiError(
        500, "internal_error", "Something went wrong on our side; quote the request id when you report it."
    )


def _from_database(error: psycopg.Error) -> ApiError:
    state = error.sqlstate or ""
    if refusal := _REFUSAL.fullmatch(state):
        return _from_refusal(int(refusal.group(1)), error.diag)
    if state in _TRY_AGAIN:
        return ApiError(503, "try_again", "Others are changing the same rows; try again.", retry_after=1)
    # A connection that breaks, and a pool that has none to give, have no SQLSTATE at all.
    if (
        state in _AWAY
        or state.startswith("08")
        or (not state and isinstance(error, psycopg.OperationalError))
    ):
        return ApiError(
            503, "database_unavailable", "The database cannot be reached; try again shortly.", retry_after=2
        )
    if state in _BAD_TEXT:
        return ApiError(400, "invalid_request", "The request holds a character that cannot be stored.")
    return internal_error()


def _from_refusal(status: int, diagnostic: psycopg.errors.Diagnostic) -> ApiError:
    code = diagnostic.message_primary or ""
    if not _CODE.fullmatch(code):
        return internal_error()
    try:
        details = json.loads(diagnostic.message_detail or "{}")
    except ValueError:
        details = {}
    if not isinstance(details, dict):
        details = {}
    retry_after = details.get("retry_after")
    return ApiError(
        status,
        code,
        diagnostic.message_hint or code.replace("_", " ").capitalize() + ".",
        {to_camel(name): _outside(name, value) for name, value in details.items()},
        retry_after if isinstance(retry_after, int) else None,
    )


def _outside(name: str, value: Any) -> Any:
    """A detail as HTTP clients know it: the field at fault by its JSON name."""
    return to_camel(value) if name == "field" and isinstance(value, str) else value


def _from_stripe(error: StripeFailure) -> ApiError:
    match error:
        case GatewayBusy():
            code, message = "too_many_payments", "Too many payments are in progress; try again shortly."
        case StripeUnavailable():
            code, message = "stripe_unavailable", "The payment provider gives no answer; try again shortly."
        case _:
            reason = error.error.get("code")
            return ApiError(
                502,
                "stripe_refused",
                "The payment provider refused the request.",
                {"stripeCode": reason} if isinstance(reason, str) else {},
            )
    return ApiError(503, code, message, retry_after=max(1, math.ceil(error.retry_after)))
