"""`pgbooking try-checkout` and its script against a server: what they print, and the verdict."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from werkzeug import Request, Response
from werkzeug.serving import make_server

import cli
from tests.py.http.site import Person, Site, until
from tests.py.http.test_checkout import SESSIONS, bought, buy, orders, product, sessions

pytestmark = pytest.mark.pg18  # a client, whatever the database

ROOT = Path(__file__).parents[3]


def run(site: Site, person: Person, *arguments: str) -> Result:
    return CliRunner().invoke(
        cli.main,
        ["try-checkout", "--product", "course", *arguments],
        env={"API_BASE_URL": site.base, "TEST_JWT": person.authorization.split()[1]},
    )


def refusals(site: Site) -> int:
    row = site.sql.execute("select locks_refused from booking.get_checkout_stats()").fetchone()
    assert row is not None
    return int(row["locks_refused"])


def while_stripe_is_slow(site: Site, work: Callable[[], Any], others: int) -> Any:
    """Stripe answers the first request when so many others were turned away."""
    site.control.barrier("stripe", when="before", path=SESSIONS, method="POST")
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        try:
            site.control.wait_barrier("stripe")
            until(lambda: refusals(site) == others)
        finally:
            site.control.release_barrier("stripe")
        return done.result()


def test_three_at_once_by_the_command(site: Site) -> None:
    product(site)
    person = site.new_student()
    done: Result = while_stripe_is_slow(site, lambda: run(site, person, "--key", "buy-1"), 2)
    assert done.exit_code == 0, done.output
    [order], [session] = orders(site), sessions(site)
    lines = done.stdout.splitlines()
    assert lines[0] == "3 requests at once: product course, key buy-1"
    answers = sorted(re.sub(r"^ +\d+  | +[\d.]+ ms ", "", line) for line in lines[1:4])
    wait = "409 Payment is already in progress. Please wait. (retry after 5 s)"
    served = "200 Checkout session created successfully"
    assert [" ".join(line.split()) for line in answers] == [
        f"{served}; order {order['id']}, session {session.id}",
        wait,
        wait,
    ]
    assert lines[4:7] == [
        f"orders: 1 {order['id']}",
        f"sessions: 1 {session.id}",
        "answers: 1 x 200, 2 x 409",
    ]
    assert re.fullmatch(r"time: [\d.]+ s in all, fastest [\d.]+ s, slowest [\d.]+ s", lines[7])
    assert lines[8] == "verdict: good: one order, one session; 1 served, 2 shall wait"
    assert bought(buy(person, "buy-1")) | {"checkout_url": ""} == {
        "order_id": str(order["id"]),
        "session_id": session.id,
        "checkout_url": "",
    }


def test_twenty_at_once_by_the_script(site: Site) -> None:
    product(site)
    person = site.new_student()
    arguments = [
        sys.executable, "scripts/concurrent_checkout.py", "--url", site.base,
        "--jwt", person.authorization.split()[1], "--product", "course", "--requests", "20", "--json",
    ]  # fmt: skip

    def script() -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("TEST_")}
        return subprocess.run(arguments, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    done = while_stripe_is_slow(site, script, 19)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["statuses"] == {"200": 1, "409": 19}
    assert report["orders"] == [str(row["id"]) for row in orders(site)]
    assert report["sessions"] == [session.id for session in sessions(site)]
    assert len(report["answers"]) == 20


def test_without_waiting_nobody_gets_another_order(site: Site) -> None:
    """However the requests fall, each is served with the one session or told to wait."""
    product(site)
    done = run(site, site.new_student(), "--requests", "12", "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 0, report
    assert set(report["statuses"]) <= {"200", "409"}
    assert report["orders"] == [str(row["id"]) for row in orders(site)]
    assert len(sessions(site)) == 1


def test_what_is_not_sold_is_bad(site: Site) -> None:
    done = run(site, site.new_student())
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-1] == "verdict: bad: answered 404"


def test_a_purchase_that_is_under_way_already_serves_nobody(site: Site) -> None:
    product(site)
    person = site.new_student()
    site.db.one(
        "select * from booking.begin_checkout(p_user_id => %(user)s, p_product_id => 'course',"
        " p_idempotency_key => 'another', p_request_id => 'somebody')",
        {"user": person.user},
    )
    done = run(site, person)
    assert done.exit_code == 1
    assert "verdict: bad: nobody was served" in done.stdout


def test_no_server_is_bad(site: Site) -> None:
    done = run(site, site.new_student(), "--url", "http://127.0.0.1:9")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-1] == "verdict: bad: answered 0"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"order_id": "{n}"}, "bad: 3 orders and 1 sessions for one key"),
        ({"session_id": "{n}"}, "bad: 1 orders and 3 sessions for one key"),
        ({"status": "409"}, "bad: nobody was served; was another purchase of this product under way?"),
        ({"status": "500"}, "bad: answered 500"),
    ],
)
def test_a_server_that_is_not_right_is_found(changes: dict[str, str], said: str) -> None:
    numbers = iter(range(100))

    @Request.application
    def wrong(request: Request) -> Response:
        number = str(next(numbers))
        values = {"order_id": "o", "session_id": "s", "status": "200"}
        values |= {name: value.format(n=number) for name, value in changes.items()}
        status = int(values.pop("status"))
        return Response(json.dumps({"message": "hello", "data": values}), status, mimetype="application/json")

    server = make_server("127.0.0.1", 0, wrong, threaded=True)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever)
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            done = CliRunner().invoke(cli.main, ["try-checkout", "--url", url, "--jwt", "x"], env={})
        finally:
            server.shutdown()
    server.server_close()
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-1] == f"verdict: {said}"


def test_a_product_is_made_and_shown(site: Site) -> None:
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(cli.main, ["product", *arguments], env={"DATABASE_URL": site.db_url})

    made = call("create", "course-1", "--name", "SQL course", "--amount", "4900", "--currency", "EUR")
    assert made.exit_code == 0, made.output
    assert re.search(r"^amount +4900$", made.stdout, re.M)
    shown = json.loads(call("show", "course-1", "--json").stdout)
    assert (shown["name"], shown["amount"], shown["currency"]) == ("SQL course", 4900, "eur")
    taken = call("create", "course-1", "--name", "SQL course", "--amount", "5900", "--currency", "EUR")
    assert taken.exit_code == 1
    assert "product_exists" in taken.stderr
