"""The floors of the HTTP rows: bare Flask, which asks nobody who he is and checks nothing. And with a stored
function in place of its insert, which is the most that a server of ours could reach.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import stripe
from flask import Flask, Response, jsonify, request
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from bench.load import Server, python, served
from bench.site import WEBHOOK_SECRET
from bench.stripe_stub import CAPTURED, CREATED

THREADS = 4
"""What bare Flask is fastest with."""


def create_app() -> Flask:
    """One insert a request, from a pool of as many connections as ours."""
    app = Flask("floor")
    pool = ConnectionPool(
        os.environ["DATABASE_URL"],
        min_size=1,
        max_size=int(os.environ["DATABASE_POOL_SIZE"]),
        kwargs={"autocommit": True},
        open=True,
    )
    client = stripe.StripeClient(
        os.environ["STRIPE_SECRET_KEY"], base_addresses={"api": os.environ["STRIPE_API_BASE"]}
    )

    def insert(slot: str) -> str:
        with pool.connection() as connection:
            row = connection.execute(
                "insert into floor.bookings (id, slot_id, student_id)"
                " values (gen_random_uuid(), %s, 'student') returning id",
                [slot],
            ).fetchone()
        assert row is not None
        return str(row[0])

    @app.get("/")
    def ready() -> Response:
        return jsonify()

    @app.post("/create")
    def create() -> tuple[Response, int]:
        return jsonify(id=insert(request.get_json()["slotId"])), 201

    @app.post("/create-stored")
    def create_stored() -> tuple[Response, int]:
        slot = request.get_json()["slotId"]
        with pool.connection() as connection:
            row = connection.execute(
                "select * from booking.create_booking_transaction(%s, %s)", [f"student-{slot[-3:]}", slot]
            ).fetchone()
        assert row is not None
        return jsonify(id=str(row[0])), 201

    @app.post("/intent")
    def intent() -> Response:
        booking = insert(request.get_json()["bookingId"])
        made = client.v1.payment_intents.create(
            {"amount": 5000, "currency": "usd", "capture_method": "manual"}, {"idempotency_key": booking}
        )
        assert made.status == CREATED
        return jsonify(id=made.id, clientSecret=made.client_secret)

    @app.post("/confirm")
    def confirm() -> Response:
        booking = insert(request.get_json()["bookingId"])
        made = client.v1.payment_intents.capture("pi_floor", {}, {"idempotency_key": booking})
        assert made.status == CAPTURED
        return jsonify(id=booking, status=made.status)

    def signed() -> Any:
        body = request.get_data(as_text=True)
        stripe.WebhookSignature.verify_header(body, request.headers["Stripe-Signature"], WEBHOOK_SECRET, 300)
        return json.loads(body)

    @app.post("/webhook-stored")
    def webhook_stored() -> Response:
        with pool.connection() as connection:
            row = connection.execute("select booking.process_webhook_event(%s)", [Jsonb(signed())]).fetchone()
        assert row == ("processed",)
        return jsonify(received=True)

    @app.post("/webhook")
    def webhook() -> Response:
        event = signed()
        with pool.connection() as connection:
            connection.execute(
                "insert into floor.webhook_events (id, payload) values (%s, %s) on conflict (id) do nothing",
                [event["id"], Jsonb(event)],
            )
        return jsonify(received=True)

    return app


def bare(settings: Mapping[str, str], *, workers: int = 2) -> AbstractContextManager[Server]:
    """It serves, under the server that was fastest for it. Its threads stay: none is started or ended
    meanwhile."""
    pool = ["--blocking-threads", str(THREADS), "--blocking-threads-idle-timeout", "600"]
    served_by = ["granian", "--interface", "wsgi", "--workers", str(workers), *pool, "--no-ws"]
    return served(
        lambda port: python("-m", *served_by, "--port", str(port), "--factory", "bench.floor:create_app"),
        settings,
    )
