"""One sandbox process for all tests of this folder, reset before each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stripe

from glue.sandbox.control import SandboxControl
from glue.sandbox.process import SandboxProcess, running
from tests.py.sandbox.support import SECRET, Payments, Receiver


@pytest.fixture(scope="session")
def process() -> Iterator[SandboxProcess]:
    with running() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def one_receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def sandbox(process: SandboxProcess) -> SandboxControl:
    """The control client of a fresh sandbox that sends its events nowhere."""
    process.control.set_webhook(None)
    process.control.reset()
    return process.control


@pytest.fixture
def receiver(sandbox: SandboxControl, one_receiver: Receiver) -> Receiver:
    """A webhook receiver that the sandbox sends to."""
    one_receiver.clear()
    sandbox.set_webhook(one_receiver.url, SECRET)
    return one_receiver


@pytest.fixture(scope="session")
def one_client(process: SandboxProcess) -> stripe.StripeClient:
    return stripe.StripeClient(
        "sk_test_pgbooking", base_addresses={"api": process.url}, max_network_retries=0
    )


@pytest.fixture
def client(sandbox: SandboxControl, one_client: stripe.StripeClient) -> stripe.StripeClient:
    """Unmodified stripe-python, without retries of its own."""
    return one_client


@pytest.fixture
def payments(client: stripe.StripeClient) -> Payments:
    return Payments(client)
