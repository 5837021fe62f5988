"""A sandbox with a data file goes on where it was left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import stripe

from glue.sandbox import create_server
from glue.sandbox.process import running
from tests.py.sandbox.support import SECRET, Payments, Receiver


def test_a_restart_keeps_payments_keys_clock_and_timers(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.json"
    values: Any = {"amount": 5000, "currency": "usd", "capture_method": "manual"}
    with running(data_file=file) as first:
        client = stripe.StripeClient("sk_test_x", base_addresses={"api": first.url})
        intent = client.v1.payment_intents.create(values, {"idempotency_key": "k1"})
        Payments(client).confirm(intent.id)
        first.control.advance(days=1)
        books = first.control.books()
    with running(data_file=file) as second:
        client = stripe.StripeClient("sk_test_x", base_addresses={"api": second.url})
        assert second.control.books() == books
        assert client.v1.payment_intents.create(values, {"idempotency_key": "k2"}).id != intent.id
        second.control.advance(days=5)
        assert client.v1.payment_intents.retrieve(intent.id).status == "requires_capture"
        second.control.advance(days=1)
        assert client.v1.payment_intents.retrieve(intent.id).status == "canceled"


def test_a_restart_replays_keys_and_delivers_what_was_left(tmp_path: Path, one_receiver: Receiver) -> None:
    one_receiver.clear()
    file = tmp_path / "sandbox.json"
    values: Any = {"amount": 5000, "currency": "usd"}
    with running(data_file=file, webhook_url=one_receiver.url, webhook_secret=SECRET) as first:
        first.control.hold()
        client = stripe.StripeClient("sk_test_x", base_addresses={"api": first.url})
        intent = client.v1.payment_intents.create(values, {"idempotency_key": "k1"})
    assert one_receiver.events == []
    assert file.stat().st_mode & 0o077 == 0
    with running(data_file=file) as second:
        client = stripe.StripeClient("sk_test_x", base_addresses={"api": second.url})
        assert client.v1.payment_intents.create(values, {"idempotency_key": "k1"}).id == intent.id
        second.control.wait_idle()
        assert one_receiver.types() == ["payment_intent.created"]


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"version": 99}'])
def test_a_file_that_is_not_ours_is_a_clear_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "sandbox.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"data_file: .*sandbox\.json cannot be read"):
        create_server(data_file=file)
    assert file.read_text() == text
