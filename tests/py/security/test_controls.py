"""Take a guard away, and the tests must notice: else they show nothing.

Each control breaks a function of the database, or a guard of the server, on a site of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
from flask import request

from glue.auth import Principal
from glue.routes.base import Services
from tests.py.http.site import Site
from tests.py.races.helpers import mutate
from tests.py.security import broken
from tests.py.security.forgeries import (
    HS,
    OUR_SECRET,
    OURS,
    RS,
    authenticators_of,
    believed,
    by_key,
    forgeries,
    improper,
    serving_keys,
)
from tests.py.security.injection import TEXT_FIELDS, faults_of_members, faults_of_texts
from tests.py.security.matrix import faults_of_refusals, faults_of_services
from tests.py.security.roles import ROLES, faults_of_role
from tests.py.security.stage import Stage

pytestmark = pytest.mark.pg18  # what the tests of security would find, whatever the database

DECIDE = "POST /api/bookings/expert/confirm"
CANCEL = "POST /api/bookings/cancel"
PAY = "POST /api/payment/create-intent"
READ = "GET /api/bookings/{id}"
QUOTE = "GET /api/bookings/{id}/cancellation-quote"
LIST = "GET /api/bookings"


@dataclass(frozen=True)
class Control:
    """A guard of the database: its file, what stands there, what is to stand there; what must be noticed."""

    operation: str
    file: str
    old: str
    new: str
    noticed: str
    faults: Callable[[Stage, str], list[str]] = faults_of_refusals


PARTY = ("bookings/party_of.sql", "p_booking.expert_id = p_person_id", "true")
CONTROLS = {
    "whose booking is read": Control(READ, *PARTY, "x other's: the answer tells"),
    "whose booking is cancelled": Control(
        CANCEL, "bookings/cancel_booking_transaction.sql",
        "when v_expert_id then 'expert' end", "else 'expert' end", "bookings changed",
    ),
    "who may ask for a quote": Control(QUOTE, *PARTY, "200 and not 403"),
    "who pays": Control(
        PAY, "payments/prepare_payment_intent.sql",
        "v_student_id is distinct from p_student_id", "false", "Stripe was called",
    ),
    "who decides": Control(
        DECIDE, "bookings/confirm_booking_transaction.sql",
        "v_expert_id is distinct from p_expert_id", "false", "expert x other's: 200 and not 403",
    ),
    "whose bookings are listed": Control(
        LIST, "bookings/list_bookings.sql",
        "s.student_id = p_user_id and", "", "the answer tells", faults_of_services,
    ),
    "a read that writes": Control(
        READ, "bookings/party_of.sql", "begin\n",
        "begin\n perform booking.raise_alert('test', 'x', '{}');\n", "a read wrote", faults_of_services,
    ),
}  # fmt: skip


@pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS.keys())
def test_without_a_guard_of_the_database_the_matrix_fails(site: Site, control: Control) -> None:
    mutate(site.sql, control.file, control.old, control.new)
    found = control.faults(Stage(site), control.operation)
    assert any(control.noticed in fault for fault in found), found


def believe(monkeypatch: pytest.MonkeyPatch, path: str, change: Callable[[Services], Principal]) -> None:
    """At this address the server takes callers for what `change` says."""
    true = Services.principal

    def principal(services: Services) -> Principal:
        return change(services) if request.path == path else true(services)

    monkeypatch.setattr(Services, "principal", principal)


def test_without_the_check_of_roles_the_matrix_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    true = Services.principal
    believe(monkeypatch, "/api/admin/stats", lambda services: replace(true(services), role="admin"))
    found = faults_of_refusals(Stage(site), "GET /api/admin/stats")
    assert any(fault.startswith("student x own: 200 and not 403") for fault in found), found


def test_without_the_check_of_tokens_the_matrix_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    believe(monkeypatch, "/api/admin/stats", lambda _: Principal("somebody", "admin"))
    found = faults_of_refusals(Stage(site), "GET /api/admin/stats")
    assert any(fault.startswith("nobody x own: 200 and not 401") for fault in found), found


def test_without_the_secret_of_the_scheduler_the_matrix_fails(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glue.routes.cron.require_secret", lambda *_: None)
    found = faults_of_refusals(Stage(site), "POST /api/cron/cleanup-bookings")
    assert any(fault.startswith("student x own: 200 and not 401") for fault in found), found


@contextmanager
def without(guard: Callable[[], broken.Mend]) -> Iterator[None]:
    mend = guard()
    try:
        yield
    finally:
        mend()


@pytest.mark.filterwarnings("ignore:The HMAC key is")
@pytest.mark.parametrize(
    ("guard", "noticed"),
    [
        (broken.signatures, "secret: HS: signature cut off"),
        (broken.signatures, "keys: RS: other claims under a good signature"),
        (broken.algorithms, "secret: HS384 with our secret"),
    ],
)
def test_without_a_check_of_tokens_a_forgery_is_believed(
    guard: Callable[[], broken.Mend], noticed: str
) -> None:
    with serving_keys() as provider:
        authenticators = authenticators_of(provider)
        with without(guard):
            found = believed(authenticators, forgeries(provider))
    assert any(fault.startswith(f"{noticed}: Principal(") for fault in found), found


def test_without_the_check_of_lifetimes_an_old_token_is_believed() -> None:
    with serving_keys() as provider:
        authenticators = authenticators_of(provider)
        with without(broken.lifetimes):
            old = "{'exp': 0}"
            shared, public = dict(improper(HS, OUR_SECRET))[old], dict(improper(RS, by_key(OURS)))[old]
            found = believed({"secret": authenticators["secret"]}, [(old, shared)])
            found += believed({"keys": authenticators["keys"]}, [(old, public)])
    for kind in ("secret", "keys"):
        assert any(fault.startswith(f"{kind}: {{'exp': 0}}: Principal(") for fault in found), found


def test_where_requests_may_say_more_than_they_should_it_is_noticed(site: Site) -> None:
    with without(broken.members):
        _, found = faults_of_members(Stage(site), "POST /api/bookings/create")
    assert any("'amount'" in fault and ": 201 " in fault for fault in found), found


def test_where_texts_are_written_into_statements_it_is_noticed(site: Site) -> None:
    name, field = next(each for each in TEXT_FIELDS if each[0] == CANCEL and each[1].name == "reason")
    with without(broken.parameters):
        found = faults_of_texts(Stage(site), name, field)
    assert any("is part of a statement" in fault for fault in found), found


@pytest.mark.parametrize("role", ROLES)
def test_a_role_can_do_nothing_that_it_must_not(site: Site, role: str) -> None:
    tried, found = faults_of_role(site.db_url, role)
    assert found == []
    assert tried > 200


def test_where_a_role_has_a_right_too_many_it_is_noticed(site: Site) -> None:
    site.sql.execute("grant select on booking.bookings to booking_app")
    site.sql.execute("grant execute on function booking.seat_student(booking.bookings) to booking_cron")
    assert "booking_app: select from booking.bookings: was done" in faults_of_role(site.db_url, "app")[1]
    assert any("seat_student" in fault for fault in faults_of_role(site.db_url, "cron")[1])
