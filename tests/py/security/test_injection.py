"""What callers write is never code and never a column: SQL in every text, members that nobody asked for.

The texts and members are tried on every operation of the OpenAPI document.
"""

from __future__ import annotations

import pytest
import requests

from tests.py.http.site import Row
from tests.py.security.injection import TEXT_FIELDS, WITH_BODY, faults_of_members, faults_of_texts
from tests.py.security.matrix import BY_NAME
from tests.py.security.openapi import Field
from tests.py.security.rights import RIGHTS
from tests.py.security.stage import Stage

pytestmark = pytest.mark.pg18  # values go as parameters, whatever the database


@pytest.mark.parametrize(("name", "field"), TEXT_FIELDS, ids=[f"{n} {f.name}" for n, f in TEXT_FIELDS])
def test_a_text_is_never_sql(stage: Stage, name: str, field: Field) -> None:
    found = faults_of_texts(stage, name, field)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", WITH_BODY)
def test_a_member_that_nobody_asked_for_is_refused(stage: Stage, name: str) -> None:
    count, found = faults_of_members(stage, name)
    assert not found, "\n".join(found)
    assert count > 100


def test_a_parameter_that_nobody_asked_for_changes_nothing(stage: Stage) -> None:
    """In the address, too: of reads they are refused or have no effect, of writes they have none."""
    other = stage.others(RIGHTS["GET /api/bookings"].thing)
    slipped: Row = {
        "userId": other.parties.student, "user_id": other.parties.student, "studentId": other.parties.student,
        "role": "admin", "p_user_id": other.parties.student, "sub": other.parties.student,
    }  # fmt: skip
    for name, operation in BY_NAME.items():
        right = RIGHTS[name]
        if operation.method != "GET" or not {"student", "expert"} & {*right.roles}:
            continue
        thing = right.thing(stage, stage.new_parties())
        role = next(role for role in right.roles if role in ("student", "expert"))
        path = stage.site.base + operation.path.format(**operation.in_place("path", thing.fields))
        for added, value in slipped.items():
            values = operation.in_place("query", stage.made_up(operation)) | {added: value}
            headers = stage.authorization(role, thing.parties.by_role(role))
            response = requests.get(path, params=values, headers=headers, timeout=120)
            assert response.status_code in (operation.success, 400), f"{name} {added}: {response.text[:300]}"
            assert not [mark for mark in other.marks if mark in response.text], f"{name} {added}"
