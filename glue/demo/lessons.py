"""Lessons of one expert: the main job from the booking to the refund, and the figures after it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from glue.children import wait_until
from glue.demo.console import Console, StepFailed, fields, money
from glue.demo.people import Answer, Person
from glue.demo.scene import PATIENCE, Cast, Scene, compact

PRICE, CURRENCY = 5000, "usd"
RIVALS = 20
CREATE, INTENT = "/api/bookings/create", "/api/payment/create-intent"
DECIDE, CANCEL = "/api/bookings/expert/confirm", "/api/bookings/cancel"
CLEANUP, STATS = "/api/cron/cleanup-bookings", "/api/admin/stats"

# Hours from now to the start of each slot.
SOON, LATER, AMPLE = 1, 10, 30
TO_DECLINE, TO_EXPIRE, TO_SHUFFLE = 48, 50, 52

Sums = tuple[str, int, int]
"""Payment status, captured, refunded."""


@dataclass(frozen=True)
class Paid:
    """A booking with its PaymentIntent."""

    booking: str
    intent: str


class Lessons(Scene):
    """One student, one expert: booked, paid, decided, cancelled, expired."""

    def __init__(self, cast: Cast, console: Console) -> None:
        super().__init__(cast, console)
        self._expert = cast.person("expert-eva", "expert")
        self._slots: dict[int, str] = {}
        self._bookings: dict[int, Paid] = {}

    def tell(self) -> None:
        self._login_roles()
        self._offer()
        self._book()
        self._rivals()
        self._create_intent()
        self._authorize()
        self._confirm()
        self._cancel_three()
        self._decline()
        self._expire()
        self._shuffle()
        self._duplicate_and_forged()
        self._worker_releases_the_hold()
        self._statistics()
        self._books()

    # -- the steps ---------------------------------------------------------------------------------------

    def _login_roles(self) -> None:
        say = self._say
        say.step("The server connects as a role that may call functions and nothing else")
        for role, url in ((self._cast.server, "server"), (self._cast.operator, "operator")):
            row = role.one(
                "select current_user::text as login, r.rolsuper as superuser,"
                " (select string_agg(g.rolname, ', ' order by g.rolname) from pg_catalog.pg_auth_members m"
                "  join pg_catalog.pg_roles g on g.oid = m.roleid where m.member = r.oid) as member_of,"
                " (select count(*) from pg_catalog.pg_class c join pg_catalog.pg_namespace n"
                "  on n.oid = c.relnamespace where n.nspname = 'booking' and c.relkind in ('r', 'v', 'm')"
                "  and has_table_privilege(c.oid, 'select, insert, update, delete')) as tables"
                " from pg_catalog.pg_roles r where r.rolname = current_user"
            )
            say.asked("select current_user, ...", f"as the {url}'s login")
            say.came(fields(row, "login", "superuser", "member_of", "tables"))
            say.expect(
                f"the {url} is no superuser and may touch no table",
                (row["superuser"], row["tables"]),
                (False, 0),
            )

    def _offer(self) -> None:
        say, server = self._say, self._cast.server
        say.step("An expert puts a lesson on sale and publishes six slots (an application calls SQL)")
        session = server.scalar(
            "select booking.create_session(p_expert_id => %(expert)s, p_title => %(title)s,"
            " p_amount => %(amount)s, p_currency => %(currency)s)",
            {"expert": self._expert.name, "title": "Violin lesson", "amount": PRICE, "currency": CURRENCY},
        )
        say.asked(
            f"create_session('{self._expert.name}', 'Violin lesson', {PRICE}, '{CURRENCY}')", "as the server"
        )
        say.came(str(session))
        now = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1)
        hours = sorted((SOON, LATER, AMPLE, TO_DECLINE, TO_EXPIRE, TO_SHUFFLE))
        for ahead in hours:
            starts = now + timedelta(hours=ahead)
            slot = server.scalar(
                "select booking.publish_slot(p_expert_id => %(expert)s, p_session_id => %(session)s,"
                " p_starts_at => %(starts)s, p_ends_at => %(ends)s)",
                {
                    "expert": self._expert.name,
                    "session": session,
                    "starts": starts,
                    "ends": starts + timedelta(minutes=45),
                },
            )
            self._slots[ahead] = str(slot)
        say.asked(f"publish_slot(...) {', '.join(f'{ahead} h' for ahead in hours)} ahead", "as the server")
        say.came(", ".join(self._slots.values()))
        say.asked("GET /api/slots?from=..&to=..", self._student.name)
        open_slots = self._open_slots()
        say.came(f"200, {len(open_slots)} slots at {money(PRICE, CURRENCY)}")
        say.expect("the student sees all six", open_slots, set(self._slots.values()))

    def _book(self) -> None:
        say = self._say
        say.step("A student books the slot that starts in 30 hours")
        body = {"slotId": self._slots[AMPLE]}
        answer = self._post(self._student, CREATE, body, key="demo-1", status=201)
        say.came(f"{answer} {fields(answer.body, 'bookingId', 'status', 'amount', 'currency')}")
        booking = answer.body["bookingId"]
        self._bookings[AMPLE] = Paid(booking, "")
        again = self._post(self._student, CREATE, body, key="demo-1", status=201)
        say.came(f"{again} {fields(again.body, 'bookingId', 'wasCreated')}")
        say.expect(
            "the same Idempotency-Key answers with the same booking",
            (again.body["bookingId"], again.body["wasCreated"]),
            (booking, False),
        )

    def _rivals(self) -> None:
        say = self._say
        say.step(f"{RIVALS} rivals want the same slot, all at once")
        rivals = [self._cast.person(f"rival-{number}", "student") for number in range(1, RIVALS + 1)]
        body = {"slotId": self._slots[AMPLE]}
        say.asked(f"POST {CREATE} {compact(body)}", f"rival-1 .. rival-{RIVALS}, in parallel")
        with ThreadPoolExecutor(RIVALS) as pool:
            answers = Counter(str(answer) for answer in pool.map(lambda one: one.post(CREATE, body), rivals))
        say.came(", ".join(f"{count} x {answer}" for answer, count in answers.items()))
        say.expect("nobody else gets the seat", dict(answers), {"409 slot_unavailable": RIVALS})

    def _create_intent(self) -> None:
        say = self._say
        say.step("The student asks to pay: one PaymentIntent at Stripe, to be captured later")
        booking = self._bookings[AMPLE].booking
        answer = self._post(self._student, INTENT, {"bookingId": booking}, status=200)
        say.came(f"{answer} {fields(answer.body, 'paymentIntentId', 'amount', 'currency', 'status')}")
        again = self._post(self._student, INTENT, {"bookingId": booking}, status=200)
        say.came(f"{again} {fields(again.body, 'paymentIntentId')}")
        intent = answer.body["paymentIntentId"]
        say.expect("asked twice, it is the same PaymentIntent", again.body["paymentIntentId"], intent)
        say.expect(
            "the price is the server's, and Stripe waits for a card",
            (answer.body["amount"], answer.body["currency"], answer.body["status"]),
            (PRICE, CURRENCY, "requires_payment_method"),
        )
        self._bookings[AMPLE] = Paid(booking, intent)

    def _authorize(self) -> None:
        say = self._say
        paid = self._bookings[AMPLE]
        say.step("The card is authorized at Stripe, and Stripe's signed webhooks tell us")
        before = len(self._control.delivery_log())
        say.asked(f"payment_intents.confirm('{paid.intent}', pm_card_visa)", "stripe-python -> sandbox")
        status = self._cast.card.pay(paid.intent)
        say.came(status)
        say.expect("the money is held, not taken", status, "requires_capture")
        self._control.wait_idle(PATIENCE)
        for attempt in self._control.delivery_log()[before:]:
            say.came(f"webhook {attempt['type']}: {attempt['status']}")
        self._shows(paid, self._student, status="pending", payment="authorized")

    def _confirm(self) -> None:
        say = self._say
        paid = self._bookings[AMPLE]
        say.step("The expert confirms: the booking stands, the money is taken")
        answer = self._decide(paid, "confirm")
        say.expect(
            "confirmed, captured, and Stripe knows",
            (answer.body["status"], answer.body["paymentStatus"], answer.body["mirror"]),
            ("confirmed", "captured", "done"),
        )
        self._control.wait_idle(PATIENCE)
        self._at_stripe(paid, status="succeeded", captured=PRICE, refunded=0)

    def _cancel_three(self) -> None:
        say = self._say
        say.step("The student cancels three bookings: 30, 10 and 1 hour ahead")
        for ahead in (LATER, SOON):
            paid = self._booked_and_paid(ahead)
            self._expert_says(paid, "confirm")
            say.came(f"booked, paid and confirmed: the slot in {ahead} h, {paid.booking}")
        for ahead, percent, status in (
            (AMPLE, 100, "refunded"),
            (LATER, 50, "partially_refunded"),
            (SOON, 0, "captured"),
        ):
            paid = self._bookings[ahead]
            amount = PRICE * percent // 100
            answer = self._post(self._student, CANCEL, {"bookingId": paid.booking}, status=200)
            names = ("status", "refundPercent", "refundAmount", "paymentStatus")
            say.came(f"{answer} {fields(answer.body, *names)}")
            say.expect(
                f"{ahead} h ahead gives back {percent} %",
                tuple(answer.body[name] for name in names),
                ("cancelled", percent, amount, status),
            )
            self._at_stripe(paid, status="succeeded", captured=PRICE, refunded=amount)

    def _decline(self) -> None:
        say = self._say
        say.step("The expert declines a booking: its hold is released, its seat is free again")
        paid = self._booked_and_paid(TO_DECLINE)
        say.came(f"booked and paid: {paid.booking}")
        answer = self._decide(paid, "decline")
        say.expect(
            "declined, and nothing was taken",
            (answer.body["status"], answer.body["paymentStatus"]),
            ("declined", "cancelled"),
        )
        self._at_stripe(paid, status="canceled", captured=0, refunded=0)
        self._is_open(TO_DECLINE)

    def _expire(self) -> None:
        say = self._say
        say.step("Nobody decides on a booking: the cleanup cancels it")
        paid = self._booked_and_paid(TO_EXPIRE)
        say.came(f"booked and paid: {paid.booking}")
        secret = self._cast.system.secrets.cron
        say.asked(f"POST {CLEANUP}", "a scheduler, with CRON_SECRET")
        answer = self._cast.api.call("POST", CLEANUP, bearer=secret)
        say.came(f"{answer} {fields(answer.body, 'bookingsExpired')}")
        say.expect(
            "it is not due: a booking may wait 30 minutes",
            (answer.status, answer.body.get("bookingsExpired")),
            (200, 0),
        )
        say.asked("cleanup_expired_bookings(p_timeout => '0 s'), not to wait so long", "as the operator")
        count = self._cast.operator.scalar(
            "select booking.cleanup_expired_bookings(p_timeout => interval '0 seconds')"
        )
        say.came(str(count))
        say.expect("one booking is cancelled", count, 1)
        booking = self._student.get(f"/api/bookings/{paid.booking}").body
        say.came(fields(booking, "status", "cancelledBy", "cancellationReason"))
        say.expect(
            "cancelled by the system, because it expired",
            (booking["status"], booking["cancelledBy"], booking["cancellationReason"]),
            ("cancelled", "system", "expired"),
        )
        self._is_open(TO_EXPIRE)
        say.came("releasing its hold is in the outbox; the worker takes it up after 6 s (step 13)")

    def _shuffle(self) -> None:
        say, control = self._say, self._control
        say.step("Stripe's events arrive in the wrong order, late and twice")
        control.wait_idle(PATIENCE)
        control.hold()
        paid = self._booked(TO_SHUFFLE)
        self._cast.card.pay(paid.intent)
        held = control.held()
        last = held[-1]
        say.came(f"booked and paid; Stripe holds {', '.join(event['type'] for event in held)}")
        say.asked(f"only the last one is delivered: {last['type']}", "sandbox -> server")
        control.release([last["id"]])
        control.wait_idle(PATIENCE)
        self._shows(paid, self._student, status="pending", payment="authorized")
        self._expert_says(paid, "confirm")
        late = control.held()
        order = [event["id"] for event in reversed(late)] * 2
        say.came("confirmed and captured; the other events come now, newest first, then all once more:")
        before = len(control.delivery_log())
        control.release(order)
        control.wait_idle(PATIENCE)
        attempts = control.delivery_log()[before:]
        for attempt in attempts[: len(late)]:
            say.came(f"webhook {attempt['type']}: {attempt['status']}")
        say.expect(
            f"all {len(order)} deliveries are taken",
            [attempt["status"] for attempt in attempts],
            [200] * len(order),
        )
        control.delivery(mode="ordered")
        control.release()  # the worker may have been at Stripe meanwhile
        self._shows(paid, self._student, status="confirmed", payment="captured")

    def _duplicate_and_forged(self) -> None:
        say, api = self._say, self._cast.api
        say.step("An event comes a second time, and one is forged")
        paid = self._bookings[AMPLE]
        captured = self._control.events(type="payment_intent.succeeded", object=paid.intent)[0]
        secret = self._cast.system.secrets.webhook
        say.asked(f"POST webhook {captured['type']} {captured['id']} again", "signed as Stripe signs")
        answer = api.deliver(captured, secret)
        say.came(f"{answer} {fields(answer.body, 'received', 'result')}")
        say.expect(
            "a duplicate changes nothing", (answer.status, answer.body.get("result")), (200, "duplicate")
        )
        self._shows(paid, self._student, status="cancelled", payment="refunded")
        say.asked("POST webhook signed with another secret", "somebody")
        forged = api.deliver({**captured, "id": "evt_forged"}, "whsec_of_somebody_else")
        say.came(str(forged))
        say.expect("it is refused", str(forged), "400 invalid_signature")

    def _worker_releases_the_hold(self) -> None:
        say = self._say
        paid = self._bookings[TO_EXPIRE]
        say.step("The outbox worker has released the hold of the expired booking")
        operator = self._cast.operator

        def waiting() -> int:
            return int(operator.one("select * from booking.get_readiness()")["commands_pending"])

        say.asked("select commands_pending from booking.get_readiness(), again and again", "as the operator")
        began, first = time.monotonic(), waiting()
        wait_until(lambda: waiting() == 0, PATIENCE, pause=0.1)
        say.came(f"{first}, and {waiting()} after {time.monotonic() - began:.1f} s")
        self._control.wait_idle(PATIENCE)
        self._shows(paid, self._student, status="cancelled", payment="cancelled")
        self._at_stripe(paid, status="canceled", captured=0, refunded=0)

    def _statistics(self) -> None:
        say = self._say
        self._control.wait_idle(PATIENCE)
        say.step("The statistics, from SQL and over HTTP")
        expected = {
            "total_bookings": 6,
            "pending": 0,
            "confirmed": 1,
            "declined": 1,
            "cancelled": 3,
            "expired": 1,
            "completed": 0,
            "captured_amounts": {CURRENCY: 4 * PRICE},
            "refunded_amounts": {CURRENCY: PRICE + PRICE // 2},
            "open_slots": 5,
            "seats_total": 6,
            "seats_taken": 1,
            "webhook_events": len(self._control.events()),
            "webhook_failures": 0,
            "commands_pending": 0,
            "commands_dead": 0,
        }
        say.asked("select * from booking.get_booking_stats()", "as the operator")
        row = self._cast.operator.one("select * from booking.get_booking_stats()")
        for names in _in_lines(list(expected), 4):
            say.came(fields(row, *names))
        seconds = row["avg_confirmation_time"].total_seconds()
        say.came(f"confirmation_rate {row['confirmation_rate']}, avg_confirmation_time {seconds:.3f} s")
        say.expect("every figure is right", {name: row[name] for name in expected}, expected)
        say.asked(f"GET {STATS}", self._admin.name)
        answer = self._admin.get(STATS)
        say.came(f"{answer} {fields(answer.body, 'totalBookings', 'capturedAmounts', 'refundedAmounts')}")
        say.expect(
            "HTTP says the same",
            {name: answer.body.get(_camel(name)) for name in expected},
            expected,
        )

    def _books(self) -> None:
        say = self._say
        say.step("Stripe's books and ours, side by side")
        say.asked("GET /api/bookings", self._expert.name)
        say.asked("GET /_sandbox/books", "the sandbox's own")
        ours = {
            row["bookingId"]: (row["paymentStatus"], row["amountCaptured"], row["amountRefunded"])
            for row in self._expert.get("/api/bookings").body["bookings"]
        }
        books = self._control.books()
        theirs = {
            entry["metadata"]["booking_id"]: (_our_word(entry), entry["captured"], entry["refunded"])
            for entry in books["payment_intents"]
        }
        lines = [_side_by_side(entry, ours, theirs) for entry in books["payment_intents"]]
        head = (
            "booking",
            "our status",
            "captured",
            "refunded",
            "",
            "captured",
            "refunded",
            "Stripe's status",
        )
        say.table(head, lines)
        say.expect("every payment agrees", ours, theirs)
        say.expect("one PaymentIntent for each booking", len(books["payment_intents"]), len(self._bookings))
        total = books["totals"][CURRENCY]
        row = self._cast.operator.one("select * from booking.get_booking_stats()")
        say.expect(
            f"the totals agree: {money(total['captured'], CURRENCY)} captured,"
            f" {money(total['refunded'], CURRENCY)} refunded, nothing held",
            (row["captured_amounts"], row["refunded_amounts"], total["capturable"]),
            ({CURRENCY: total["captured"]}, {CURRENCY: total["refunded"]}, 0),
        )

    # -- what several steps do ---------------------------------------------------------------------------

    def _booked(self, ahead: int) -> Paid:
        """A booking with a PaymentIntent, made as shown before."""
        created = self._quietly(self._student, CREATE, {"slotId": self._slots[ahead]}, status=201)
        booking = created.body["bookingId"]
        intent = self._quietly(self._student, INTENT, {"bookingId": booking}, status=200)
        self._bookings[ahead] = Paid(booking, intent.body["paymentIntentId"])
        return self._bookings[ahead]

    def _booked_and_paid(self, ahead: int) -> Paid:
        paid = self._booked(ahead)
        self._cast.card.pay(paid.intent)
        self._control.wait_idle(PATIENCE)
        return paid

    def _decide(self, paid: Paid, action: str) -> Answer:
        body = {"bookingId": paid.booking, "action": action}
        answer = self._post(self._expert, DECIDE, body, status=200)
        self._say.came(f"{answer} {fields(answer.body, 'status', 'paymentStatus', 'mirror')}")
        return answer

    def _expert_says(self, paid: Paid, action: str) -> None:
        self._quietly(self._expert, DECIDE, {"bookingId": paid.booking, "action": action}, status=200)

    def _shows(self, paid: Paid, who: Person, *, status: str, payment: str) -> None:
        self._say.asked(f"GET /api/bookings/{paid.booking}", who.name)
        body = who.get(f"/api/bookings/{paid.booking}").body
        self._say.came(fields(body, "status", "paymentStatus"))
        self._say.expect(
            f"our books say: {status}, {payment}",
            (body.get("status"), body.get("paymentStatus")),
            (status, payment),
        )

    def _at_stripe(self, paid: Paid, *, status: str, captured: int, refunded: int) -> None:
        entry = next(each for each in self._control.books()["payment_intents"] if each["id"] == paid.intent)
        self._say.expect(
            f"Stripe's books say: {status}, captured {captured}, refunded {refunded}",
            (entry["status"], entry["captured"], entry["refunded"], entry["amount_capturable"]),
            (status, captured, refunded, 0),
        )

    def _open_slots(self) -> set[str]:
        now = datetime.now(UTC)
        window = {"from": _instant(now), "to": _instant(now + timedelta(days=7))}
        answer = self._student.get(f"/api/slots?{urlencode(window)}")
        if answer.status != 200:
            raise StepFailed("GET /api/slots", 200, f"{answer}: {answer.body}")
        return {slot["slotId"] for slot in answer.body["slots"]}

    def _is_open(self, ahead: int) -> None:
        self._say.expect(
            "the slot can be booked again",
            self._slots[ahead] in self._open_slots(),
            True,
        )


def _side_by_side(
    entry: Mapping[str, Any], ours: Mapping[str, Sums], theirs: Mapping[str, Sums]
) -> list[object]:
    booking = entry["metadata"]["booking_id"]
    mine = ours.get(booking, ("-", 0, 0))
    sign = "=" if mine == theirs[booking] else "!"
    return [booking, *mine, sign, entry["captured"], entry["refunded"], entry["status"]]


def _our_word(entry: Mapping[str, Any]) -> str:
    """What our payment should say, given Stripe's books of a PaymentIntent."""
    if entry["status"] == "succeeded":
        if entry["refunded"] == 0:
            return "captured"
        return "refunded" if entry["refunded"] == entry["captured"] else "partially_refunded"
    status = str(entry["status"])
    return {"canceled": "cancelled", "requires_capture": "authorized"}.get(status, status)


def _in_lines(names: Sequence[str], size: int) -> list[Sequence[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
