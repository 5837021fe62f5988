"""What a person did over HTTP is in the audit trail, under the request's id."""

from __future__ import annotations

from tests.py.http.site import Site


def test_each_step_of_a_booking_carries_its_actor_and_its_request(site: Site) -> None:
    student, offer = site.new_student(), site.offer()
    expert = site.person(offer.expert, "expert")
    booking = site.book(student, offer)
    answers = [
        student.post(
            "/api/payment/create-intent",
            {"bookingId": booking["bookingId"]},
            headers={"X-Request-Id": "req-paying"},
        )
    ]
    site.pay(answers[0].json())
    for who, path, body, request_id in (
        (expert, "/api/bookings/expert/confirm", {"action": "confirm"}, "req-deciding"),
        (student, "/api/bookings/cancel", {}, "req-cancelling"),
    ):
        answers.append(
            who.post(path, {"bookingId": booking["bookingId"], **body}, headers={"X-Request-Id": request_id})
        )
    assert [answer.status_code for answer in answers] == [200, 200, 200], [a.text for a in answers]
    site.control.wait_idle()

    rows = site.sql.execute(
        "select action, actor, request_id from booking.audit_trail(p_subject => %s)", (booking["bookingId"],)
    ).fetchall()
    trail = [(row["action"], row["actor"], row["request_id"]) for row in rows]
    person = student.user
    assert trail[:2] == [("payment.pending", person, "req-paying")] * 2
    assert ("booking.confirmed", offer.expert, "req-deciding") in trail
    assert ("booking.cancelled", person, "req-cancelling") in trail
    # Stripe's own word, under the request that asked for it or under its event
    reached = {action: (actor, request) for action, actor, request in trail if action != "payment.pending"}
    assert reached["payment.authorized"][0] == reached["payment.captured"][0] == "stripe"
    assert reached["payment.authorized"][1].startswith("evt_")
    assert reached["payment.captured"][1] == "req-deciding" or reached["payment.captured"][1].startswith(
        "evt_"
    )
    assert reached["payment.refunded"][0] == "stripe"
    assert None not in {request for *_, request in trail}
