"""What goes over HTTP: the models that requests are checked against and answers are made of.

/openapi.json is written from them too. Fields are camelCase outside; amounts are in the currency's minor
unit, times are UTC, durations are seconds. The rules of the business are the database's: only types and sizes
are checked here.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
)
from pydantic.alias_generators import to_camel

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:]{8}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})")
_WHOLE = re.compile(r"-?[0-9]{1,18}")

LARGEST_AMOUNT = 99_999_999_999
"""Minor units; Stripe takes no more digits in any currency."""


def _canonical_uuid(value: object) -> object:
    # pydantic alone would take braces, urn: and bare hex digits too
    if isinstance(value, str) and _UUID.fullmatch(value):
        return value
    raise ValueError("must be a UUID")


def _rfc3339(value: object) -> object:
    # pydantic alone would take a number of seconds too
    if isinstance(value, str) and _TIME.fullmatch(value):
        return value
    raise ValueError("must be a time with a time zone, such as 2026-12-01T09:00:00Z")


def _whole_number(value: object) -> object:
    """JSON has one kind of number: 5.0 is 5, but neither "5" nor true is."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("must be a whole number")


def _digits(value: object) -> object:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return value
    raise ValueError("must be a whole number")


InUuid = Annotated[UUID, BeforeValidator(_canonical_uuid)]
InTime = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]
InAmount = Annotated[int, Field(ge=1, le=LARGEST_AMOUNT), BeforeValidator(_whole_number)]
# PostgreSQL's text holds every character but NUL.
InReason = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$", strict=True)]
Seconds = Annotated[timedelta, PlainSerializer(timedelta.total_seconds, return_type=float)]

BookingStatus = Literal["pending", "confirmed", "declined", "cancelled", "completed"]
PaymentStatus = Literal[
    "pending",
    "requires_action",
    "processing",
    "failed",
    "authorized",
    "captured",
    "partially_refunded",
    "refunded",
    "cancelled",
]
MirrorState = Literal["done", "pending"]


class Input(BaseModel):
    """A request's part: unknown fields are refused."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class Output(BaseModel):
    """An answer: every field is always there."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        frozen=True,
        json_schema_serialization_defaults_required=True,
    )


# Requests


class BookingPath(Input):
    id: InUuid


class CreateBooking(Input):
    slot_id: InUuid
    session_id: InUuid | None = Field(None, description="Needed where a slot is open to several sessions")


class CreateBookingHeader(BaseModel):
    idempotency_key: str | None = Field(
        None,
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key with the same request answers with the first booking",
    )


class CreateIntent(Input):
    booking_id: InUuid
    amount: InAmount | None = Field(None, description="When given it must be the booking's price")


class DecideBooking(Input):
    booking_id: InUuid
    # The database refuses other words with a code of its own.
    action: str = Field(
        strict=True, pattern=r"^[^\x00]*$", json_schema_extra={"enum": ["confirm", "decline"]}
    )
    reason: InReason | None = None


class CancelBooking(Input):
    booking_id: InUuid
    reason: InReason | None = None


class ListBookings(Input):
    status: BookingStatus | None = None
    after: InUuid | None = Field(None, description="The last booking of the page before")
    limit: Annotated[int, Field(ge=1, le=200), BeforeValidator(_digits)] = 50


class ListSlots(Input):
    from_: InTime = Field(alias="from", description="Earliest start")
    to: InTime = Field(description="Slots start before this")
    expert_id: str | None = Field(None, min_length=1, max_length=255, pattern=r"^[^\x00]*$")
    after: InUuid | None = Field(None, description="The last slot of the page before")
    limit: Annotated[int, Field(ge=1, le=500), BeforeValidator(_digits)] = 100


class StatsQuery(Input):
    from_: InTime | None = Field(None, alias="from", description="Rounded to UTC hours")
    to: InTime | None = None


# Answers


class BookingCreated(Output):
    booking_id: UUID
    status: BookingStatus
    payment_id: UUID
    expert_id: str
    amount: int
    currency: str
    scheduled_at: datetime
    expires_at: datetime | None
    was_created: bool = Field(description="False when the idempotency key was used before")


class Intent(Output):
    payment_intent_id: str
    client_secret: str
    amount: int
    currency: str
    status: str = Field(description="Stripe's status of the PaymentIntent")


class Decision(Output):
    booking_id: UUID
    status: BookingStatus
    payment_status: PaymentStatus
    command_id: UUID | None
    mirror: MirrorState = Field(description="pending: decided, and Stripe will be told later")


class Cancellation(Output):
    booking_id: UUID
    status: BookingStatus
    cancelled_by: Literal["student", "expert"]
    refund_percent: int
    refund_amount: int
    payment_status: PaymentStatus
    command_id: UUID | None
    mirror: MirrorState = Field(description="pending: decided, and Stripe will be told later")


class Quote(Output):
    refund_percent: int
    refund_amount: int
    currency: str


class Booking(Output):
    booking_id: UUID
    status: BookingStatus
    slot_id: UUID
    session_id: UUID
    student_id: str
    expert_id: str
    scheduled_at: datetime
    ends_at: datetime
    expires_at: datetime | None
    amount: int
    currency: str
    payment_id: UUID
    payment_status: PaymentStatus
    amount_captured: int
    amount_refunded: int
    cancelled_by: Literal["student", "expert", "system"] | None
    cancellation_reason: str | None
    refund_percent: int | None
    details: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class Bookings(Output):
    bookings: list[Booking]
    next_after: UUID | None = Field(description="Give it as `after` for the next page; null on the last one")


class Slot(Output):
    slot_id: UUID
    expert_id: str
    session_id: UUID | None
    title: str | None
    amount: int | None
    currency: str | None
    starts_at: datetime
    ends_at: datetime
    capacity: int
    seats_left: int
    confirmation: Literal["expert", "instant"]


class Slots(Output):
    slots: list[Slot]
    next_after: UUID | None = Field(description="Give it as `after` for the next page; null on the last one")


class Stats(Output):
    total_bookings: int
    pending: int
    confirmed: int
    declined: int
    cancelled: int
    expired: int
    completed: int
    confirmation_rate: float | None
    avg_confirmation_time: Seconds | None
    captured_amounts: dict[str, int]
    refunded_amounts: dict[str, int]
    open_slots: int
    seats_total: int
    seats_taken: int
    webhook_events: int
    webhook_failures: int
    commands_pending: int
    commands_dead: int
    oldest_pending_command: Seconds | None


class Received(Output):
    received: Literal[True] = True
    result: Literal["processed", "duplicate", "ignored"]


class Cleanup(Output):
    """How many rows each part of the maintenance dealt with."""

    bookings_expired: int
    bookings_completed: int
    slots_repaired: int
    webhooks_retried: int
    webhook_events_archived: int
    webhook_events_deleted: int
    bookings_scrubbed: int
    idempotency_keys_deleted: int
    locks_cleaned: int
    orders_expired: int
    statistics_folded: int


class Health(Output):
    status: Literal["ok"] = "ok"


class Readiness(Output):
    status: Literal["ready"] = "ready"
    database: Literal["ok"] = "ok"
    migrations: Literal["ok"] = "ok"
    outbox: Literal["ok"] = "ok"
    commands_pending: int
    commands_dead: int
    oldest_pending_seconds: int


class ErrorBody(Output):
    code: str = Field(description="A stable machine code, see docs/errors.md", pattern=r"^[a-z][a-z0-9_]*$")
    message: str = Field(description="A sentence for a person")
    details: dict[str, Any]


class ErrorAnswer(Output):
    error: ErrorBody
    request_id: str


# Refund requests

RefundRequestStatus = Literal["pending", "approved", "rejected", "refunded"]


class RequestRefund(Input):
    booking_id: InUuid
    amount: InAmount | None = Field(None, description="Minor units; left out: all that may be asked for")
    reason: InReason | None = None


class RefundRequestPath(Input):
    id: InUuid


class DecideRefundRequest(Input):
    # The database refuses other words with a code of its own.
    decision: str = Field(
        strict=True, pattern=r"^[^\x00]*$", json_schema_extra={"enum": ["approve", "reject"]}
    )
    note: InReason | None = Field(None, description="Shown to the student")


class ListRefundRequests(Input):
    status: RefundRequestStatus | None = None
    after: InUuid | None = Field(None, description="The last request of the page before")
    limit: Annotated[int, Field(ge=1, le=200), BeforeValidator(_digits)] = 50


class RefundRequested(Output):
    request_id: UUID = Field(description="The refund request's id")
    booking_id: UUID
    status: Literal["pending"] = "pending"


class RefundDecision(Output):
    request_id: UUID = Field(description="The refund request's id")
    status: RefundRequestStatus
    refund_amount: int
    payment_status: PaymentStatus
    command_id: UUID | None
    mirror: MirrorState = Field(description="pending: decided, and Stripe will be told later")


class OwnRefundRequest(Output):
    request_id: UUID
    booking_id: UUID
    amount: int
    currency: str
    reason: str | None
    status: RefundRequestStatus
    decided_at: datetime | None
    note: str | None
    created_at: datetime
    updated_at: datetime


class OwnRefundRequests(Output):
    requests: list[OwnRefundRequest]
    next_after: UUID | None = Field(description="Give it as `after` for the next page; null on the last one")


class RefundRequest(OwnRefundRequest):
    payment_id: UUID
    student_id: str
    decided_by: str | None
    command_id: UUID | None
    beyond_policy: bool = Field(description="On top of what the policy of an ended booking gives back")


class RefundRequests(Output):
    requests: list[RefundRequest]
    next_after: UUID | None = Field(description="Give it as `after` for the next page; null on the last one")


# Checkout: an envelope of its own, in snake_case


class CreateCheckoutSession(Input):
    product_id: str = Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$", strict=True)
    idempotency_key: str = Field(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        strict=True,
        description="Names one purchase: the same key gives the same order and session",
    )


class CheckoutSession(BaseModel):
    order_id: UUID
    session_id: str
    checkout_url: str = Field(description="Where the customer pays")


class CheckoutWait(BaseModel):
    idempotency_key: str
    retry_after: int | None = Field(description="Seconds; null where the same request is refused again")


class CheckoutAnswer(BaseModel):
    """The session to pay, of a new order or of the one that the key names."""

    status_code: Literal[200] = 200
    message: str
    request_id: str
    data: CheckoutSession


class CheckoutConflict(BaseModel):
    """Another request works on this purchase, or the key was used for another product (`error.code`)."""

    status_code: Literal[409] = 409
    message: str = Field(description="What to do; the same as error.message")
    request_id: str
    data: CheckoutWait
    error: ErrorBody = Field(description="As in every other error")


class CheckoutRefusal(RootModel[CheckoutConflict | ErrorAnswer]):
    """The conflict of keys and purchases, or the usual form where the order is no longer open."""


# Reconciliation


class Reconcile(Input):
    from_: InTime = Field(alias="from", description="What Stripe created from then on")
    to: InTime = Field(description="And before then")


class Difference(Output):
    payment_id: UUID | None
    stripe_id: str
    kind: Literal["missing_here", "missing_at_stripe", "amount", "captured", "refunded", "status"]
    ours: str | None
    theirs: str | None


class Reconciliation(Output):
    run_id: UUID
    payment_intents: int = Field(description="Seen at Stripe")
    charges: int
    refunds: int
    settled: int = Field(description="Commands of unknown outcome of which Stripe showed the effect")
    unsettled: int = Field(description="The others, left to the worker")
    pending: int = Field(description="What differs and is only on its way")
    differences: list[Difference]


# Classes


class PrepareClass(Input):
    class_id: InUuid = Field(description="The slot's id")
    amount: InAmount | None = Field(None, description="When given it must be the price")


class PrepareClassHeader(BaseModel):
    idempotency_key: str | None = Field(
        None,
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Not needed: a student has one hold in a class. A key may not name two classes",
    )


class ConfirmClass(Input):
    class_id: InUuid = Field(description="The slot's id")
    payment_intent_id: str = Field(strict=True, pattern=r"^[A-Za-z0-9_]{1,255}$")


class ClassIntent(Intent):
    booking_id: UUID


class ClassConfirmed(Output):
    booking_id: UUID
    status: Literal["confirmed", "completed"]
    was_changed: bool = Field(description="False when the webhook or an earlier request was faster")


# Invoices

InvoiceKind = Literal["invoice", "credit_note"]
InvoiceStatus = Literal["issued", "partially_credited", "credited", "void"]
InPerson = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]


class InvoicePath(Input):
    id: InUuid


class InvoiceQuery(Input):
    version: Annotated[int, Field(ge=1, le=2_147_483_647), BeforeValidator(_digits)] | None = Field(
        None, description="The newest one unless given"
    )


class ListInvoices(Input):
    student_id: InPerson | None = None
    expert_id: InPerson | None = None
    from_: InTime | None = Field(None, alias="from", description="Issued then or later")
    to: InTime | None = Field(None, description="Issued before this")
    status: InvoiceStatus | None = None
    number: str | None = Field(
        None, max_length=40, pattern=r"^[^\x00]*$", description="The whole number, INV-2026-000001"
    )
    after: InUuid | None = Field(None, description="The last invoice of the page before")
    limit: Annotated[int, Field(ge=1, le=200), BeforeValidator(_digits)] = 50


class IssueMissing(Input):
    limit: Annotated[int, Field(ge=1, le=1000), BeforeValidator(_whole_number)] = Field(
        1000, description="Payments at most"
    )


class InvoiceSeller(Output):
    name: str
    address: str
    tax_id: str


class InvoiceBuyer(Output):
    id: str
    name: str
    address: str | None
    tax_id: str | None


class InvoiceLine(Output):
    title: str
    expert_id: str
    starts_at: datetime
    ends_at: datetime


class InvoiceSummary(Output):
    invoice_id: UUID
    kind: InvoiceKind
    number: str
    status: InvoiceStatus = Field(description="The present one, of whatever version")
    version: int
    payment_id: UUID
    booking_id: UUID
    credited_invoice_id: UUID | None = Field(description="Of a credit note: the invoice that it credits")
    student_id: str
    expert_id: str
    currency: str
    decimals: int = Field(description="Digits after the point of the amounts, which are in minor units")
    net: int
    tax: int
    gross: int
    issued_at: datetime


class ListedInvoice(InvoiceSummary):
    buyer_name: str


class Invoice(InvoiceSummary):
    latest_version: int
    credited_number: str | None
    credited_issued_at: datetime | None
    seller: InvoiceSeller
    buyer: InvoiceBuyer
    line: InvoiceLine
    tax_name: str
    tax_rate: int = Field(description="Hundredths of a percent: 1900 is 19 %")
    amount_credited: int = Field(description="Of an invoice: what its credit notes come to now")
    reason: Literal["issued", "corrected", "captured_more", "refund_failed"]
    note: str | None = Field(description="Why it was corrected")
    version_created_at: datetime


class Invoices(Output):
    invoices: list[ListedInvoice]
    next_after: UUID | None = Field(description="Give it as `after` for the next page; null on the last one")


class IssuedMissing(Output):
    issued: int = Field(description="Payments that got what was missing")
    missing: int = Field(description="Payments that still lack something")
