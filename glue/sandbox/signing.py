"""Stripe's webhook signature: `Stripe-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">`."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence


def signature(payload: bytes, secret: str, timestamp: int) -> str:
    """The hex signature of one raw body at one time under one secret."""
    return hmac.new(secret.encode(), str(timestamp).encode() + b"." + payload, hashlib.sha256).hexdigest()


def signature_header(
    payload: bytes, secrets: str | Sequence[str], timestamp: int | None = None, scheme: str = "v1"
) -> str:
    """The header's value. Several secrets give several signatures, as during a rotation.

    `timestamp` is the wall clock by default, never the sandbox's own: receivers compare it with theirs.
    """
    at = int(time.time()) if timestamp is None else timestamp
    names = [secrets] if isinstance(secrets, str) else list(secrets)
    return ",".join([f"t={at}", *(f"{scheme}={signature(payload, secret, at)}" for secret in names)])
