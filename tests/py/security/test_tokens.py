"""Forged tokens: none of the known ways makes the server believe what nobody signed.

`PGBOOKING_SECURITY_TRIES` (default 500) says how many random changes of a good token are tried.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

import pytest
import requests

from glue.auth import Authenticator, Principal
from glue.errors import ApiError
from tests.py.http.site import Site, refused
from tests.py.security.forgeries import (
    HS,
    OUR_SECRET,
    OURS,
    RS,
    Provider,
    Row,
    authenticators_of,
    believed,
    by_key,
    claims,
    faults_of_changes,
    forgeries,
    improper,
    serving_keys,
    sign,
    verdict,
)

pytestmark = pytest.mark.pg18  # tokens are the server's, whatever the database

TRIES = int(os.environ.get("PGBOOKING_SECURITY_TRIES", "500"))
SEED = 10


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with serving_keys() as found:
        yield found


@pytest.fixture(scope="module")
def authenticators(provider: Provider) -> dict[str, Authenticator]:
    return authenticators_of(provider)


def test_what_is_forged_here_would_be_believed_if_it_were_signed(
    authenticators: dict[str, Authenticator],
) -> None:
    victim = Principal("victim", "admin")
    shared, public = sign(HS, claims(), OUR_SECRET), sign(RS, claims(), by_key(OURS))
    assert verdict(authenticators["secret"], shared) == victim
    assert verdict(authenticators["keys"], public) == victim
    assert [verdict(authenticators["both"], text) for text in (shared, public)] == [victim, victim]


def test_no_forgery_is_believed(provider: Provider, authenticators: dict[str, Authenticator]) -> None:
    assert believed(authenticators, forgeries(provider)) == []
    assert set(provider.asked) == {"/jwks"}, "a token made the server ask somebody else for a key"


def test_a_token_of_one_kind_of_key_is_not_believed_by_the_other(
    authenticators: dict[str, Authenticator],
) -> None:
    shared, public = sign(HS, claims(), OUR_SECRET), sign(RS, claims(), by_key(OURS))
    for answer in (verdict(authenticators["keys"], shared), verdict(authenticators["secret"], public)):
        assert isinstance(answer, ApiError)
        assert answer.status == 401


@pytest.mark.parametrize(
    ("kind", "header", "signer"), [("secret", HS, OUR_SECRET), ("keys", RS, by_key(OURS))]
)
def test_what_is_signed_and_says_something_wrong_is_refused(
    authenticators: dict[str, Authenticator], kind: str, header: Row, signer: Callable[[bytes], bytes]
) -> None:
    assert believed({kind: authenticators[kind]}, improper(header, signer)) == []


def test_a_wrong_kind_of_role_is_no_role(authenticators: dict[str, Authenticator]) -> None:
    for role in (None, 1, True, "", "Admin", "admin ", "admin\0", ["admin"], {"admin": True}, "root", ...):
        answer = verdict(
            authenticators["secret"],
            sign(HS, claims(role=role, app_metadata=[{"role": "admin"}]), OUR_SECRET),
        )
        assert answer == Principal("victim", None), role


def test_no_change_of_a_good_token_is_believed_for_more_than_it_said(
    authenticators: dict[str, Authenticator],
) -> None:
    assert faults_of_changes(authenticators, random.Random(SEED), TRIES) == [], f"seed {SEED}"


def test_the_server_answers_every_forgery_with_401(lasting_site: Site, provider: Provider) -> None:
    """Through the whole server, where headers are read and errors become answers."""
    lasting_site.control.wait_idle()
    with lasting_site.unchanged():
        for name, text in forgeries(provider):
            try:
                header = f"Bearer {text}".encode("latin-1")
                response = requests.get(
                    lasting_site.base + "/api/admin/stats", headers={"Authorization": header}, timeout=120
                )
            except requests.exceptions.InvalidHeader:
                continue
            assert response.status_code == 401, f"{name}: {response.status_code} {response.text[:300]}"
            refused(response, 401, "invalid_token" if text.strip() else "missing_token")
