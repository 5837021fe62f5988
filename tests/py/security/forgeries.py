"""Tokens that nobody may believe, and who is asked to.

Tokens are put together by hand here, because libraries refuse to make them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from glue.auth import Authenticator, Principal
from glue.errors import ApiError
from glue.settings import Settings
from tests.py.http.site import JWT_SECRET, base_env
from tests.py.http.test_auth import serving

OURS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
ATTACKER = rsa.generate_private_key(public_exponent=65537, key_size=2048)

Row = dict[str, Any]
GOOD: Row = {"sub": "victim", "role": "admin"}
AUDIENCE, ISSUER = "pgbooking", "https://id.example"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value: Any) -> str:
    return b64(value if isinstance(value, bytes) else json.dumps(value).encode())


def claims(**changes: Any) -> Row:
    """Claims that would be believed if they were signed; a change to `...` takes one away."""
    whole = {**GOOD, "exp": int(time.time()) + 3600, "aud": AUDIENCE, "iss": ISSUER, **changes}
    return {name: value for name, value in whole.items() if value is not ...}


def sign(header: Any, body: Any, signer: Callable[[bytes], bytes]) -> str:
    text = f"{part(header)}.{part(body)}"
    return f"{text}.{b64(signer(text.encode()))}"


def by_secret(secret: bytes, digest: Any = hashlib.sha256) -> Callable[[bytes], bytes]:
    return lambda text: hmac.new(secret, text, digest).digest()


def by_key(key: rsa.RSAPrivateKey) -> Callable[[bytes], bytes]:
    return lambda text: key.sign(text, padding.PKCS1v15(), SHA256())


def unsigned(_: bytes) -> bytes:
    return b""


OUR_SECRET = by_secret(JWT_SECRET.encode())


class Provider:
    """Serves our keys at /jwks, and remembers what else was asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.jwks = {"keys": [jwk(OURS, "RS256", "ours"), jwk(CURVE, "ES256", "curve")]}


def jwk(key: Any, algorithm: str, kid: str) -> Row:
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key())
    return {**json.loads(made), "kid": kid, "use": "sig", "alg": algorithm}


@contextmanager
def serving_keys() -> Iterator[Provider]:
    found = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            # whoever asks elsewhere gets a key that the attacker can sign with
            keys = found.jwks if self.path == "/jwks" else {"keys": [jwk(ATTACKER, "RS256", "ours")]}
            body = json.dumps(keys).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with serving(Handler) as url:
        found.url = url
        yield found


def authenticators_of(provider: Provider) -> dict[str, Authenticator]:
    """They know a secret, public keys, both; all ask for audience and issuer."""
    checked = replace(
        Settings.from_env(base_env("postgresql://x/y")), jwt_audience=AUDIENCE, jwt_issuer=ISSUER
    )
    return {
        "secret": Authenticator(checked),
        "keys": Authenticator(replace(checked, jwt_secret="", jwt_jwks_url=provider.url)),
        "both": Authenticator(replace(checked, jwt_jwks_url=provider.url)),
    }


HS: Row = {"alg": "HS256", "typ": "JWT"}
RS: Row = {"alg": "RS256", "typ": "JWT", "kid": "ours"}

PEM = OURS.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DER = OURS.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PKCS1 = OURS.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
JWK_TEXT = json.dumps(jwk(OURS, "RS256", "ours")).encode()


def forgeries(provider: Provider) -> Iterator[tuple[str, str]]:
    """Tokens that nobody who may sign has signed, each by a way that has worked somewhere."""
    body = claims()
    for name in ("none", "None", "NONE", "nOnE", "", None, 0, ["HS256"], {"HS256": 1}, True):
        yield f"alg {name!r}, no signature", sign({**HS, "alg": name}, body, unsigned)
        yield f"alg {name!r}, any signature", sign({**HS, "alg": name}, body, by_secret(b"x" * 32))
    yield "no alg", sign({"typ": "JWT"}, body, unsigned)
    for name in ("HS256", "HS384", "HS512", "RS256", "PS256", "ES256", "ES256K", "EdDSA", "dir", "A128KW"):
        yield f"{name} without a signature", sign({**RS, "alg": name}, body, unsigned)
        yield f"{name} signed with nothing", sign({**RS, "alg": name}, body, by_secret(b""))
    for name, secret in {
        "PEM": PEM,
        "PEM stripped": PEM.strip(),
        "DER": DER,
        "PKCS1": PKCS1,
        "JWK": JWK_TEXT,
    }.items():
        for kid in ({}, {"kid": "ours"}):
            yield f"HS256 with the public key as {name} {kid}", sign({**HS, **kid}, body, by_secret(secret))
    yield (
        "HS384 with our secret",
        sign({**HS, "alg": "HS384"}, body, by_secret(JWT_SECRET.encode(), hashlib.sha384)),
    )
    yield "RS256 by another key", sign(RS, body, by_key(ATTACKER))
    yield (
        "ES256 of zeros (psychic signature)",
        sign({**RS, "alg": "ES256", "kid": "curve"}, body, lambda _: b"\0" * 64),
    )
    yield "RS256 for the key of a curve", sign({**RS, "kid": "curve"}, body, by_key(ATTACKER))
    yield "ES256 for the key of RSA", sign({**RS, "alg": "ES256"}, body, lambda _: b"\1" * 64)

    elsewhere = provider.url.replace("/jwks", "/attacker")
    own = jwk(ATTACKER, "RS256", "ours")
    pointers: list[Row] = [
        {"jku": elsewhere},
        {"jwk": own},
        {"x5u": elsewhere},
        {"x5c": [b64(DER)]},
        {"jku": elsewhere, "jwk": own, "kid": "theirs"},
        {"jwk": {"kty": "oct", "k": b64(b"x" * 32)}},
    ]
    for pointer in pointers:
        yield f"{', '.join(pointer)} of the attacker", sign({**RS, **pointer}, body, by_key(ATTACKER))
        yield f"{', '.join(pointer)} with HS256", sign({**HS, **pointer}, body, by_secret(b"x" * 32))

    kids: list[Any] = [
        "../../../../../../dev/null", "/dev/null", "file:///dev/null", elsewhere, "' or '1'='1", "ours'; --",
        "", "ours\0", "x" * 5000, "OURS", None, 0, 1, True, ["ours"], {"ours": 1}, 1e300, "|cat /etc/passwd",
        "${jndi:ldap://127.0.0.1}",
    ]  # fmt: skip
    for kid in kids:
        yield f"kid {str(kid)[:40]!r}", sign({**RS, "kid": kid}, body, by_key(ATTACKER))
        yield f"kid {str(kid)[:40]!r}, empty secret", sign({**HS, "kid": kid}, body, by_secret(b""))

    for name, signer, header in (("HS", OUR_SECRET, HS), ("RS", by_key(OURS), RS)):
        good = sign(header, body, signer)
        head, middle, end = good.split(".")
        yield f"{name}: signature cut off", f"{head}.{middle}."
        yield f"{name}: no third part", f"{head}.{middle}"
        yield f"{name}: half a signature", f"{head}.{middle}.{end[: len(end) // 2]}"
        yield f"{name}: signature twice", f"{head}.{middle}.{end}{end}"
        yield f"{name}: four parts", f"{good}.{end}"
        yield f"{name}: other claims under a good signature", f"{head}.{part(claims(sub='mallory'))}.{end}"
        yield (
            f"{name}: other header over a good signature",
            f"{part({**header, 'typ': 'at+jwt'})}.{middle}.{end}",
        )
        yield f"{name}: white space in a part", f"{head}.{middle} .{end}"
        yield f"{name}: padded part", f"{head}.{middle}=.{end}"
    yield "JSON serialization", json.dumps({"payload": part(body), "signatures": []})
    yield "header is a list", sign([HS], body, OUR_SECRET)
    yield "header is nothing", sign(b"", body, OUR_SECRET)
    yield "header nested deeply", sign(b"[" * 20_000, body, OUR_SECRET)
    yield "header with a number of many digits", sign(b'{"alg": ' + b"9" * 20_000 + b"}", body, OUR_SECRET)
    yield "huge header", sign({**HS, "x": "x" * 40_000}, body, by_secret(b"x" * 32))
    yield "huge claims", sign(HS, {**body, "x": "x" * 40_000}, by_secret(b"x" * 32))
    yield "compressed bomb", sign({"alg": "dir", "enc": "A128GCM", "zip": "DEF"}, b"\0" * 1000, unsigned)
    for text in ("", ".", "..", "...", "a.b.c", "\xff.\xff.\xff", "e30.e30.", "null", "{}"):
        yield f"not a token {text!r}", text


def improper(header: Row, signer: Callable[[bytes], bytes]) -> Iterator[tuple[str, str]]:
    """Tokens that are signed as they must be, and must be refused for what they say."""
    past, future = int(time.time()) - 5, int(time.time()) + 3600
    wrong: list[Row] = [
        {"exp": past}, {"exp": 0}, {"exp": -1}, {"exp": ...}, {"exp": None}, {"exp": ""}, {"exp": "soon"},
        {"exp": [future]}, {"exp": {"at": future}}, {"exp": True}, {"exp": False}, {"exp": float("nan")},
        {"exp": float("inf")}, {"exp": -float("inf")},
        {"nbf": future}, {"nbf": "later"}, {"nbf": [0]}, {"nbf": float("inf")}, {"nbf": None},
        {"aud": ...}, {"aud": "other"}, {"aud": []}, {"aud": ["other"]}, {"aud": ""}, {"aud": None},
        {"aud": {AUDIENCE: 1}}, {"aud": 1}, {"aud": AUDIENCE.upper()}, {"aud": AUDIENCE + "x"},
        {"aud": [[AUDIENCE]]}, {"aud": [AUDIENCE, 1]},
        {"iss": ...}, {"iss": "https://evil.example"}, {"iss": ISSUER + "/"}, {"iss": [ISSUER]},
        {"iss": None}, {"iss": 1},
        {"sub": ...}, {"sub": None}, {"sub": ""}, {"sub": 1}, {"sub": ["victim"]}, {"sub": True},
        {"sub": {"id": "victim"}}, {"sub": "x" * 256}, {"sub": "a\0b"}, {"sub": "\ud800"},
    ]  # fmt: skip
    for changes in wrong:
        yield str(changes), sign(header, claims(**changes), signer)
    for body in (
        b"",
        b"null",
        b"[]",
        b"7",
        b'"x"',
        b"{",
        b"[" * 20_000,
        b"\xff",
        b'{"sub": ' + b"9" * 20_000 + b"}",
    ):
        yield f"claims {body[:20]!r}", sign(header, body, signer)
    yield (
        "an extension that must be understood",
        sign({**header, "crit": ["exp-x"], "exp-x": 1}, claims(), signer),
    )
    yield "an empty list of extensions", sign({**header, "crit": []}, claims(), signer)
    yield "an unencoded payload", sign({**header, "b64": False, "crit": ["b64"]}, claims(), signer)


def verdict(authenticator: Authenticator, text: str) -> Principal | ApiError:
    try:
        return authenticator.authenticate(f"Bearer {text}")
    except ApiError as refusal:
        return refusal


def believed(authenticators: dict[str, Authenticator], tokens: Iterable[tuple[str, str]]) -> list[str]:
    """Which tokens were believed, or refused with anything but 401, and by whom."""
    found = []
    for name, text in tokens:
        for kind, authenticator in authenticators.items():
            answer = verdict(authenticator, text)
            if not isinstance(answer, ApiError) or answer.status != 401:
                found.append(f"{kind}: {name}: {answer!r}")
    return found


def faults_of_changes(
    authenticators: dict[str, Authenticator], chance: random.Random, count: int
) -> list[str]:
    """Which random changes of a good token are believed for more than it said, or refused with anything but
    401. The last letter of a signature has bits that mean nothing: who changes them has the token he had."""
    alphabet = "ABCabc019-_.=+/ \n\x00~\xe9"
    cases = (("secret", HS, OUR_SECRET), ("keys", RS, by_key(OURS)))
    found = []
    for number in range(count):
        kind, header, signer = cases[number % 2]
        good = sign(header, claims(), signer)
        place = chance.randrange(len(good))
        cut, letter = chance.choice(((0, 1), (1, 0), (1, 1))), chance.choice(alphabet)
        changed = good[:place] + letter * cut[1] + good[place + cut[0] :]
        if changed == good:
            continue
        answer = verdict(authenticators[kind], changed)
        if isinstance(answer, Principal):
            same = changed.strip().rsplit(".", 1)[0] == good.rsplit(".", 1)[0]
            is_good = same and answer == Principal("victim", "admin")
        else:
            is_good = answer.status == 401
        found += [] if is_good else [f"try {number}: {changed}: {answer!r}"]
    return found
