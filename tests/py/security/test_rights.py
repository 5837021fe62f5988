"""Every operation x who calls x whose thing: never a leak, never a write.

The operations are those of the running application's OpenAPI document; what each may answer stands in
rights.py, and an operation without a line there fails.
"""

from __future__ import annotations

import re

import pytest
import requests

from tests.py.http.site import Row, Site
from tests.py.security.matrix import BY_NAME, OPERATIONS, faults_of_refusals, faults_of_services
from tests.py.security.openapi import operations_of
from tests.py.security.rights import PEOPLE, RIGHTS
from tests.py.security.stage import Stage

pytestmark = (
    pytest.mark.pg18
)  # rights over HTTP are the server's; those of the roles are tested on every version

# What is served and stands in no document: the document and the page that shows it.
UNDOCUMENTED = {"/openapi.json", "/docs", "/docs/start.js", "/docs/assets/<path:filename>"}


def test_every_operation_has_its_rights_and_every_right_its_operation(lasting_site: Site) -> None:
    served = operations_of(requests.get(lasting_site.base + "/openapi.json", timeout=120).json())
    assert {str(operation) for operation in served} == set(RIGHTS), "give the route a line in rights.py"
    assert sorted(served, key=str) == sorted(OPERATIONS, key=str)


def test_nothing_is_served_that_the_document_does_not_name(lasting_site: Site) -> None:
    rules = {rule.rule for rule in lasting_site.app.url_map.iter_rules()}
    documented = {operation.path for operation in OPERATIONS}
    assert {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule) for rule in rules - UNDOCUMENTED} == documented


def test_the_document_says_what_opens_each_operation() -> None:
    for name, right in RIGHTS.items():
        expected = {"scheduler": ("cron",)}.get(right.roles[0], ("bearer",)) if right.roles else ()
        if "nobody" in right.roles:
            expected = ()
        assert BY_NAME[name].security == expected, name


@pytest.mark.parametrize("name", BY_NAME)
def test_who_may_not_is_refused_and_learns_and_changes_nothing(stage: Stage, name: str) -> None:
    found = faults_of_refusals(stage, name)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", [name for name in BY_NAME if RIGHTS[name].roles])
def test_who_may_is_served_and_gets_and_changes_only_what_is_his(stage: Stage, name: str) -> None:
    found = faults_of_services(stage, name)
    assert not found, "\n".join(found)


METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")


@pytest.mark.parametrize("path", sorted({operation.path for operation in OPERATIONS}))
def test_no_other_method_does_anything(stage: Stage, path: str) -> None:
    offered = {operation.method for operation in OPERATIONS if operation.path == path}
    booking = stage.booked(stage.new_parties())[0]
    with stage.unchanged():
        for method in sorted({*METHODS} - offered):
            for caller in ("nobody", *PEOPLE, "scheduler"):
                response = requests.request(
                    method,
                    stage.site.base + path.format(id=booking["bookingId"]),
                    headers=stage.authorization(caller, "somebody"),
                    json=booking if method not in ("HEAD", "OPTIONS") else None,
                    timeout=120,
                )
                assert response.status_code in allowed_statuses(method), f"{caller} {method}: {response.text}"


def allowed_statuses(method: str) -> tuple[int, ...]:
    """HEAD is answered like GET where there is GET; nobody else gets beyond 405."""
    return {"HEAD": (200, 400, 401, 403, 404, 405), "OPTIONS": (200,)}.get(method, (405,))


DISGUISES: list[Row] = [
    {"X-Original-URL": "/healthz"},
    {"X-Rewrite-URL": "/healthz"},
    {"X-HTTP-Method-Override": "GET"},
    {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
    {"X-User-Id": "admin", "X-Role": "admin", "X-Forwarded-User": "admin", "X-Remote-User": "admin"},
    {"Cookie": "session=admin; token=admin; role=admin"},
]


@pytest.mark.parametrize("name", [name for name in BY_NAME if "nobody" not in RIGHTS[name].roles])
def test_no_other_spelling_and_no_header_opens_a_door(stage: Stage, name: str) -> None:
    operation, right = BY_NAME[name], RIGHTS[name]
    own = right.thing(stage, stage.new_parties())
    path = operation.path.format(**own.fields)
    spellings = (path + "/", path.upper(), path.replace("/", "//"), path + "%00", path + "/.", path + ";a=b")
    with stage.unchanged():
        for disguise in DISGUISES:
            response = stage.send(operation, disguise, own.fields)
            assert (response.status_code, response.json()["error"]["code"]) == right.without_token, disguise
        for spelling in spellings:
            response = requests.request(
                operation.method, stage.site.base + spelling, json={}, timeout=120, allow_redirects=True
            )
            assert response.status_code in (400, 401, 404, 405, 415), f"{spelling}: {response.text[:300]}"


def test_a_persons_other_role_gives_no_right_to_the_others_things(stage: Stage) -> None:
    """The role says what one may call, the id whose things one has: neither replaces the other."""
    thing = stage.others(RIGHTS["GET /api/bookings/{id}"].thing)
    with stage.unchanged():
        for user, role in ((thing.parties.student, "expert"), (thing.parties.expert, "student")):
            headers = stage.authorization(role, user)
            decide = BY_NAME["POST /api/bookings/expert/confirm"]
            pay = BY_NAME["POST /api/payment/create-intent"]
            assert stage.send(decide, headers, thing.fields).status_code == 403
            assert stage.send(pay, headers, thing.fields).status_code == 403
