"""Who is asking: JSON Web Tokens, verified by PyJWT."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jwt

from glue.errors import ApiError
from glue.settings import Settings
from glue.turns import step_aside

Role = Literal["student", "expert", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

MOST_KEPT = 4096
"""Tokens that are remembered as verified: the latest ones."""
LONGEST_KEPT = 2048
"""Characters of a token that is remembered."""

_SHARED_KEY_ALGORITHMS = ("HS256",)
_PUBLIC_KEY_ALGORITHMS = ("RS256", "ES256")


@dataclass(frozen=True, slots=True)
class Principal:
    """The person that the token vouches for; `role` is None when the token names none of ours."""

    user_id: str
    role: Role | None


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token whose signature fits `key`. Times are seconds since 1970."""

    principal: Principal
    key: str | jwt.PyJWK
    algorithm: str
    kid: object
    not_before: float
    expires: float


class Authenticator:
    """Verifies bearer tokens: HS256 with JWT_SECRET, RS256 and ES256 with the keys of JWT_JWKS_URL.

    A signature that was verified is not computed again while token and key are the same. The key is looked up
    and the token's times are compared each time, so a token lives exactly as long as without that.

    The algorithm decides which kind of key is used, so a public key can never serve as a shared secret.
    `exp` and `sub` are required; `aud` and `iss` are checked when they are configured. Thread-safe.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._secret = settings.jwt_secret
        self._keys = _PublicKeys(settings.jwt_jwks_url, clock) if settings.jwt_jwks_url else None
        self._audience = settings.jwt_audience or None
        self._issuer = settings.jwt_issuer or None
        self._verified: dict[str, _Verified] = {}

    def authenticate(self, header: str | None) -> Principal:
        """The person of an Authorization header. Raises `ApiError` 401, or 503 when no keys are to be had."""
        scheme, _, token = (header or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise ApiError(401, "missing_token", "Send a bearer token in the Authorization header.")
        token = token.strip()
        try:
            known = self._verified.get(token)
            if known is None or not self._is_good(known):
                known = self._verify(token)
        except jwt.ExpiredSignatureError:
            raise ApiError(401, "token_expired", "The token has expired; sign in again.") from None
        except jwt.PyJWKClientConnectionError:
            raise _keys_away() from None
        except (jwt.PyJWTError, ValueError):
            raise _invalid_token() from None
        return known.principal

    def _is_good(self, known: _Verified) -> bool:
        """Whether what was found before would be found again. Anything else is left to PyJWT."""
        if not known.not_before <= time.time() < known.expires:
            return False
        return self._key(known.algorithm, known.kid) is known.key

    def _key(self, algorithm: object, kid: object) -> str | jwt.PyJWK:
        if self._secret and algorithm in _SHARED_KEY_ALGORITHMS:
            return self._secret
        if self._keys and algorithm in _PUBLIC_KEY_ALGORITHMS:
            return self._keys.get(kid)
        raise jwt.InvalidAlgorithmError("algorithm is not allowed")

    def _verify(self, token: str) -> _Verified:
        key: str | jwt.PyJWK = self._secret
        algorithms = list(_SHARED_KEY_ALGORITHMS)
        if self._keys or not self._secret:  # which key it is, only the token knows
            asked = jwt.get_unverified_header(token)
            algorithms, key = [str(asked.get("alg"))], self._key(asked.get("alg"), asked.get("kid"))
        decoded = jwt.decode_complete(
            token,
            key,
            algorithms=algorithms,
            audience=self._audience,
            issuer=self._issuer,
            options={
                "require": ["exp", "sub"],
                "verify_aud": self._audience is not None,
                # Clocks differ by a second or two; a token's lifetime is guarded by exp and nbf.
                "verify_iat": False,
            },
        )
        header, claims = decoded["header"], decoded["payload"]
        subject = claims["sub"]
        if not _is_id(subject):
            raise _invalid_token()
        found = _Verified(
            Principal(subject, _role_of(claims)),
            key,
            str(header.get("alg")),
            header.get("kid"),
            int(claims.get("nbf", 0)),
            int(claims["exp"]),
        )
        if len(token) <= LONGEST_KEPT:
            while len(self._verified) >= MOST_KEPT:
                self._verified.pop(next(iter(self._verified), ""), None)
            self._verified[token] = found
        return found


class _PublicKeys:
    """The keys of a JWKS URL: cached, fetched again for an unknown `kid`, at most once a `COOLDOWN`.

    While the URL does not answer, keys that were seen before go on being used, and nobody waits for it twice.
    """

    TIMEOUT = 3.0
    COOLDOWN = 10.0
    AT_ONCE = 0.1
    """Seconds in which keys that are here already are found."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        self._client = jwt.PyJWKClient(
            url, lifespan=300, timeout=self.TIMEOUT, cooldown_duration=self.COOLDOWN
        )
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, jwt.PyJWK] = {}
        self._down_until = float("-inf")

    def get(self, kid: object) -> jwt.PyJWK:
        if not isinstance(kid, str):
            raise jwt.InvalidTokenError("no key is named")
        if not self._lock.acquire(timeout=self.AT_ONCE):
            step_aside()  # somebody fetches them
            self._lock.acquire()
        try:
            if self._clock() < self._down_until:
                return self._seen_before(kid)
            try:
                key = self._client.get_signing_key(kid)
            except jwt.PyJWKClientConnectionError:
                self._down_until = self._clock() + self.COOLDOWN
                return self._seen_before(kid)
            if len(self._seen) >= 64:
                self._seen.clear()
            self._seen[kid] = key
            return key
        finally:
            self._lock.release()

    def _seen_before(self, kid: str) -> jwt.PyJWK:
        if kid not in self._seen:
            raise jwt.PyJWKClientConnectionError("the keys cannot be fetched")
        return self._seen[kid]


def _is_id(subject: object) -> bool:
    """Whether the database can hold it: 1 to 255 characters, none of them NUL or half of a pair."""
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255 or "\0" in subject:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in subject)


def _role_of(claims: dict[str, Any]) -> Role | None:
    """`role`, or `app_metadata.role` where the first is the provider's own, as at Supabase."""
    metadata = claims.get("app_metadata")
    for candidate in (claims.get("role"), metadata.get("role") if isinstance(metadata, dict) else None):
        for role in ROLES:
            if candidate == role:
                return role
    return None


def _invalid_token() -> ApiError:
    return ApiError(401, "invalid_token", "The token is not valid here.")


def _keys_away() -> ApiError:
    return ApiError(
        503, "auth_unavailable", "The keys that tokens are checked with cannot be had.", retry_after=5
    )
