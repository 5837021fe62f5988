"""One booking, and everything that can happen to it: people's decisions, Stripe's events, the outbox."""

from __future__ import annotations

import itertools
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

PRICE = 5000
EVENTS = {
    "pi.capturable": "payment_intent.amount_capturable_updated",
    "pi.succeeded": "payment_intent.succeeded",
    "pi.received-0": "payment_intent.succeeded",
    "pi.processing": "payment_intent.processing",
    "pi.action": "payment_intent.requires_action",
    "pi.failed": "payment_intent.payment_failed",
    "pi.canceled": "payment_intent.canceled",
    "ch.held": "charge.succeeded",
    "ch.paid": "charge.succeeded",
    "ch.captured": "charge.captured",
    "ch.refunded": "charge.refunded",
    "ch.released": "charge.refunded",
    "ch.expired": "charge.expired",
    "re.created": "refund.created",
    "re.updated": "refund.updated",
    "re.failed": "refund.failed",
    "dp.created": "charge.dispute.created",
    "dp.updated": "charge.dispute.updated",
    "dp.won": "charge.dispute.closed",
    "dp.lost": "charge.dispute.closed",
}
DECISIONS = ("confirm", "decline", "cancel", "withdraw", "expire", "complete", "record", "record-second")
ANSWERS = ("cmd.done", "cmd.unknown", "cmd.refused", "cmd.lost-hold", "cmd.fatal")
SHORT = {
    "capture_payment_intent": "capture",
    "cancel_payment_intent": "cancel",
    "create_refund": "refund",
}


class Life:
    """A pending booking of a slot of its own, p hours ahead, and the words for what happens to it."""

    def __init__(
        self, conn: psycopg.Connection[Any], *, hours: int = 168, confirmation: str = "expert"
    ) -> None:
        self.conn = conn
        self.seconds = itertools.count(1)
        self.id: UUID = self.scalar(
            "select test.book(test.make_slot(p_start => make_interval(hours => %(h)s),"
            " p_confirmation => %(c)s)) as id",
            h=hours,
            c=confirmation,
        )

    def scalar(self, query: LiteralString, **params: Any) -> Any:
        row = self.conn.execute(query, params).fetchone()
        assert row is not None
        return next(iter(row.values()))

    def do(self, word: str) -> str:
        """Let it happen; '' or what was answered instead of an effect ('409 already_processed')."""
        try:
            with self.conn.transaction():
                if word in EVENTS:
                    answer = self.event(word)
                elif word in ANSWERS:
                    self.answer(word)
                    answer = "processed"
                else:
                    self.decide(word)
                    answer = "processed"
        except psycopg.Error as error:
            return f"{(error.sqlstate or '')[2:]} {error.diag.message_primary}"
        return "" if answer == "processed" else answer

    def decide(self, word: str) -> None:
        b = self.id
        match word:
            case "prepare":
                self.scalar("select booking.prepare_payment_intent(test.student(%(b)s), %(b)s)", b=b)
            case "record":
                self.scalar(
                    "select booking.record_payment_intent((test.booking(%(b)s)).payment_id,"
                    " test.intent_id(%(b)s))",
                    b=b,
                )
            case "record-second":
                self.scalar(
                    "select booking.record_payment_intent((test.booking(%(b)s)).payment_id, %(i)s)",
                    b=b,
                    i=f"pi_second_{b}",
                )
            case "confirm" | "decline":
                self.scalar(
                    "select booking.confirm_booking_transaction(test.expert(%(b)s), %(b)s, %(a)s)",
                    b=b,
                    a=word,
                )
            case "cancel":
                self.scalar("select booking.cancel_booking_transaction(test.student(%(b)s), %(b)s)", b=b)
            case "withdraw":
                self.scalar("select booking.cancel_booking_transaction(test.expert(%(b)s), %(b)s)", b=b)
            case "expire":
                self.scalar("select booking.cleanup_expired_bookings(100, '0')")
            case "complete":
                self.scalar(
                    "select test.set_clock((select ends_at from booking.bookings where id = %(b)s))", b=b
                )
                self.scalar("select booking.complete_past_bookings()")
                self.scalar("select test.set_clock(null)")
            case "claim":
                self.claim()
            case _:
                raise ValueError(word)

    def claim(self) -> UUID:
        """Worker w has the open command, whose time has come."""
        command: UUID = self.scalar("select test.open_command(%(b)s)", b=self.id)
        self.conn.execute("update booking.stripe_commands set run_at = now() where id = %s", (command,))
        self.conn.execute("select from booking.claim_stripe_command(%s, 'w', '10 minutes')", (command,))
        held = self.scalar("select locked_by from booking.stripe_commands where id = %(c)s", c=command)
        assert held == "w", "the command cannot be claimed"
        return command

    def answer(self, word: str) -> None:
        """The open command is carried out, or not."""
        command = self.claim()
        operation = self.scalar("select operation from booking.stripe_commands where id = %(c)s", c=command)
        if word == "cmd.done":
            self.scalar("select booking.complete_stripe_command(%(c)s, 'w', test.answer(%(c)s))", c=command)
            return
        error: dict[str, Any] = {"type": "invalid_request_error", "http_status": 400}
        intent = None
        match word, operation:
            case "cmd.unknown", _:
                error = {"type": "api_connection_error"}
            case "cmd.fatal", _:
                error["code"] = "parameter_unknown"
            case "cmd.refused", "capture_payment_intent":
                error["code"], intent = "charge_expired_for_capture", "canceled"
            case "cmd.refused", "cancel_payment_intent":
                error["code"], intent = "payment_intent_unexpected_state", "succeeded"
            case "cmd.refused", "create_refund":
                error["code"] = "charge_already_refunded"
            case "cmd.lost-hold", "capture_payment_intent":
                error["code"], intent = "payment_intent_unexpected_state", "requires_payment_method"
        if intent is not None:
            error["payment_intent"] = self.scalar("select test.intent(%(b)s, %(s)s)", b=self.id, s=intent)
        self.scalar(
            "select booking.fail_stripe_command(%(c)s, 'w', %(e)s, %(r)s)",
            c=command,
            e=Jsonb(error),
            r=word == "cmd.unknown",
        )

    def thing(self, word: str) -> Any:
        """Stripe's object in an event."""
        b = self.id
        match word:
            case "pi.capturable":
                return self.scalar("select test.intent(%(b)s, 'requires_capture')", b=b)
            case "pi.succeeded":
                return self.scalar("select test.intent(%(b)s, 'succeeded')", b=b)
            case "pi.received-0":
                return self.scalar("select test.intent(%(b)s, 'succeeded', 0)", b=b)
            case "pi.processing" | "pi.canceled":
                return self.scalar("select test.intent(%(b)s, %(s)s)", b=b, s=word[3:])
            case "pi.action":
                return self.scalar("select test.intent(%(b)s, 'requires_action')", b=b)
            case "pi.failed":
                return self.scalar("select test.intent(%(b)s, 'requires_payment_method')", b=b)
            case "ch.held" | "ch.expired":
                return self.scalar("select test.charge(%(b)s)", b=b)
            case "ch.paid" | "ch.captured":
                return self.scalar("select test.charge(%(b)s, true)", b=b)
            case "ch.refunded":
                return self.scalar("select test.charge(%(b)s, true, %(p)s)", b=b, p=PRICE)
            case "ch.released":
                return self.scalar("select test.charge(%(b)s, false, %(p)s)", b=b, p=PRICE)
            case "re.created" | "re.updated" | "re.failed":
                return self.scalar(
                    "select test.refund(%(b)s, 1000, %(i)s, %(s)s)",
                    b=b,
                    i=f"re_{b}",
                    s={"created": "pending", "updated": "succeeded", "failed": "failed"}[word[3:]],
                )
        status = {"created": "needs_response", "updated": "under_review"}.get(word[3:], word[3:])
        return {
            "id": f"dp_{b}",
            "object": "dispute",
            "amount": PRICE,
            "currency": "usd",
            "status": status,
            "payment_intent": self.scalar("select test.intent_id(%(b)s)", b=b),
        }

    def event(self, word: str) -> str:
        """The event comes in, newer than all before."""
        return str(
            self.scalar(
                "select test.event(%(t)s, %(o)s, p_created => now() + make_interval(secs => %(s)s))",
                t=EVENTS[word],
                o=Jsonb(self.thing(word)),
                s=next(self.seconds),
            )
        )

    def state(self) -> str:
        """'confirmed/authorized capture running', the open command last; '+stray cancel' after it."""
        row = self.conn.execute(
            "select b.status::text as booking, p.status::text as payment, p.id is not null as born,"
            " p.stripe_payment_intent_id as intent from booking.bookings b"
            " left join booking.payments p on p.id = b.payment_id where b.id = %s",
            (self.id,),
        ).fetchone()
        assert row is not None
        words = [f"{row['booking']}/{row['payment'] or '-'}"]
        if row["born"] and row["intent"] is None:
            words.append("unrecorded")
        for command in self.conn.execute(
            "select c.operation, c.status::text, c.attempts, c.params ->> 'amount' as amount,"
            " c.stripe_id is distinct from %s as stray from booking.stripe_commands c"
            " join booking.bookings b on b.payment_id = c.payment_id"
            " where b.id = %s and c.status in ('pending', 'running') order by 5, c.id",
            (row["intent"], self.id),
        ):
            words.append("+stray" if command["stray"] else "")
            words.append(SHORT[command["operation"]])
            words.append(command["amount"] or "")
            words.append(
                "running" if command["status"] == "running" else "again" if command["attempts"] else ""
            )
        return " ".join(word for word in words if word)
