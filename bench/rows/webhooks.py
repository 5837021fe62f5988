"""process_webhook_event, fresh and duplicate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from bench.drive import Sample, pgbench
from bench.measure import Row, Size
from bench.stage import Database, Stage

CLIENTS = 8
NUMBER = "000000000000"


def rows(stage: Stage, size: Size) -> Iterator[Row]:
    """Each event says that the hold of one more payment is there; its duplicate says it again."""
    database = stage.database()
    database.load(
        f"call bench.load_slots(0, {size.loaded})",
        f"call bench.load_bookings(0, {size.loaded}, 'pending', '1 minute', {size.loaded})",
        f"call bench.load_payments(0, {size.loaded}, 'pending')",
    )
    event = f"replace('{payload()}', '{NUMBER}', lpad(:n::text, 12, '0'))::jsonb"
    ours = f"select booking.process_webhook_event({event})"
    floor = (
        f"insert into floor.webhook_events (id, payload) select e ->> 'id', e from (select {event} as e) x"
        " on conflict (id) do nothing"
    )
    for name, title, target in (("fresh", "a new event", 0.50), ("duplicate", "a duplicate", 0.80)):
        yield Row(
            name=f"webhook-{name}",
            title=f"process_webhook_event, {CLIENTS} connections, {title}",
            floor_title="insert of the same payload, on conflict do nothing",
            floor=partial(_send, database, floor, size),
            ours=partial(_send, database, ours, size),
            target=target,
            check=database.require_sound,
        )
    database.drop()


def payload() -> str:
    """An event as Stripe sends it, 2.5 kB, one number in it all over. pgbench takes a colon before a letter
    for a variable: json.dumps leaves a space there."""
    metadata = {
        "booking_id": f"00000000-0000-7000-9000-{NUMBER}",
        "payment_id": f"00000000-0000-7000-a000-{NUMBER}",
    }
    intent = {
        "id": f"pi_bench_{NUMBER}",
        "object": "payment_intent",
        "amount": 5000,
        "amount_capturable": 5000,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": {"allow_redirects": "always", "enabled": True},
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "manual",
        "client_secret": f"pi_bench_{NUMBER}_secret_0123456789abcdefghijklmno",
        "confirmation_method": "automatic",
        "created": 1780000000,
        "currency": "usd",
        "customer": None,
        "description": None,
        "last_payment_error": None,
        "latest_charge": f"ch_bench_{NUMBER}",
        "livemode": False,
        "metadata": metadata,
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": "pm_card_visa",
        "payment_method_configuration_details": {"id": "pmc_0123456789abcdefghijklmn", "parent": None},
        "payment_method_options": {
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            },
            "link": {"persistent_token": None},
        },
        "payment_method_types": ["card", "link"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_capture",
        "transfer_data": None,
        "transfer_group": None,
    }
    return json.dumps(
        {
            "id": f"evt_bench_{NUMBER}",
            "object": "event",
            "api_version": "2025-08-27.basil",
            "created": 1780000000,
            "data": {"object": intent},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": "req_0123456789abcd", "idempotency_key": f"00000000-0000-7000-a000-{NUMBER}"},
            "type": "payment_intent.amount_capturable_updated",
        }
    )


def _send(database: Database, script: str, size: Size, number: int) -> Sample:
    return pgbench(
        database, script, clients=CLIENTS, calls=size.calls, variables={"first": number * size.calls}
    )
