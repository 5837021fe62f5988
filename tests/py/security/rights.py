"""Who may do what: a line for every operation of the application. A new route needs its line here."""

from __future__ import annotations

from dataclasses import dataclass

from tests.py.security import stage
from tests.py.security.stage import Maker

PEOPLE = ("student", "expert", "admin")
Refusal = tuple[int, str]

NOT_YOURS: Refusal = (403, "not_your_booking")
NOT_YOUR_PAYMENT: Refusal = (400, "payment_metadata_mismatch")
NO_BOOKING: Refusal = (404, "booking_not_found")
NO_CLASS: Refusal = (404, "class_not_found")


@dataclass(frozen=True)
class Right:
    """`roles`: who is let in; the rest is refused with `otherwise`, or with 401 without a token.

    `thing`: what the request names. `others` and `absent`: what is answered where the thing is somebody
    else's, or nobody's; None: there is no such case, because all may have it or none is named.
    `parties`: roles that can be party to the thing; a role outside is let in and then finds it not its own.
    `sees_all`: who is let in is shown what belongs to others. `sees_others`: only these roles are.
    """

    roles: tuple[str, ...]
    thing: Maker = stage.nothing
    others: Refusal | None = None
    absent: Refusal | None = None
    parties: tuple[str, ...] = PEOPLE
    sees_all: bool = False
    sees_others: tuple[str, ...] = ()
    otherwise: Refusal = (403, "forbidden")
    without_token: Refusal = (401, "missing_token")


def _of_booking(roles: tuple[str, ...], thing: Maker = stage.booking) -> Right:
    return Right(roles, thing, NOT_YOURS, NO_BOOKING, parties=("student", "expert"))


def _of_invoice() -> Right:
    """An administrator is nobody's party, and is shown all."""
    return Right(
        PEOPLE, stage.invoice, (403, "not_your_invoice"), (404, "invoice_not_found"), sees_others=("admin",)
    )


PUBLIC = Right(("nobody", "stranger", *PEOPLE, "scheduler"))
BY_CRON_SECRET = Right(
    ("scheduler",), otherwise=(401, "invalid_cron_secret"), without_token=(401, "invalid_cron_secret")
)
# Nobody in this matrix can sign: tests/py/http/test_webhooks.py does.
BY_SIGNATURE = Right((), otherwise=(400, "invalid_signature"), without_token=(400, "invalid_signature"))

RIGHTS: dict[str, Right] = {
    "POST /api/bookings/create": Right(("student",), stage.slot, absent=(404, "slot_not_found")),
    "POST /api/bookings/expert/confirm": _of_booking(("expert",), stage.paid_booking),
    "POST /api/bookings/cancel": _of_booking(("student", "expert")),
    "GET /api/bookings": Right(PEOPLE, stage.lists),
    "GET /api/bookings/{id}": _of_booking(PEOPLE),
    "GET /api/bookings/{id}/cancellation-quote": _of_booking(PEOPLE),
    "GET /api/slots": Right(PEOPLE, stage.lists),
    "POST /api/payment/create-intent": _of_booking(("student",)),
    "POST /api/payments/create-intent": Right(("student",), stage.a_class, absent=(404, "class_not_found")),
    "POST /api/bookings/confirm": Right(("student",), stage.paid_seat, NOT_YOUR_PAYMENT, NO_CLASS),
    "POST /api/refunds/request": _of_booking(("student",), stage.captured_booking),
    "GET /api/refunds": Right(("student",), stage.refund_requests),
    "GET /api/admin/refunds": Right(("admin",), stage.refund_requests, sees_all=True),
    "POST /api/admin/refunds/{id}/decision": Right(
        ("admin",), stage.refund_request, absent=(404, "refund_request_not_found"), sees_all=True
    ),
    "POST /api/checkout/create-session": Right(PEOPLE, stage.product, absent=(404, "product_not_found")),
    "POST /api/webhooks/stripe": BY_SIGNATURE,
    "GET /api/cron/cleanup-bookings": BY_CRON_SECRET,
    "POST /api/cron/cleanup-bookings": BY_CRON_SECRET,
    "GET /api/admin/stats": Right(("admin",), stage.lists),
    "GET /api/invoices": Right(PEOPLE, stage.invoices, sees_others=("admin",)),
    "GET /api/invoices/{id}": _of_invoice(),
    "GET /api/invoices/{id}.pdf": _of_invoice(),
    "POST /api/admin/invoices/issue-missing": Right(("admin",)),
    "POST /api/admin/reconcile": Right(("admin",)),
    "GET /healthz": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /metrics": PUBLIC,
}
