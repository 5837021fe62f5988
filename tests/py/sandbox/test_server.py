"""Lists, expansion, the clock, HTTP itself, and the process."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import stripe

from glue.sandbox import create_server
from glue.sandbox.control import ControlError, SandboxControl
from glue.sandbox.params import decode_form
from glue.sandbox.process import SandboxProcess, running
from tests.py.sandbox.support import SECRET, Payments, Receiver

KEY = {"Authorization": "Bearer sk_test_x"}


# -- lists and expansion


def test_lists_page_through_everything_newest_first(client: stripe.StripeClient, payments: Payments) -> None:
    made = [payments.intent().id for _ in range(7)]
    first = client.v1.payment_intents.list({"limit": 3})
    assert [row.id for row in first.data] == made[:3:-1]
    assert first.has_more is True
    assert [row.id for row in first.auto_paging_iter()] == made[::-1]
    last = client.v1.payment_intents.list({"limit": 3, "starting_after": made[1]})
    assert ([row.id for row in last.data], last.has_more) == ([made[0]], False)


def test_lists_page_backwards(client: stripe.StripeClient, payments: Payments) -> None:
    made = [payments.intent().id for _ in range(5)]
    back = client.v1.payment_intents.list({"limit": 2, "ending_before": made[1]})
    assert ([row.id for row in back.data], back.has_more) == ([made[3], made[2]], True)


def test_lists_filter_by_creation_time(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    old = payments.intent()
    sandbox.advance(days=1)
    new = payments.intent()

    def ids(created: Any) -> list[str]:
        return [row.id for row in client.v1.payment_intents.list({"created": created})]

    assert ids({"gte": new.created}) == [new.id]
    assert ids({"lt": new.created}) == [old.id]
    assert ids({"gt": old.created, "lte": new.created}) == [new.id]
    assert ids(old.created) == [old.id]


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"starting_after": "pi_none"}, "starting_after"),
        ({"created": {"since": 1}}, "created[since]"),
        ({"colour": "red"}, "colour"),
        ({"expand": ["data.colour"]}, "expand"),
        ({"expand": "latest_charge"}, "expand"),
    ],
)
def test_refused_list_parameters_are_named(client: stripe.StripeClient, values: Any, param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.payment_intents.list(values)
    assert caught.value.param == param


def test_expand_reaches_into_lists_and_objects(client: stripe.StripeClient, payments: Payments) -> None:
    intent = payments.paid()
    client.v1.refunds.create({"payment_intent": intent.id})
    (row,) = client.v1.payment_intents.list({"expand": ["data.latest_charge.refunds"]})
    assert isinstance(row.latest_charge, stripe.Charge)
    assert row.latest_charge.refunds is not None
    assert row.latest_charge.refunds.data[0].amount == 5000
    plain = client.v1.payment_intents.retrieve(intent.id)
    assert isinstance(plain.latest_charge, str)


def test_an_impossible_expand_is_refused_before_anything_happens(
    client: stripe.StripeClient, sandbox: SandboxControl
) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        client.v1.payment_intents.create({"amount": 500, "currency": "usd", "expand": ["colour"]})
    assert sandbox.books()["payment_intents"] == []


def test_balance_transactions_add_up(client: stripe.StripeClient, payments: Payments) -> None:
    intent = payments.paid(900)
    client.v1.refunds.create({"payment_intent": intent.id, "amount": 400})
    assert sum(row.amount for row in client.v1.balance_transactions.list()) == 500


# -- clock


def test_a_hold_lapses_after_seven_days(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = payments.held()
    sandbox.advance(days=6, hours=23)
    assert client.v1.payment_intents.retrieve(intent.id).status == "requires_capture"
    sandbox.advance(hours=1)
    after = client.v1.payment_intents.retrieve(intent.id)
    assert (after.status, after.cancellation_reason, after.amount_capturable) == ("canceled", "automatic", 0)
    assert [event["type"] for event in sandbox.events()][-2:] == ["charge.expired", "payment_intent.canceled"]
    assert sandbox.events()[-1]["request"] == {"id": None, "idempotency_key": None}
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.payment_intents.capture(intent.id)
    assert caught.value.code == "payment_intent_unexpected_state"


def test_a_captured_hold_does_not_lapse(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = client.v1.payment_intents.capture(payments.held().id)
    sandbox.advance(days=30)
    assert client.v1.payment_intents.retrieve(intent.id).status == "succeeded"


def test_one_hold_can_be_let_lapse(payments: Payments, sandbox: SandboxControl) -> None:
    intent, other = payments.held(), payments.held()
    assert sandbox.lapse(intent.id)["status"] == "canceled"
    assert sandbox.books()["payment_intents"][1]["id"] == other.id
    assert sandbox.books()["payment_intents"][1]["status"] == "requires_capture"


def test_a_lapse_that_stripe_notices_at_the_capture(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    intent = payments.held()
    assert sandbox.lapse(intent.id, cancel=False)["status"] == "requires_capture"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.charges.capture(str(intent.latest_charge))
    assert caught.value.code == "charge_expired_for_capture"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.payment_intents.capture(intent.id)
    assert caught.value.code == "charge_expired_for_capture"
    assert caught.value.error is not None
    assert caught.value.error.payment_intent is not None
    assert caught.value.error.payment_intent.status == "canceled"
    assert client.v1.payment_intents.retrieve(intent.id).cancellation_reason == "automatic"


# -- books and log


def test_the_books_show_every_intent_and_the_totals(
    client: stripe.StripeClient, payments: Payments, sandbox: SandboxControl
) -> None:
    payments.held(1000, metadata={"payment_id": "p1"})
    paid = payments.paid(2000)
    refund = client.v1.refunds.create(
        {"payment_intent": paid.id, "amount": 500, "metadata": {"command_id": "c"}}
    )
    sandbox.dispute(payment_intent=paid.id, amount=100)
    client.v1.payment_intents.create({"amount": 300, "currency": "eur"})
    books = sandbox.books()
    held, second, third = books["payment_intents"]
    assert (held["metadata"], held["amount_capturable"]) == ({"payment_id": "p1"}, 1000)
    assert (second["captured"], second["refunded"], second["disputed"], second["charges"]) == (
        2000,
        500,
        100,
        1,
    )
    assert second["refunds"] == [
        {"id": refund.id, "amount": 500, "status": "succeeded", "metadata": {"command_id": "c"}}
    ]
    assert third["currency"] == "eur"
    assert books["totals"] == {
        "usd": {"payment_intents": 2, "capturable": 1000, "captured": 2000, "refunded": 500, "disputed": 100},
        "eur": {"payment_intents": 1, "capturable": 0, "captured": 0, "refunded": 0, "disputed": 0},
    }


def test_the_log_counts_calls_and_effects(payments: Payments, sandbox: SandboxControl) -> None:
    intent = payments.held()
    rows = sandbox.requests(method="POST", path=r"/confirm$")
    assert [(row["path"], row["status"], row["applied"]) for row in rows] == [
        (f"/v1/payment_intents/{intent.id}/confirm", 200, True)
    ]


def test_reset_forgets_everything_but_the_endpoints(
    payments: Payments, sandbox: SandboxControl, receiver: Receiver
) -> None:
    payments.held()
    sandbox.advance(days=1)
    sandbox.set_keys("sk_test_other")
    sandbox.fault("503")
    sandbox.hold()
    sandbox.reset()
    assert sandbox.books() == {"payment_intents": [], "totals": {}}
    assert (sandbox.events(), sandbox.requests(), sandbox.faults(), sandbox.held()) == ([], [], [], [])
    assert sandbox.call("GET", "clock")["offset"] == 0
    receiver.clear()
    payments.intent()
    sandbox.wait_idle()
    assert receiver.types() == ["payment_intent.created"]


# -- HTTP


def test_one_connection_serves_many_requests(process: SandboxProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(process.url.rsplit(":", 1)[1]), timeout=120)
    sockets = set()
    for _ in range(3):
        connection.request("GET", "/v1/events", headers=KEY)
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, answer.version) == (200, 11)
        assert connection.sock is not None
        sockets.add(connection.sock.getsockname())
    connection.close()
    assert len(sockets) == 1


def test_64_clients_at_once_are_all_served(process: SandboxProcess, sandbox: SandboxControl) -> None:
    ready = threading.Barrier(64)

    def client(number: int) -> int:
        with requests.Session() as session:
            ready.wait()
            for part in range(2):
                answer = session.post(
                    f"{process.url}/v1/payment_intents",
                    data={"amount": 500, "currency": "usd", "metadata[n]": f"{number}.{part}"},
                    headers=KEY,
                    timeout=120,
                )
        return answer.status_code

    with ThreadPoolExecutor(64) as pool:
        assert set(pool.map(client, range(64))) == {200}
    assert len({entry["metadata"]["n"] for entry in sandbox.books()["payment_intents"]}) == 128


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/unicorns", 404),
        ("POST", "/v1/events", 404),
        ("GET", "/", 404),
        ("GET", "/_sandbox/unicorns", 404),
        ("GET", "/_sandbox/health", 200),
        ("POST", "/_sandbox/clock", 400),
    ],
)
def test_unknown_paths_are_refused(process: SandboxProcess, method: str, path: str, status: int) -> None:
    answer = requests.request(method, process.url + path, headers=KEY, data="not json", timeout=120)
    assert answer.status_code == status
    assert isinstance(answer.json(), dict)


def test_a_body_that_is_too_large_is_refused(process: SandboxProcess) -> None:
    port = int(process.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.sendall(b"POST /v1/refunds HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_control_input_must_be_a_json_object(process: SandboxProcess, sandbox: SandboxControl) -> None:
    answer = requests.post(f"{process.url}/_sandbox/clock", data="[1]", timeout=120)
    assert (answer.status_code, answer.json()["error"]) == (400, "body: must be a JSON object")
    with pytest.raises(ControlError) as caught:
        sandbox.redeliver("evt_none")
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a=1&b=", {"a": "1", "b": ""}),
        ("a[b][c]=1&a[d]=2", {"a": {"b": {"c": "1"}, "d": "2"}}),
        ("e[]=x&e[]=y", {"e": ["x", "y"]}),
        ("e[0]=x&e[1]=y", {"e": ["x", "y"]}),
        ("i[0][n]=1&i[1][n]=2", {"i": [{"n": "1"}, {"n": "2"}]}),
        ("metadata[0]=x", {"metadata": {"0": "x"}}),
        ("p[metadata][0]=x", {"p": {"metadata": {"0": "x"}}}),
        ("a=%C3%A9+%26", {"a": "é &"}),
        ("", {}),
    ],
)
def test_forms_with_nested_keys_are_decoded(text: str, values: Any) -> None:
    assert decode_form(text) == values


def test_a_form_that_contradicts_itself_is_refused(process: SandboxProcess) -> None:
    answer = requests.post(f"{process.url}/v1/refunds", data="a=1&a[b]=2", headers=KEY, timeout=120)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "a[b]")


# -- process


def test_a_child_process_delivers_from_the_start_and_ends_cleanly(one_receiver: Receiver) -> None:
    one_receiver.clear()
    with running(webhook_url=one_receiver.url, webhook_secret=SECRET, api_keys=["sk_test_only"]) as sandbox:
        client = stripe.StripeClient("sk_test_only", base_addresses={"api": sandbox.url})
        client.v1.payment_intents.create({"amount": 500, "currency": "usd"})
        sandbox.control.wait_idle()
        assert one_receiver.types() == ["payment_intent.created"]
        with pytest.raises(stripe.AuthenticationError):
            client.v1.events.list({}, {"api_key": "sk_test_other"})
        assert sandbox.stop() == 0


@pytest.mark.parametrize("end", ["SIGTERM", "SIGINT", "EOF"])
def test_the_command_ends_cleanly(end: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "glue.sandbox", "--exit-on-eof"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdin is not None
        assert child.stdout.readline().startswith("Stripe sandbox ready at http://127.0.0.1:")
        if end == "EOF":
            child.stdin.close()
        else:
            child.send_signal(signal.Signals[end])
        assert (child.wait(120), child.stderr.read()) == (0, "")


def test_a_port_that_is_taken_is_a_clear_error(
    process: SandboxProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError, match="did not start"), running(port=int(process.url.rsplit(":", 1)[1])):
        pass
    assert "sandbox: " in capfd.readouterr().err


def test_a_webhook_without_a_secret_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="webhook_secret"):
        create_server(webhook_url="http://127.0.0.1:9/")


def test_the_server_also_runs_in_a_thread() -> None:
    server = create_server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        assert SandboxControl(server.url).call("GET", "health") == {"ok": True}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
