"""The server as it runs in production: processes of granian, real signals, real logs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import stripe

from glue.front import PROBES
from glue.invoices.renderer import MOST_WAITING
from glue.sandbox.process import SandboxProcess
from glue.serve import STOP_TIMEOUT, url
from tests.py.http.site import (
    CRON,
    CRON_SECRET,
    JWT_SECRET,
    OLD_WEBHOOK_SECRET,
    STRIPE_KEY,
    WEBHOOK_SECRET,
    Site,
    as_server,
    base_env,
    refused,
    until,
)

pytestmark = pytest.mark.pg18  # processes and signals, whatever the database

ROOT = Path(__file__).parents[3]


def environment(env: dict[str, str]) -> dict[str, str]:
    """This process's environment (coverage, PATH) without what would be a setting, and `env`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JWT_", "STRIPE_"))}
    return kept | env


def command(*arguments: object, before: str = "") -> list[str]:
    call = ", ".join(repr(argument) for argument in arguments)
    return [sys.executable, "-c", f"{before}from glue.serve import main; main({call})"]


@contextmanager
def granian(
    env: dict[str, str], *, workers: int = 1, threads: int | None = 4, before: str = ""
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server on a free port; (URL, process). `before` is what it runs first."""
    process = subprocess.Popen(
        command("127.0.0.1", 0, workers, threads, before=before),
        cwd=ROOT,
        env=environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("pgbooking serves http://"), line + process.stderr.read()
        base = line.split()[-1]
        until(lambda: answers(base))
        yield base, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


def answers(base: str) -> bool:
    try:
        return requests.get(base + "/healthz", timeout=120).status_code == 200
    except requests.RequestException:
        return False


@contextmanager
def at(site: Site, base: str) -> Iterator[Site]:
    """The site's people talk to the server at `base`."""
    before, site.base = site.base, base
    yield site
    site.base = before


def test_a_whole_job_leaves_no_secret_in_the_logs(
    site: Site, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    env = base_env(as_server(site.db_url), sandbox.url) | {
        "LOG_DIR": str(tmp_path), "LOG_LEVEL": "DEBUG", "METRICS_ENABLED": "1",
    }  # fmt: skip
    told: list[str] = []
    with granian(env, workers=2) as (base, _), at(site, base):
        student, offer = site.new_student(), site.offer()
        booking, intent = site.authorized(student, offer)
        expert = site.person(offer.expert, "expert")
        confirmed = expert.post(
            "/api/bookings/expert/confirm", {"bookingId": booking["bookingId"], "action": "confirm"}
        )
        assert confirmed.json()["status"] == "confirmed"
        assert student.post("/api/bookings/cancel", {"bookingId": booking["bookingId"]}).status_code == 200
        site.control.fault("503", times=20)
        other = site.new_student()
        refused(
            other.post("/api/payment/create-intent", {"bookingId": site.book(other)["bookingId"]}),
            503,
            "stripe_unavailable",
        )
        site.control.clear_faults()
        site.control.set_keys("sk_test_rotated")
        late = site.new_student()
        late.post("/api/payment/create-intent", {"bookingId": site.book(late)["bookingId"]})
        site.control.set_keys()
        with pytest.raises(stripe.CardError):
            site.pay(site.intent(late, site.book(late)), "pm_card_chargeDeclined")
        site.control.wait_idle()
        requests.get(base + "/x?card=4242424242424242&token=" + student.authorization, timeout=120)
        site.nobody(f"Bearer {CRON_SECRET}x").post(CRON)
        assert site.nobody(f"Bearer {CRON_SECRET}").post(CRON).status_code == 200
        site.deliver({"id": "evt_1"}, signature="t=1,v1=00")
        metrics = [requests.get(base + "/metrics", timeout=120).text for _ in range(2)]
        assert all('route="/api/bookings/create",status="201"} 4.0' in text for text in metrics)
        told += [intent["clientSecret"], student.authorization.split()[1]]
    [file] = tmp_path.iterdir()
    text = file.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    logged = {line["route"] for line in lines if line["event"] == "request"}
    assert {"/api/bookings/create", "/api/payment/create-intent", "/api/webhooks/stripe", CRON} <= logged
    assert all(line["request_id"] for line in lines if line["event"] == "request")
    secrets = [
        STRIPE_KEY,
        WEBHOOK_SECRET,
        OLD_WEBHOOK_SECRET,
        CRON_SECRET,
        JWT_SECRET,
        "4242424242424242",
        *told,
    ]
    for secret in (*secrets, "_secret_", "eyJ", "Bearer "):
        assert secret not in text


def test_a_body_of_ten_megabytes_is_413_and_the_next_request_works(
    site: Site, sandbox: SandboxProcess
) -> None:
    with granian(base_env(as_server(site.db_url), sandbox.url)) as (base, _), at(site, base):
        student = site.new_student()
        body = b'{"slotId": "' + b"x" * 10_000_000 + b'"}'
        headers = {"Authorization": student.authorization, "Content-Type": "application/json"}
        for path in ("/api/bookings/create", "/api/webhooks/stripe"):
            with site.unchanged():
                answer = requests.post(base + path, data=body, headers=headers, timeout=120)
                refused(answer, 413, "payload_too_large")

        def endless() -> Iterator[bytes]:
            for _ in range(200):
                yield b"x" * 1000

        with site.unchanged():
            chunked = requests.post(
                base + "/api/bookings/create", data=endless(), headers=headers, timeout=120
            )
            refused(chunked, 413, "payload_too_large")
        assert site.book(student)["status"] == "pending"

        # a connection that cannot be used again says so: the next request on it would get no answer
        with requests.Session() as session:
            large = b"x" * 70_000
            for _ in range(3):
                told = session.post(base + "/api/bookings/create", data=large, headers=headers, timeout=30)
                refused(told, 413, "payload_too_large")
                assert told.headers["Connection"] == "close"
                assert session.get(base + "/healthz", timeout=30).status_code == 200


def begin(base: str, *lines: str, body: bytes = b"") -> socket.socket:
    """A client that sends so much of a request, and then nothing."""
    host, port = base.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=120)
    client.sendall("\r\n".join(lines).encode() + b"\r\n" + (b"\r\n" + body if body else b""))
    return client


HEAD = ("POST /api/webhooks/stripe HTTP/1.1", "Host: shop", "Content-Type: application/json")
SLOW: dict[str, dict[str, Any]] = {
    "headers": {"lines": HEAD},
    "body": {"lines": (*HEAD, "Content-Length: 1000"), "body": b"{"},
    "chunks": {"lines": (*HEAD, "Transfer-Encoding: chunked"), "body": b"1\r\n{\r\n"},
}


@pytest.mark.parametrize("slow", SLOW)
def test_clients_that_send_slowly_hold_nobody_up(site: Site, sandbox: SandboxProcess, slow: str) -> None:
    env = base_env(as_server(site.db_url), sandbox.url) | {"CLIENT_TIMEOUT_SECONDS": "60"}
    with granian(env, threads=2) as (base, _), at(site, base):
        clients = [begin(base, *SLOW[slow]["lines"], body=SLOW[slow].get("body", b"")) for _ in range(30)]
        assert site.book(site.new_student())["status"] == "pending"
        for client in clients:
            client.setblocking(False)
            with pytest.raises(BlockingIOError):  # nobody has answered it, or sent it away
                client.recv(1)
            client.close()


def test_clients_that_send_slowly_are_sent_away(site: Site, sandbox: SandboxProcess) -> None:
    env = base_env(as_server(site.db_url), sandbox.url) | {"CLIENT_TIMEOUT_SECONDS": "1"}
    with granian(env) as (base, _):
        said = {}
        for slow, sent in SLOW.items():
            with (
                begin(base, *sent["lines"], body=sent.get("body", b"")) as client,
                client.makefile() as answer,
            ):
                said[slow] = answer.read()
    assert said["headers"] == ""
    for slow in ("body", "chunks"):
        assert said[slow].startswith("HTTP/1.1 408 ")
        assert '"code":"request_timeout"' in said[slow]


def test_no_header_passes_for_what_the_proxy_says(site: Site, sandbox: SandboxProcess) -> None:
    env = base_env(as_server(site.db_url), sandbox.url) | {
        "STRIPE_WEBHOOK_IPS": "192.0.2.1", "TRUSTED_PROXIES": "1",
    }  # fmt: skip
    with granian(env) as (base, _), at(site, base):
        spoof = "X_Forwarded_For: 192.0.2.1"
        with begin(base, *HEAD, "X-Forwarded-For: 203.0.113.9", spoof, "Connection: close", "") as client:
            assert client.recv(100).startswith(b"HTTP/1.1 403 ")


def test_probes_are_answered_while_every_thread_waits_for_stripe(site: Site, sandbox: SandboxProcess) -> None:
    offer = site.offer()
    booking, _ = site.authorized(site.new_student(), offer)
    with granian(base_env(as_server(site.db_url), sandbox.url), threads=1) as (base, _), at(site, base):
        site.control.barrier("capture", when="before", path="/v1/payment_intents", method="POST")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(
                site.person(offer.expert, "expert").post,
                "/api/bookings/expert/confirm",
                {"bookingId": booking["bookingId"], "action": "confirm"},
            )
            site.control.wait_barrier("capture")
            assert [requests.get(base + path, timeout=120).status_code for path in PROBES] == [200, 200, 404]
            site.control.release_barrier("capture")
            assert answer.result().json()["status"] == "confirmed"


@pytest.mark.parametrize("wish", ["capture", "intent"])
def test_who_waits_for_stripe_keeps_nobody_from_their_turn(
    site: Site, sandbox: SandboxProcess, wish: str
) -> None:
    offer = site.offer()
    with granian(base_env(as_server(site.db_url), sandbox.url), threads=1) as (base, _), at(site, base):
        person, path, body = site.new_student(), "/api/payment/create-intent", {}
        if wish == "capture":
            booking, _ = site.authorized(person, offer)
            person, path, body = (
                site.person(offer.expert, "expert"),
                "/api/bookings/expert/confirm",
                {"action": "confirm"},
            )
        else:
            booking = site.book(person, offer)
        site.control.barrier(wish, when="before", path="/v1/payment_intents", method="POST")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(person.post, path, {**body, "bookingId": booking["bookingId"]})
            site.control.wait_barrier(wish)
            assert site.book(site.new_student())["status"] == "pending"
            assert not answer.done()
            site.control.release_barrier(wish)
            assert answer.result().status_code == 200


def test_sigterm_lets_the_request_in_hand_finish(site: Site, sandbox: SandboxProcess) -> None:
    offer = site.offer()
    booking, _ = site.authorized(site.new_student(), offer)
    with granian(base_env(as_server(site.db_url), sandbox.url)) as (base, process), at(site, base):
        site.control.barrier("capture", when="before", path="/v1/payment_intents", method="POST")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(
                site.person(offer.expert, "expert").post,
                "/api/bookings/expert/confirm",
                {"bookingId": booking["bookingId"], "action": "confirm"},
            )
            site.control.wait_barrier("capture")
            process.send_signal(signal.SIGTERM)
            until(lambda: not accepts(base))
            site.control.release_barrier("capture")
            assert answer.result().json()["status"] == "confirmed"
        assert process.wait(120) == 0
    assert site.booking(booking)["payment_status"] == "captured"


def accepts(base: str) -> bool:
    host, port = base.removeprefix("http://").split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


def run(env: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return ended(command(*arguments), env)


def ended(call: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        call,
        cwd=ROOT,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_missing_settings_stop_the_start_with_one_line_and_exit_code_2() -> None:
    env = base_env("postgresql://x/y")
    env["CRON_SECRET"] = ""
    done = run(env, "127.0.0.1", 0)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "pgbooking: settings: missing: CRON_SECRET\n"


def test_an_address_that_is_taken_stops_the_start_with_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(base_env("postgresql://x/y"), "127.0.0.1", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"pgbooking: cannot listen on 127.0.0.1:{port}: Address already in use\n"


IDLE = "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\n"


def test_a_process_has_a_thread_for_each_turn_and_for_whoever_waits_for_stripe_or_a_pdf() -> None:
    """And what it begins with is no garbage, and its threads do not push each other aside, unless somebody
    wishes it otherwise."""
    env = base_env("postgresql://x/y") | {"MAX_CONCURRENT_PAYMENTS": "5", "PGBOOKING_TURNS": "3"}
    program = """
import gc, os, threading
from glue.serve import application
application()
threads = [thread for thread in threading.enumerate() if thread.name.startswith("request-")]
policies = {os.sched_getscheduler(thread.native_id) for thread in threads}
print(len(threads), gc.get_freeze_count() > 0, *policies)
"""
    for before, policy in (("", os.SCHED_BATCH), (IDLE, os.SCHED_IDLE)):
        made = ended([sys.executable, "-c", before + program], env)
        assert made.returncode == 0, made.stderr
        assert f"{3 + 5 + MOST_WAITING + 1} True {policy}" in made.stdout.splitlines()


def test_the_url_of_an_ipv6_address_has_brackets() -> None:
    assert url("::1", 80) == "http://[::1]:80"
    assert url("127.0.0.1", 8000) == "http://127.0.0.1:8000"


def test_a_server_that_made_a_pdf_ends_by_itself_and_its_child_with_it(site: Site) -> None:
    student, offer = site.new_student(), site.offer()
    booking, _ = site.authorized(student, offer)
    expert = site.person(offer.expert, "expert")
    expert.post("/api/bookings/expert/confirm", {"bookingId": booking["bookingId"], "action": "confirm"})
    site.control.wait_idle()
    env = base_env(as_server(site.db_url), str(site.settings.stripe_api_base))
    with granian(env | {"INVOICE_GENERATION_TIMEOUT": "120"}) as (base, process):
        admin = {"Authorization": site.person("admin-1", "admin").authorization}
        issued = requests.post(
            f"{base}/api/admin/invoices/issue-missing", json={}, headers=admin, timeout=120
        )
        assert issued.json() == {"issued": 1, "missing": 0}
        [found] = requests.get(f"{base}/api/invoices", headers=admin, timeout=120).json()["invoices"]
        pdf = requests.get(f"{base}/api/invoices/{found['invoiceId']}.pdf", headers=admin, timeout=150)
        assert pdf.status_code == 200
        assert pdf.content.startswith(b"%PDF-")
        children = psutil.Process(process.pid).children(recursive=True)
        stopped = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        # at STOP_TIMEOUT it would be killed
        assert time.monotonic() - stopped < 0.8 * STOP_TIMEOUT
    _, alive = psutil.wait_procs(children, timeout=120)
    assert alive == []
