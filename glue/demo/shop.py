"""What else is paid for: seats of a class, a product, money back on request, and the papers about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from glue.children import wait_until
from glue.demo.console import Console, StepFailed, fields, money
from glue.demo.people import Answer, Person
from glue.demo.scene import PATIENCE, Cast, Scene, compact

FEE, CURRENCY = 2500, "usd"
SEATS, PUPILS = 3, 5
PRODUCT, PRODUCT_PRICE = "violin-strings", 1900
PART = 1000
"""What the refund request asks for, in minor units."""

PAY_SEAT, CONFIRM_SEAT = "/api/payments/create-intent", "/api/bookings/confirm"
CHECKOUT = "/api/checkout/create-session"
ASK_BACK, DECIDE_BACK = "/api/refunds/request", "/api/admin/refunds/{}/decision"
INVOICES, ISSUE = "/api/invoices", "/api/admin/invoices/issue-missing"


class Shop(Scene):
    """A class, an order, a refund request and invoices."""

    def __init__(self, cast: Cast, console: Console) -> None:
        super().__init__(cast, console)
        self._teacher = cast.person("expert-otto", "expert")
        self._pupils = [cast.person(f"pupil-{number}", "student") for number in range(1, PUPILS + 1)]
        self._class = ""
        self._seated: list[tuple[Person, Mapping[str, Any]]] = []

    def tell(self) -> None:
        self._seats()
        self._pay_for_seats()
        self._order()
        self._ask_for_money_back()
        self._invoices()

    def _seats(self) -> None:
        say, server = self._say, self._cast.server
        say.step(f"A class has {SEATS} seats, and {PUPILS} pupils want to pay for one at the same moment")
        session = server.scalar(
            "select booking.create_session(p_expert_id => %(expert)s, p_title => 'Group lesson',"
            " p_amount => %(amount)s, p_currency => %(currency)s)",
            {"expert": self._teacher.name, "amount": FEE, "currency": CURRENCY},
        )
        starts = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=72)
        self._class = str(
            server.scalar(
                "select booking.publish_slot(p_expert_id => %(expert)s, p_session_id => %(session)s,"
                " p_starts_at => %(starts)s, p_ends_at => %(ends)s, p_capacity => %(seats)s,"
                " p_confirmation => 'instant')",
                {
                    "expert": self._teacher.name,
                    "session": session,
                    "starts": starts,
                    "ends": starts + timedelta(hours=1),
                    "seats": SEATS,
                },
            )
        )
        say.asked(f"publish_slot(..., p_capacity => {SEATS}, p_confirmation => 'instant')", "as the server")
        say.came(self._class)
        body = {"classId": self._class}
        say.asked(f"POST {PAY_SEAT} {compact(body)}", f"pupil-1 .. pupil-{PUPILS}, in parallel")
        with ThreadPoolExecutor(PUPILS) as pool:
            answers = list(pool.map(lambda pupil: pupil.post(PAY_SEAT, body), self._pupils))
        counted = Counter(str(answer) for answer in answers)
        say.came(", ".join(f"{count} x {answer}" for answer, count in counted.items()))
        say.expect(
            "a seat is held before anybody pays: nobody is charged for a seat that is gone",
            dict(counted),
            {"200": SEATS, "409 capacity_full": PUPILS - SEATS},
        )
        self._seated = [
            (pupil, answer.body)
            for pupil, answer in zip(self._pupils, answers, strict=True)
            if answer.status == 200
        ]

    def _pay_for_seats(self) -> None:
        say = self._say
        say.step("Two of them pay; one comes back to the page, the other has closed the browser")
        (first, paid), (second, closed), _ = self._seated
        for pupil, intent in ((first, paid), (second, closed)):
            say.asked(f"payment_intents.confirm('{intent['paymentIntentId']}', pm_card_visa)", pupil.name)
            say.came(self._cast.card.pay(intent["paymentIntentId"]))
        body = {"classId": self._class, "paymentIntentId": paid["paymentIntentId"]}
        answer = self._post(first, CONFIRM_SEAT, body, status=200)
        say.came(f"{answer} {fields(answer.body, 'bookingId', 'status')}")
        say.expect("paid is confirmed: no expert has to decide", answer.body["status"], "confirmed")
        again = self._post(first, CONFIRM_SEAT, body, status=200)
        say.expect("asked twice, it is the same booking", again.body["bookingId"], answer.body["bookingId"])
        self._control.wait_idle(PATIENCE)
        say.asked(f"GET /api/bookings/{closed['bookingId']}", second.name)
        booking = second.get(f"/api/bookings/{closed['bookingId']}").body
        say.came(fields(booking, "status", "paymentStatus"))
        say.expect(
            "the webhook alone has booked the other one",
            (booking["status"], booking["paymentStatus"]),
            ("confirmed", "captured"),
        )

    def _order(self) -> None:
        say, server = self._say, self._cast.server
        say.step("A product is bought through Stripe Checkout; the button was clicked three times")
        server.one(
            "select booking.create_product(p_product_id => %(product)s, p_name => 'Violin strings',"
            " p_amount => %(amount)s, p_currency => %(currency)s)",
            {"product": PRODUCT, "amount": PRODUCT_PRICE, "currency": CURRENCY},
        )
        body = {"productId": PRODUCT, "idempotencyKey": "demo-order-1"}
        self._control.barrier("checkout", when="before", path="/v1/checkout/sessions", method="POST")
        say.asked(f"POST {CHECKOUT} {compact(body)}", f"{self._student.name}, three times at once")
        with ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(self._student.post, CHECKOUT, body) for _ in range(3)]
            # Stripe answers the first when the two others have been turned away.
            wait_until(lambda: sum(call.done() for call in calls) == 2, PATIENCE, pause=0.02)
            self._control.release_barrier("checkout")
            answers = [call.result() for call in calls]
        statuses = sorted(answer.status for answer in answers)
        say.came(", ".join(str(status) for status in statuses))
        say.expect("one is served, two are told to wait", statuses, [200, 409, 409])
        [served] = [answer.body["data"] for answer in answers if answer.status == 200]
        waits = {answer.body["data"]["retry_after"] for answer in answers if answer.status == 409}
        say.expect("for five seconds", waits, {5})
        again = self._post(self._student, CHECKOUT, body, status=200)
        say.came(f"{again} {fields(again.body['data'], 'order_id', 'session_id')}")
        say.expect("after that it is the same order and session", again.body["data"], served)
        say.asked(f"pays the session {served['session_id']}", "the customer, on Stripe's page")
        self._control.pay_session(served["session_id"])
        self._control.wait_idle(PATIENCE)
        say.asked("select * from booking.get_checkout_stats()", "as the operator")
        row = self._cast.operator.one("select * from booking.get_checkout_stats()")
        say.came(fields(row, "orders", "orders_by_status", "paid_amounts", "keys_repeated"))
        say.expect(
            "Stripe's webhook has paid the order",
            (row["orders_by_status"]["paid"], row["paid_amounts"]),
            (1, {CURRENCY: PRODUCT_PRICE}),
        )

    def _ask_for_money_back(self) -> None:
        say = self._say
        say.step(f"A pupil asks for {money(PART, CURRENCY)} back, and an administrator approves it")
        pupil, seat = self._seated[0]
        body = {"bookingId": seat["bookingId"], "amount": FEE + 1, "reason": "The room was cold."}
        refused = pupil.post(ASK_BACK, body)
        say.asked(f"POST {ASK_BACK} with {money(FEE + 1, CURRENCY)}", pupil.name)
        say.came(str(refused))
        say.expect("not more than was paid", refused.status, 409)
        asked = self._post(pupil, ASK_BACK, body | {"amount": PART}, status=201)
        say.came(f"{asked} {fields(asked.body, 'requestId', 'status')}")
        path = DECIDE_BACK.format(asked.body["requestId"])
        decided = self._post(self._admin, path, {"decision": "approve"}, status=200)
        say.came(f"{decided} {fields(decided.body, 'status', 'refundAmount', 'mirror')}")
        self._control.wait_idle(PATIENCE)
        entry = next(
            each for each in self._control.books()["payment_intents"] if each["id"] == seat["paymentIntentId"]
        )
        say.expect("Stripe has given it back", (entry["captured"], entry["refunded"]), (FEE, PART))

    def _invoices(self) -> None:
        say = self._say
        say.step("Invoices: one for each payment, a credit note for each refund, no number left out")
        issued = self._post(self._admin, ISSUE, {}, status=200)
        say.came(f"{issued} {compact(issued.body)}")
        pupil, _ = self._seated[0]
        say.asked(f"GET {INVOICES}", pupil.name)
        listed = self._got(pupil, INVOICES)
        for invoice in listed.body["invoices"]:
            say.came(fields(invoice, "number", "kind", "gross", "currency"))
        say.expect(
            "the pupil has an invoice and a credit note",
            sorted(invoice["kind"] for invoice in listed.body["invoices"]),
            ["credit_note", "invoice"],
        )
        [invoice] = [each for each in listed.body["invoices"] if each["kind"] == "invoice"]
        path = f"{INVOICES}/{invoice['invoiceId']}.pdf"
        say.asked(f"GET {path}", pupil.name)
        status, data = self._cast.api.download(path, bearer=pupil.token)
        say.came(f"{status}, {len(data)} bytes")
        say.expect("it is a PDF", (status, data[:5]), (200, b"%PDF-"))

    def _got(self, who: Person, path: str) -> Answer:
        answer = who.get(path)
        if answer.status != 200:
            raise StepFailed(f"GET {path}", 200, f"{answer}: {answer.body}")
        return answer
