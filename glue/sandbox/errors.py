"""Stripe's error answers.

Each function builds the exception for one documented refusal; the API layer turns it into the HTTP answer
`{"error": {...}}`. `saved` says whether Stripe keeps the answer under the request's idempotency key: it does
once the endpoint has begun to execute, and does not for refused parameters, authentication, conflicts and
rate limits.
"""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]


class StripeError(Exception):
    """An error answer: HTTP status, Stripe's error object, extra headers."""

    def __init__(
        self,
        status: int,
        error_type: str,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        saved: bool = True,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.saved = saved
        self.headers = headers or {}
        self.error: Obj = {"type": error_type, "message": message}
        if code is not None:
            self.error["code"] = code
            self.error["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
        if param is not None:
            self.error["param"] = param
        self.error.update({key: value for key, value in extra.items() if value is not None})

    def body(self, request_id: str) -> Obj:
        """The JSON body of the answer."""
        log = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return {"error": {**self.error, "request_log_url": log}}


def invalid_request(
    message: str, *, code: str | None = None, param: str | None = None, **extra: Any
) -> StripeError:
    """400 from an endpoint that had begun to execute (kept under the idempotency key)."""
    return StripeError(400, "invalid_request_error", message, code=code, param=param, **extra)


def invalid_parameter(message: str, *, param: str | None = None, code: str | None = None) -> StripeError:
    """400 for a parameter that is missing, unknown or malformed (not kept)."""
    return StripeError(400, "invalid_request_error", message, code=code, param=param, saved=False)


def missing_parameter(param: str) -> StripeError:
    return invalid_parameter(f"Missing required param: {param}.", param=param, code="parameter_missing")


def resource_missing(kind: str, object_id: str, *, param: str, status: int = 404) -> StripeError:
    """The id names nothing: 404 when it stood in the path, 400 when it was a parameter."""
    return StripeError(
        status,
        "invalid_request_error",
        f"No such {kind}: '{object_id}'",
        code="resource_missing",
        param=param,
    )


def unexpected_state(intent: Obj, verb: str, allowed: str) -> StripeError:
    """The PaymentIntent's status does not allow what was asked; the PaymentIntent itself is in the error."""
    return invalid_request(
        f"This PaymentIntent could not be {verb} because it has a status of {intent['status']}. "
        f"Only a PaymentIntent with one of the following statuses may be {verb}: {allowed}.",
        code="payment_intent_unexpected_state",
        payment_intent=intent,
    )


def card_error(
    code: str, message: str, *, decline_code: str | None = None, intent: Obj, charge: str | None, method: Obj
) -> StripeError:
    return StripeError(
        402,
        "card_error",
        message,
        code=code,
        decline_code=decline_code,
        charge=charge,
        payment_intent=intent,
        payment_method=method,
    )


def unauthorized(key: str) -> StripeError:
    """401 for an absent or unknown API key."""
    if not key:
        message = (
            "You did not provide an API key. You need to provide your API key in the Authorization header, "
            "using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
        )
    else:
        message = f"Invalid API Key provided: {key[:8]}{'*' * 8}{key[-4:] if len(key) > 16 else ''}"
    return StripeError(401, "invalid_request_error", message, saved=False)


def server_error(*, saved: bool) -> StripeError:
    """500. A kept one would only be replayed, so Stripe tells clients not to retry it."""
    return StripeError(
        500,
        "api_error",
        "An unknown error occurred. If you retry with the same idempotency key, you may get the same answer.",
        saved=saved,
        headers={"Stripe-Should-Retry": "false" if saved else "true"},
    )


def key_in_use(key: str) -> StripeError:
    return StripeError(
        409,
        "idempotency_error",
        "There is currently another in-progress request using this Stripe Idempotent Key (that "
        f"probably means you submitted twice, and the other request is still going through): {key}. "
        "Please try again later.",
        code="idempotency_key_in_use",
        saved=False,
        headers={"Stripe-Should-Retry": "true"},
    )


def key_reused(key: str, first: str, now: str) -> StripeError:
    """400 for a key that was first used with another endpoint or other parameters."""
    use = (
        f"for the same endpoint they were first used for ('{now}' vs '{first}')"
        if first != now
        else "with the same parameters they were first used with"
    )
    return StripeError(
        400,
        "idempotency_error",
        f"Keys for idempotent requests can only be used {use}. Try using a key other than '{key}' if you "
        "meant to execute a different request.",
        saved=False,
    )
