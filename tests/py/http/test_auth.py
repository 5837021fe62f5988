"""Tokens: whom the server believes."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from glue.auth import Authenticator, Principal
from glue.errors import ApiError
from glue.settings import Settings
from glue.turns import Turns
from tests.py.http.site import JWT_SECRET, Site, base_env, refused, token

pytestmark = pytest.mark.pg18  # tokens are the server's, whatever the database

PATH = "/api/bookings"


@pytest.fixture
def site(lasting_site: Site) -> Site:
    """Tokens are judged alike everywhere, so one site serves all."""
    return lasting_site


def unsigned(**claims: Any) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    body = {"sub": "student-1", "role": "student", "exp": int(time.time()) + 86_400, **claims}
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(body)}."


def without(claim: str) -> str:
    body = {"sub": "student-1", "role": "student", "exp": int(time.time()) + 86_400}
    del body[claim]
    return jwt.encode(body, JWT_SECRET, algorithm="HS256")


BAD_TOKENS = {
    "expired": (token("s", seconds=-1), "token_expired"),
    "alg none": (unsigned(), "invalid_token"),
    "signature cut off": (token("s").rsplit(".", 1)[0] + ".", "invalid_token"),
    "another key": (token("s", key="x" * 40), "invalid_token"),
    "another algorithm": (
        jwt.encode({"sub": "s", "role": "student", "exp": 2**33}, "x" * 64, algorithm="HS512"),
        "invalid_token",
    ),
    "no exp": (without("exp"), "invalid_token"),
    "no sub": (without("sub"), "invalid_token"),
    "exp is text": (token("s", exp="tomorrow"), "invalid_token"),
    "not yet": (token("s", nbf=2**33, exp=2**34), "invalid_token"),
    "empty sub": (token(""), "invalid_token"),
    "long sub": (token("x" * 256), "invalid_token"),
    "sub with nul": (token("a\0b"), "invalid_token"),
    "sub with half a pair": (token("a\ud800b"), "invalid_token"),
    "garbage": ("garbage", "invalid_token"),
    "not base64": ("a.b.c", "invalid_token"),
}


@pytest.mark.parametrize(("bad", "code"), BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
def test_a_bad_token_is_401_and_nothing_is_written(site: Site, bad: str, code: str) -> None:
    offer = site.offer()
    with site.unchanged():
        response = site.nobody(f"Bearer {bad}").post("/api/bookings/create", {"slotId": str(offer.slot)})
        refused(response, 401, code)
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert site.book(site.new_student(), offer)["status"] == "pending"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "token"])
def test_no_token_is_401_even_with_a_bad_body(site: Site, header: str) -> None:
    with site.unchanged():
        refused(site.nobody(header).post("/api/bookings/create", None), 401, "missing_token")
        refused(site.nobody(header).get(PATH), 401, "missing_token")


@pytest.mark.parametrize("role", [None, "teacher", "", ["student"], {"role": "admin"}, 1])
def test_a_role_that_is_none_of_ours_is_403(site: Site, role: Any) -> None:
    refused(site.person("somebody", role).get(PATH), 403, "forbidden")


def test_a_sub_of_255_characters_of_any_script_is_a_person(site: Site) -> None:
    assert site.person("é" * 255).get(PATH).status_code == 200
    assert site.book(site.person("学生 ☂ 😀"))["status"] == "pending"


def test_a_token_issued_by_a_clock_ahead_of_ours_is_taken(site: Site) -> None:
    assert site.person("s", iat=int(time.time()) + 30).get(PATH).status_code == 200


def authenticator(**changes: Any) -> Authenticator:
    return Authenticator(replace(Settings.from_env(base_env("postgresql://x/y")), **changes))


def test_the_role_may_stand_in_app_metadata() -> None:
    supabase = token("s", "authenticated", app_metadata={"role": "expert"}, aud="authenticated")
    assert authenticator().authenticate(f"Bearer {supabase}") == Principal("s", "expert")
    assert authenticator().authenticate(f"bearer {token('s', 'admin', app_metadata=[])}").role == "admin"


def test_audience_and_issuer_are_checked_when_they_are_configured() -> None:
    strict = authenticator(jwt_audience="pgbooking", jwt_issuer="https://id.example")
    good = token("s", aud=["other", "pgbooking"], iss="https://id.example")
    assert strict.authenticate(f"Bearer {good}").user_id == "s"
    wrong: list[dict[str, Any]] = [
        {},
        {"aud": "pgbooking"},
        {"aud": "x", "iss": "https://id.example"},
        {"iss": "https://id.example"},
    ]
    for claims in wrong:
        with pytest.raises(ApiError) as refusal:
            strict.authenticate(f"Bearer {token('s', **claims)}")
        assert refusal.value.code == "invalid_token"


class Keys:
    """A provider of public keys, which can be away."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.away = False
        self.asked = 0
        self.url = ""

    def add(self, kid: str, public: Any, algorithm: str) -> None:
        made = jwt.get_algorithm_by_name(algorithm).to_jwk(public)
        self.keys.append({**json.loads(made), "kid": kid, "use": "sig", "alg": algorithm})


@pytest.fixture
def keys() -> Iterator[Keys]:
    provider = Keys()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.asked += 1
            body = json.dumps({"keys": provider.keys}).encode()
            self.send_response(503 if provider.away else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with serving(Handler) as url:
        provider.url = url
        yield provider


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/jwks"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def signed(key: Any, algorithm: str, kid: str | None) -> str:
    headers = {"kid": kid} if kid else {}
    body = {"sub": "s", "role": "student", "exp": int(time.time()) + 86_400}
    return "Bearer " + jwt.encode(body, key, algorithm=algorithm, headers=headers)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def with_keys(keys: Keys, clock: Clock | None = None, **changes: Any) -> Authenticator:
    settings = replace(
        Settings.from_env(base_env("postgresql://x/y")),
        **{"jwt_secret": "", "jwt_jwks_url": keys.url, **changes},
    )
    return Authenticator(settings, clock=clock or Clock())


def code_of(auth: Authenticator, header: str) -> str:
    with pytest.raises(ApiError) as refusal:
        auth.authenticate(header)
    return refusal.value.code


def test_public_keys_verify_rs256_and_es256_and_are_asked_for_once(keys: Keys) -> None:
    keys.add("r", RSA.public_key(), "RS256")
    keys.add("e", EC.public_key(), "ES256")
    auth = with_keys(keys)
    for _ in range(3):
        assert auth.authenticate(signed(RSA, "RS256", "r")).user_id == "s"
        assert auth.authenticate(signed(EC, "ES256", "e")).user_id == "s"
    assert keys.asked == 1


def test_a_forged_token_does_not_pass_the_public_keys(keys: Keys) -> None:
    keys.add("r", RSA.public_key(), "RS256")
    keys.add("e", EC.public_key(), "ES256")
    auth = with_keys(keys)
    assert code_of(auth, signed(OTHER, "RS256", "r")) == "invalid_token"
    assert code_of(auth, signed(RSA, "RS256", "e")) == "invalid_token"
    assert code_of(auth, signed(RSA, "RS256", None)) == "invalid_token"
    # the public key as a shared secret, which an attacker knows too
    assert code_of(auth, f"Bearer {token('s')}") == "invalid_token"
    for _ in range(20):
        assert code_of(auth, signed(RSA, "RS256", "unknown")) == "invalid_token"
    assert keys.asked <= 2


def test_both_kinds_of_keys_may_be_configured(keys: Keys) -> None:
    keys.add("r", RSA.public_key(), "RS256")
    auth = with_keys(keys, jwt_secret=JWT_SECRET)
    assert auth.authenticate(signed(RSA, "RS256", "r")).user_id == "s"
    assert auth.authenticate(f"Bearer {token('t')}").user_id == "t"


def test_while_the_keys_cannot_be_had_the_answer_is_503_and_nobody_waits_twice(keys: Keys) -> None:
    clock = Clock()
    auth = with_keys(keys, clock)
    keys.add("r", RSA.public_key(), "RS256")
    keys.away = True
    for _ in range(5):
        assert code_of(auth, signed(RSA, "RS256", "r")) == "auth_unavailable"
    assert keys.asked == 1
    keys.away = False
    clock.now += 11
    assert auth.authenticate(signed(RSA, "RS256", "r")).user_id == "s"


def test_a_key_that_was_seen_goes_on_working_while_the_keys_cannot_be_had(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.add("r", RSA.public_key(), "RS256")
    auth = with_keys(keys)
    assert auth.authenticate(signed(RSA, "RS256", "r")).user_id == "s"
    keys.away = True
    monkeypatch.setattr("jwt.jwk_set_cache.JWKSetCache.get", lambda _: None)  # its time is over
    for _ in range(3):
        assert auth.authenticate(signed(RSA, "RS256", "r")).user_id == "s"
    assert keys.asked == 2


def test_who_waits_while_the_keys_are_fetched_gives_others_a_turn(keys: Keys) -> None:
    keys.add("r", RSA.public_key(), "RS256")
    auth, turns, has_turn = with_keys(keys), Turns(1), threading.Event()
    assert auth._keys is not None

    def ask() -> str:
        turns.keep()
        has_turn.set()
        return auth.authenticate(signed(RSA, "RS256", "r")).user_id

    with ThreadPoolExecutor(2) as pool:
        with auth._keys._lock:
            asked = pool.submit(ask)
            assert has_turn.wait(60)
            pool.submit(turns.keep).result(60)
        assert asked.result() == "s"


def test_seen_keys_are_bounded(keys: Keys) -> None:
    auth = with_keys(keys)
    for number in range(70):
        keys.add(f"k{number}", RSA.public_key(), "RS256")
    for number in range(70):
        assert auth.authenticate(signed(RSA, "RS256", f"k{number}")).user_id == "s"
    assert auth._keys is not None
    assert len(auth._keys._seen) <= 64


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signature was computed."""
    seen: list[str] = []
    decode = jwt.decode_complete

    def counted(given: str, *arguments: Any, **named: Any) -> Any:
        seen.append(given)
        return decode(given, *arguments, **named)

    monkeypatch.setattr("glue.auth.jwt.decode_complete", counted)
    return seen


def test_a_signature_is_computed_once_and_a_tokens_times_are_looked_at_each_time(
    decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    auth, now = authenticator(), time.time()
    good = token("s", seconds=100, nbf=int(now) - 100)
    for _ in range(3):
        assert auth.authenticate(f"Bearer {good}").user_id == "s"
    assert decoded == [good]
    with pytest.raises(ApiError):
        auth.authenticate(f"Bearer {good[:-1]}")
    for moment in (now + 101, now - 102):
        decoded.clear()
        monkeypatch.setattr("glue.auth.time.time", lambda moment=moment: moment)
        auth.authenticate(f"Bearer {good}")  # PyJWT has a clock of its own here
        assert decoded == [good]


def test_a_token_that_is_remembered_expires() -> None:
    auth = authenticator()
    short = token("s", seconds=1)
    assert auth.authenticate(f"Bearer {short}").user_id == "s"
    until = time.time() + 1.1
    while time.time() < until:
        time.sleep(0.05)
    assert code_of(auth, f"Bearer {short}") == "token_expired"


def test_a_remembered_token_falls_with_its_key(
    keys: Keys, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.add("r", RSA.public_key(), "RS256")
    auth, given = with_keys(keys), signed(RSA, "RS256", "r")
    for _ in range(3):
        assert auth.authenticate(given).user_id == "s"
    assert len(decoded) == 1
    monkeypatch.setattr("jwt.jwk_set_cache.JWKSetCache.get", lambda _: None)  # its time is over
    keys.keys.clear()
    keys.add("r", OTHER.public_key(), "RS256")
    assert code_of(auth, given) == "invalid_token"
    keys.keys.clear()
    assert code_of(auth, given) == "invalid_token"


def test_remembered_tokens_are_bounded(decoded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glue.auth.MOST_KEPT", 2)
    auth = authenticator()
    several = [f"Bearer {token(f's{number}')}" for number in range(3)]
    large = f"Bearer {token('s', more='x' * 2048)}"
    for given in (*several, several[2], several[1], several[0], large, large):
        auth.authenticate(given)
    assert [f"Bearer {each}" for each in decoded] == [*several, several[0], large, large]
    assert len(auth._verified) == 2
