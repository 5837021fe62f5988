"""`pgbooking product`, `pgbooking try-checkout`: something to sell, and whether one key buys it only once."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import click

from glue import console
from glue.commands.base import Group, as_json, connection, database

PATH = "/api/checkout/create-session"
TEST_PRODUCT = "test-product"
"""What is bought when nothing is said; `pgbooking up` puts it on sale."""


@click.group(cls=Group)
def product() -> None:
    """Put products on sale through Stripe Checkout."""


@product.command("create")
@database
@as_json
@click.argument("product_id")
@click.option("--name", required=True, help="What the customer reads on Stripe's page.")
@click.option(
    "--amount", required=True, type=int, help="Price in minor units: 4900 is 49.00 of most currencies."
)
@click.option("--currency", required=True, help="Three letters, such as eur.")
def create_product(
    url: str, as_json: bool, *, product_id: str, name: str, amount: int, currency: str
) -> None:
    """Put a product on sale; the same again changes nothing.

    \b
    pgbooking product create course-1 --name 'SQL course' --amount 4900 --currency eur
    pgbooking product create course-1 --name 'SQL course' --amount 4900 --currency eur --json
    """
    with connection(url) as conn:
        conn.execute(
            "select booking.create_product(p_product_id => %(id)s, p_name => %(name)s,"
            " p_amount => %(amount)s, p_currency => %(currency)s)",
            {"id": product_id, "name": name, "amount": amount, "currency": currency},
        )
        _show(_product(conn, product_id), as_json)


@product.command("show")
@database
@as_json
@click.argument("product_id")
def show_product(url: str, as_json: bool, product_id: str) -> None:
    """Show a product and its price.

    \b
    pgbooking product show course-1
    pgbooking product show course-1 --json | jq .amount
    """
    with connection(url) as conn:
        _show(_product(conn, product_id), as_json)


def _product(conn: Any, product_id: str) -> dict[str, Any]:
    row: dict[str, Any] = conn.execute(
        "select * from booking.get_product(p_product_id => %(id)s)", {"id": product_id}
    ).fetchone()
    return row


def _show(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        console.print_json(row)
    else:
        console.print_table(["field", "value"], ([name, console.plain(row[name])] for name in row))


@dataclass(frozen=True)
class Answer:
    """What one request got. `seconds`: from sending to the whole answer. `status` 0: no answer."""

    number: int
    status: int
    seconds: float
    message: str
    order_id: str | None = None
    session_id: str | None = None
    retry_after: int | None = None


@click.command("try-checkout")
@click.option(
    "--url",
    envvar="API_BASE_URL",
    default="http://127.0.0.1:8000",
    show_default=True,
    help="Where the server is. Default: API_BASE_URL.",
)
@click.option(
    "--jwt", "token", envvar="TEST_JWT", required=True, help="Whose purchase it is. Default: TEST_JWT."
)
@click.option(
    "--product",
    "--product-id",
    "product_id",
    envvar="TEST_PRODUCT",
    default=TEST_PRODUCT,
    show_default=True,
    help="What to buy (pgbooking product create; pgbooking up has made test-product). Default: TEST_PRODUCT.",
)
@click.option("--key", help="The idempotency key of all requests. Default: a new one.")
@click.option(
    "--requests", "count", default=3, show_default=True, type=click.IntRange(1, 500), help="How many at once."
)
@click.option("--timeout", default=30.0, show_default=True, help="Seconds after which a request is given up.")
@as_json
def try_checkout(
    *, url: str, token: str, product_id: str, key: str | None, count: int, timeout: float, as_json: bool
) -> None:
    """Send the same purchase several times at once and see that it is one purchase.

    Good is: at least one answer 200, every 200 with the same order and session, and all others 409 "Payment
    is already in progress. Please wait.". Exit code 1 when it is not. Payments are limited per minute: more
    than 60 requests need a server that allows them.

    \b
    pgbooking try-checkout --jwt "$(pgbooking token --sub ann --role student)" --product course-1
    TEST_JWT=... API_BASE_URL=https://your.host pgbooking try-checkout --product course-1 --requests 20
    pgbooking try-checkout --product course-1 --key buy-1 --json | jq .verdict
    """
    key = key or str(uuid.uuid4())
    started = time.monotonic()
    answers = _at_once(
        url.rstrip("/") + PATH, token, {"productId": product_id, "idempotencyKey": key}, count, timeout
    )
    report = _report(answers, time.monotonic() - started)
    if as_json:
        console.print_json({"key": key, "answers": [asdict(answer) for answer in answers], **report})
    else:
        click.echo(f"{count} requests at once: product {product_id}, key {key}")
        for answer in answers:
            click.echo(_line(answer))
        for name in ("orders", "sessions"):
            click.echo(f"{name}: {len(report[name])} {', '.join(report[name])}".rstrip())
        click.echo("answers: " + ", ".join(f"{n} x {status}" for status, n in report["statuses"].items()))
        click.echo(
            "time: {all:.3f} s in all, fastest {fastest:.3f} s, slowest {slowest:.3f} s".format(
                **report["time"]
            )
        )
        click.echo(f"verdict: {report['verdict']}")
    sys.exit(0 if report["verdict"].startswith("good") else 1)


def _at_once(url: str, token: str, body: dict[str, str], count: int, timeout: float) -> list[Answer]:
    """The answers in the order of their numbers; all requests start when all threads are there."""
    gate = threading.Barrier(count)

    def ask(number: int) -> Answer:
        import requests

        gate.wait()
        started = time.monotonic()
        try:
            response = requests.post(
                url, json=body, headers={"Authorization": f"Bearer {token}"}, timeout=timeout
            )
        except requests.RequestException as error:
            return Answer(number, 0, time.monotonic() - started, f"no answer: {type(error).__name__}")
        return _answer(number, response, time.monotonic() - started)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(ask, range(1, count + 1)))


def _answer(number: int, response: Any, seconds: float) -> Answer:
    try:
        body = response.json()
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    data = body.get("data") or {}
    error = body.get("error") or {}
    return Answer(
        number,
        response.status_code,
        seconds,
        str(body.get("message") or error.get("message") or "an answer without a message"),
        data.get("order_id"),
        data.get("session_id"),
        data.get("retry_after"),
    )


def _report(answers: list[Answer], seconds: float) -> dict[str, Any]:
    statuses: dict[int, int] = {}
    for answer in sorted(answers, key=lambda answer: answer.status):
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
    orders = sorted({answer.order_id for answer in answers if answer.order_id})
    sessions = sorted({answer.session_id for answer in answers if answer.session_id})
    waiting = [answer for answer in answers if answer.status == 409]
    if others := [status for status in statuses if status not in (200, 409)]:
        verdict = f"bad: answered {', '.join(map(str, others))}"
    elif not statuses.get(200):
        verdict = "bad: nobody was served; was another purchase of this product under way?"
    elif len(orders) != 1 or len(sessions) != 1:
        verdict = f"bad: {len(orders)} orders and {len(sessions)} sessions for one key"
    elif any(answer.retry_after is None for answer in waiting):
        verdict = "bad: a 409 does not say when to try again"
    else:
        verdict = f"good: one order, one session; {statuses[200]} served, {len(waiting)} shall wait"
    return {
        "orders": orders,
        "sessions": sessions,
        "statuses": statuses,
        "time": {
            "all": round(seconds, 6),
            "fastest": round(min(answer.seconds for answer in answers), 6),
            "slowest": round(max(answer.seconds for answer in answers), 6),
        },
        "verdict": verdict,
    }


def _line(answer: Answer) -> str:
    text = f"{answer.number:>4}  {answer.status}  {answer.seconds * 1000:>7.1f} ms  {answer.message}"
    if answer.session_id:
        text += f"; order {answer.order_id}, session {answer.session_id}"
    if answer.retry_after is not None:
        text += f" (retry after {answer.retry_after} s)"
    return text
