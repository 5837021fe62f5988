"""The end: everything that was done is compared with Stripe, looked up and checked once more."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from glue.demo.console import fields
from glue.demo.scene import PATIENCE, Scene

RECONCILE = "/api/admin/reconcile"


class Finale(Scene):
    """Ours against Stripe's, who did what, and the database against itself."""

    def tell(self) -> None:
        self._reconciliation()
        self._audit()
        self._invariants()

    def _reconciliation(self) -> None:
        say = self._say
        say.step("Reconciliation: every PaymentIntent, charge and refund at Stripe against our books")
        self._control.wait_idle(PATIENCE)
        now = datetime.now(UTC)
        window = {
            "from": (now - timedelta(hours=1)).isoformat(timespec="seconds"),
            "to": (now + timedelta(hours=1)).isoformat(timespec="seconds"),
        }
        answer = self._post(self._admin, RECONCILE, window, status=200)
        names = ("paymentIntents", "charges", "refunds", "differences", "pending")
        say.came(f"{answer} {fields(answer.body, *names)}")
        seen = len(self._control.books()["payment_intents"])
        say.expect(
            "all of them were looked at, and nothing differs",
            (answer.body["paymentIntents"], answer.body["differences"]),
            (seen, []),
        )

    def _audit(self) -> None:
        say = self._say
        say.step("Who did what with money: the audit trail of the administrator")
        say.asked(f"audit_trail(p_actor => '{self._admin.name}')", "as the operator")
        rows = self._cast.operator.all(
            "select * from booking.audit_trail(p_actor => %(actor)s)", {"actor": self._admin.name}
        )
        requests = Counter((row["action"], row["request_id"]) for row in rows)
        for (action, request_id), count in requests.items():
            say.came(f"{count} x {action}, request {request_id}")
        say.expect(
            "each act has its time and its request",
            [row for row in rows if not row["request_id"] or not row["created_at"]],
            [],
        )
        acts = {row["action"] for row in rows}
        say.expect(
            "approving, issuing and reconciling are among them",
            {"refund_request.approved", "invoice.issued", "reconciliation.finished"} <= acts,
            True,
        )

    def _invariants(self) -> None:
        say, operator = self._say, self._cast.operator
        say.step("The database checks itself")
        say.asked("select * from booking.check_invariants()", "as the operator")
        rows = operator.all("select * from booking.check_invariants()")
        say.came(f"{len(rows)} rows")
        say.expect("no invariant is broken", rows, [])
        say.asked("select * from booking.list_alerts()", "as the operator")
        alerts = operator.all("select * from booking.list_alerts()")
        say.came(f"{len(alerts)} rows")
        say.expect("nothing waits for a person", alerts, [])
