"""The server as it runs in production: processes of granian, real signals, real logs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import stripe

from glue.sandbox.process import SandboxProcess
from glue.serve import url
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

ROOT = Path(__file__).parents[3]


def environment(env: dict[str, str]) -> dict[str, str]:
    """This process's environment (coverage, PATH) without what would be a setting, and `env`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JWT_", "STRIPE_"))}
    return kept | env


def command(*arguments: object) -> list[str]:
    call = ", ".join(repr(argument) for argument in arguments)
    return [sys.executable, "-c", f"from glue.serve import main; main({call})"]


@contextmanager
def granian(
    env: dict[str, str], *, workers: int = 1, threads: int = 4
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server on a free port; (URL, process)."""
    process = subprocess.Popen(
        command("127.0.0.1", 0, workers, threads),
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
        until(lambda: answers(base), 20)
        yield base, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


def answers(base: str) -> bool:
    try:
        return requests.get(base + "/healthz", timeout=5).status_code == 200
    except requests.ConnectionError:
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
        site.control.wait_idle(10)
        requests.get(base + "/x?card=4242424242424242&token=" + student.authorization, timeout=30)
        site.nobody(f"Bearer {CRON_SECRET}x").post(CRON)
        assert site.nobody(f"Bearer {CRON_SECRET}").post(CRON).status_code == 200
        site.deliver({"id": "evt_1"}, signature="t=1,v1=00")
        metrics = [requests.get(base + "/metrics", timeout=30).text for _ in range(2)]
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
                answer = requests.post(base + path, data=body, headers=headers, timeout=30)
                refused(answer, 413, "payload_too_large")

        def endless() -> Iterator[bytes]:
            for _ in range(200):
                yield b"x" * 1000

        with site.unchanged():
            chunked = requests.post(
                base + "/api/bookings/create", data=endless(), headers=headers, timeout=30
            )
            refused(chunked, 413, "payload_too_large")
        assert site.book(student)["status"] == "pending"


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
        assert process.wait(20) == 0
    assert site.booking(booking)["payment_status"] == "captured"


def accepts(base: str) -> bool:
    host, port = base.removeprefix("http://").split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


def run(env: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=30,
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


def test_the_url_of_an_ipv6_address_has_brackets() -> None:
    assert url("::1", 80) == "http://[::1]:80"
    assert url("127.0.0.1", 8000) == "http://127.0.0.1:8000"
