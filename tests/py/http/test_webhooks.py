"""Stripe's events over HTTP: who may send them, what becomes of them."""

from __future__ import annotations

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from glue.sandbox.process import SandboxProcess
from glue.sandbox.signing import signature_header
from glue.settings import Settings
from tests.py.http.site import (
    OLD_WEBHOOK_SECRET,
    WEBHOOK_SECRET,
    WEBHOOKS,
    Site,
    an_event,
    base_env,
    refused,
)

BODY = json.dumps(an_event()).encode()


def signed(body: bytes = BODY, secret: str = WEBHOOK_SECRET, **options: Any) -> str:
    return signature_header(body, secret, **options)


def v1_of(header: str) -> str:
    return next(part for part in header.split(",") if part.startswith("v1="))


BAD_SIGNATURES = {
    "empty": "",
    "not a header": "what is this",
    "no timestamp": v1_of(signed()),
    "no signature": f"t={int(time.time())}",
    "timestamp is no number": "t=now,v1=00",
    "v0 scheme": signed(scheme="v0"),
    "wrong secret": signed(secret="whsec_somebody_else"),
    "another body": signed(BODY + b" "),
    "not ascii": f"t={int(time.time())},v1=\xe9",
    "future scheme": signed(scheme="v2"),
}


@pytest.mark.parametrize("signature", BAD_SIGNATURES.values(), ids=BAD_SIGNATURES.keys())
def test_a_bad_signature_is_400_and_nothing_is_written(lasting_site: Site, signature: str) -> None:
    with lasting_site.unchanged():
        refused(lasting_site.deliver(BODY, signature=signature), 400, "invalid_signature")
    assert lasting_site.deliver(BODY).status_code == 200


def test_an_unsigned_webhook_is_400_and_nothing_is_written(site: Site) -> None:
    with site.unchanged():
        response = requests.post(site.base + WEBHOOKS, data=BODY, timeout=120)
        refused(response, 400, "invalid_signature")


def test_an_event_is_in_the_line_of_its_request(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    event = an_event()
    with caplog.at_level(logging.INFO, logger="glue.app"):
        assert site.deliver(json.dumps(event).encode()).status_code == 200
        assert site.new_student().get("/api/bookings").status_code == 200
    told, plain = ({**vars(record)} for record in caplog.records if record.message == "request")
    assert (told["event_id"], told["event_type"], told["result"]) == (event["id"], event["type"], "ignored")
    assert told["status"] == 200
    assert "event_id" not in plain


def test_a_stale_signature_is_refused_and_a_fresh_one_is_not(site: Site) -> None:
    now = int(time.time())
    with site.unchanged():
        refused(site.deliver(BODY, timestamp=now - 310), 400, "invalid_signature")
    assert site.deliver(BODY, timestamp=now - 280).json()["result"] == "ignored"


def test_one_of_several_v1_signatures_is_enough(site: Site) -> None:
    now = int(time.time())
    wrong, right = (v1_of(signed(secret=s, timestamp=now)) for s in ("whsec_x", WEBHOOK_SECRET))
    assert site.deliver(BODY, signature=f"t={now},{wrong},{right}").status_code == 200
    with site.unchanged():
        refused(site.deliver(BODY, signature=f"t={now},{wrong},{wrong}"), 400, "invalid_signature")


def test_while_a_secret_is_rotated_both_are_taken_and_afterwards_one(
    site: Site, db_url: str, sandbox: SandboxProcess
) -> None:
    assert site.deliver(an_event(), secret=WEBHOOK_SECRET).status_code == 200
    assert site.deliver(an_event(), secret=OLD_WEBHOOK_SECRET).status_code == 200
    with Site(db_url, sandbox, stripe_webhook_secrets=(WEBHOOK_SECRET,)).open() as after, after.unchanged():
        refused(after.deliver(an_event(), secret=OLD_WEBHOOK_SECRET), 400, "invalid_signature")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_payload"),
        (b"{", "invalid_payload"),
        (b"[]", "invalid_payload"),
        (b'"evt"', "invalid_payload"),
        (b"[" * 20000, "invalid_payload"),
        (b"{}", "invalid_request"),
        (b'{"id": 5, "type": []}', "invalid_request"),
        (b'{"id": "evt_1", "type": "charge.captured"}', "invalid_request"),
        (b'{"id": "evt_1", "type": "charge.captured", "data": {"object": "ch_1"}}', "invalid_request"),
        (b'{"id": "evt_1\\u0000", "type": "charge.captured", "data": {"object": {}}}', "invalid_request"),
        (b'{"id": "evt_1", "type": "x", "data": {"object": {"a": "\\ud800"}}}', "invalid_request"),
    ],
)
def test_a_signed_body_that_is_no_event_is_400(lasting_site: Site, body: bytes, code: str) -> None:
    with lasting_site.unchanged():
        refused(lasting_site.deliver(body), 400, code)
    assert lasting_site.deliver(an_event()).status_code == 200


def test_a_body_that_is_not_utf8_is_400(site: Site) -> None:
    with site.unchanged():
        refused(site.deliver(b'{"id": "\xff"}', signature=signed()), 400, "invalid_payload")


def test_an_event_has_its_effect_once(site: Site) -> None:
    student = site.new_student()
    booking, _ = site.authorized(student)
    [event] = site.control.events(type="payment_intent.amount_capturable_updated")
    assert site.deliver(event).json() == {"received": True, "result": "duplicate"}
    assert site.booking(booking)["payment_status"] == "authorized"


def test_the_same_event_twenty_times_at_once_has_one_effect(site: Site) -> None:
    event = an_event("charge.captured")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: site.deliver(event), range(20)))
    assert {answer.status_code for answer in answers} == {200}
    results = [answer.json()["result"] for answer in answers]
    assert sorted(results) == ["duplicate"] * 19 + ["ignored"]


def test_an_event_about_an_unknown_booking_is_recorded_and_ignored(site: Site) -> None:
    event = an_event()
    assert site.deliver(event).json() == {"received": True, "result": "ignored"}
    [row] = site.sql.execute("select stripe_event_id, status::text from booking.webhook_events").fetchall()
    assert row == {"stripe_event_id": event["id"], "status": "ignored"}


def test_an_effect_that_fails_is_500_so_that_stripe_sends_it_again(site: Site) -> None:
    student = site.new_student()
    booking = site.book(student)
    intent = site.intent(student, booking)
    site.sql.execute(
        "alter table booking.payments add constraint broken check (status <> 'authorized') not valid"
    )
    site.customer.v1.payment_intents.confirm(intent["paymentIntentId"], {"payment_method": "pm_card_visa"})
    event = site.control.events(type="payment_intent.amount_capturable_updated")[0]
    refused(site.deliver(event), 500, "webhook_failed")
    site.sql.execute("alter table booking.payments drop constraint broken")
    assert site.deliver(event).json()["result"] == "processed"
    assert site.booking(booking)["payment_status"] == "authorized"


def test_an_event_that_waits_too_long_for_a_lock_is_503_and_works_later(
    db_url: str, sandbox: SandboxProcess
) -> None:
    event = an_event()
    with Site(db_url, sandbox, lock_timeout_ms=100).open() as site:
        with site.sql.transaction():
            site.sql.execute("lock table booking.webhook_events in exclusive mode")
            response = site.deliver(event)
            refused(response, 503, "try_again")
            assert response.headers["Retry-After"] == "1"
        assert site.deliver(event).status_code == 200


def test_the_payload_is_kept_without_the_clients_secret(site: Site) -> None:
    site.authorized(site.new_student())
    stored = "".join(site.contents()["webhook_events"])
    assert "amount_capturable" in stored
    assert "_secret_" not in stored


def test_events_come_only_from_the_allowed_addresses(db_url: str, sandbox: SandboxProcess) -> None:
    stripes = Settings.from_env(
        base_env(db_url) | {"STRIPE_WEBHOOK_IPS": "3.18.12.63, 10.0.0.0/8"}
    ).stripe_webhook_networks
    with Site(db_url, sandbox, stripe_webhook_networks=stripes).open() as site, site.unchanged():
        refused(site.deliver(an_event()), 403, "forbidden")


def test_the_address_is_taken_from_as_many_proxies_as_are_trusted(
    db_url: str, sandbox: SandboxProcess
) -> None:
    networks = Settings.from_env(
        base_env(db_url) | {"STRIPE_WEBHOOK_IPS": "3.18.12.63"}
    ).stripe_webhook_networks
    body = json.dumps(an_event()).encode()

    def deliver(site: Site, forwarded: str) -> requests.Response:
        headers = {"Stripe-Signature": signed(body), "X-Forwarded-For": forwarded}
        return requests.post(site.base + WEBHOOKS, data=body, headers=headers, timeout=120)

    with Site(db_url, sandbox, stripe_webhook_networks=networks).open() as direct:
        refused(deliver(direct, "3.18.12.63"), 403, "forbidden")
    with Site(db_url, sandbox, stripe_webhook_networks=networks, trusted_proxies=1).open() as behind:
        refused(deliver(behind, "3.18.12.63, 198.51.100.7"), 403, "forbidden")
        refused(deliver(behind, "not an address"), 403, "forbidden")
        assert deliver(behind, "198.51.100.7, 3.18.12.63").status_code == 200


def test_a_webhook_may_be_larger_than_a_request_of_the_api_but_not_endless(site: Site) -> None:
    event = an_event(padding="x" * 100_000)
    assert site.deliver(event).status_code == 200
    with site.unchanged():
        refused(site.deliver(an_event(padding="x" * 1_100_000)), 413, "payload_too_large")
