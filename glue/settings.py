"""Settings: what the environment says, checked once, before anything starts.

Nothing here has an insecure default: a missing secret is a `SettingsError`, whose text is one line that
names every setting at fault and never holds a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

Role = Literal["serve", "worker"]
Network = IPv4Network | IPv6Network

JWT_SECRET_BYTES = 32
"""Least length: RFC 7518, section 3.2, asks of an HS256 key at least the 256 bits of its hash."""
CRON_SECRET_CHARACTERS = 16
"""Least length; what Vercel asks for. Guesses are limited by address as well."""

_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_LOG_FORMATS = ("JSON", "PLAIN")
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off", "")


class SettingsError(Exception):
    """The environment does not allow a start; `str()` is one clear line without any secret in it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a process of pgbooking reads from its environment.

    Secrets are left out of `repr()`, so that a settings object may be logged.
    """

    database_url: str = field(repr=False)
    stripe_secret_key: str = field(repr=False)
    stripe_publishable_key: str = ""
    stripe_webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    stripe_webhook_networks: tuple[Network, ...] = ()
    stripe_api_base: str | None = None
    max_concurrent_payments: int = 10
    checkout_success_url: str = ""
    checkout_cancel_url: str = ""
    cron_secret: str = field(default="", repr=False)
    jwt_secret: str = field(default="", repr=False)
    jwt_jwks_url: str = ""
    jwt_audience: str = ""
    jwt_issuer: str = ""
    rate_limit_window_ms: int = 60_000
    rate_limit_max_requests: int = 600
    rate_limit_storage_uri: str = field(default="memory://", repr=False)
    trusted_proxies: int = 0
    log_level: str = "INFO"
    log_format: str = "JSON"
    log_dir: Path | None = None
    log_retention_days: int = 14
    metrics_enabled: bool = False
    database_pool_size: int = 8
    statement_timeout_ms: int = 10_000
    lock_timeout_ms: int = 5_000
    outbox_stuck_seconds: int = 900
    maintenance_interval_seconds: int = 900
    cache_ttl: int = 300
    invoice_generation_timeout: int = 15
    client_timeout_seconds: int = 10

    @classmethod
    def from_env(cls, env: Mapping[str, str], *, role: Role = "serve") -> Settings:
        """Reads the environment for the HTTP server (`serve`) or for the outbox `worker`.

        The worker verifies no token and no webhook, so it asks for DATABASE_URL and STRIPE_SECRET_KEY only.
        Raises `SettingsError` for whatever is missing or cannot be right.
        """
        read = _Reader(env)
        settings = cls(
            database_url=read.database("DATABASE_URL"),
            stripe_secret_key=read.required("STRIPE_SECRET_KEY"),
            stripe_publishable_key=read.text("STRIPE_PUBLISHABLE_KEY"),
            stripe_webhook_secrets=read.words("STRIPE_WEBHOOK_SECRET", required=role == "serve"),
            stripe_webhook_networks=read.networks("STRIPE_WEBHOOK_IPS"),
            stripe_api_base=read.url("STRIPE_API_BASE") or None,
            max_concurrent_payments=read.number("MAX_CONCURRENT_PAYMENTS", 10, 1, 1_000),
            checkout_success_url=read.url("CHECKOUT_SUCCESS_URL") and read.text("CHECKOUT_SUCCESS_URL"),
            checkout_cancel_url=read.url("CHECKOUT_CANCEL_URL") and read.text("CHECKOUT_CANCEL_URL"),
            cron_secret=read.required("CRON_SECRET") if role == "serve" else read.text("CRON_SECRET"),
            jwt_secret=read.text("JWT_SECRET"),
            jwt_jwks_url=read.url("JWT_JWKS_URL"),
            jwt_audience=read.text("JWT_AUDIENCE"),
            jwt_issuer=read.text("JWT_ISSUER"),
            rate_limit_window_ms=read.number("RATE_LIMIT_WINDOW_MS", 60_000, 1_000, 86_400_000),
            rate_limit_max_requests=read.number("RATE_LIMIT_MAX_REQUESTS", 600, 1, 100_000_000),
            rate_limit_storage_uri=read.text("RATE_LIMIT_STORAGE_URI") or "memory://",
            trusted_proxies=read.number("TRUSTED_PROXIES", 0, 0, 10),
            log_level=read.choice("LOG_LEVEL", "INFO", _LOG_LEVELS),
            log_format=read.choice("LOG_FORMAT", "JSON", _LOG_FORMATS),
            log_dir=read.path("LOG_DIR"),
            log_retention_days=read.number("LOG_RETENTION_DAYS", 14, 1, 3_650),
            metrics_enabled=read.flag("METRICS_ENABLED"),
            database_pool_size=read.number("DATABASE_POOL_SIZE", 8, 1, 1_000),
            statement_timeout_ms=read.number("STATEMENT_TIMEOUT_MS", 10_000, 100, 600_000),
            lock_timeout_ms=read.number("LOCK_TIMEOUT_MS", 5_000, 100, 600_000),
            outbox_stuck_seconds=read.number("OUTBOX_STUCK_SECONDS", 900, 1, 86_400),
            maintenance_interval_seconds=read.number("MAINTENANCE_INTERVAL_SECONDS", 900, 1, 86_400),
            cache_ttl=read.number("CACHE_TTL", 300, 0, 86_400),
            invoice_generation_timeout=read.number("INVOICE_GENERATION_TIMEOUT", 15, 1, 600),
            client_timeout_seconds=read.number("CLIENT_TIMEOUT_SECONDS", 10, 1, 60),
        )
        if role == "serve" and not settings.jwt_secret and not settings.jwt_jwks_url:
            read.missing.append("JWT_SECRET or JWT_JWKS_URL")
        read.wrong.extend(_unsafe(settings))
        read.finish()
        return settings


class _Reader:
    """Collects what is missing and what is wrong, so that one start tells everything at once."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.missing: list[str] = []
        self.wrong: list[str] = []

    def text(self, name: str) -> str:
        return self._env.get(name, "").strip()

    def required(self, name: str) -> str:
        value = self.text(name)
        if not value:
            self.missing.append(name)
        return value

    def database(self, name: str) -> str:
        value = self.required(name)
        try:
            conninfo_to_dict(value)
        except psycopg.ProgrammingError:  # its text holds the value
            self.wrong.append(f"{name} must be a PostgreSQL connection string")
        return value

    def words(self, name: str, *, required: bool = False) -> tuple[str, ...]:
        value = self.required(name) if required else self.text(name)
        return tuple(word for word in (part.strip() for part in value.split(",")) if word)

    def number(self, name: str, default: int, least: int, most: int) -> int:
        value = self.text(name)
        if not value:
            return default
        # int() would also take '1_000' and digits of other scripts
        if not (value.isascii() and value.isdigit() and len(value) < 12 and least <= int(value) <= most):
            self.wrong.append(f"{name} must be a whole number from {least} to {most}")
            return default
        return int(value)

    def flag(self, name: str) -> bool:
        value = self.text(name).lower()
        if value not in _TRUE + _FALSE:
            self.wrong.append(f"{name} must be true or false")
        return value in _TRUE

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name).upper() or default
        if value not in allowed:
            self.wrong.append(f"{name} must be one of {', '.join(allowed)}")
        return value

    def url(self, name: str) -> str:
        value = self.text(name).rstrip("/")
        if value:
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                self.wrong.append(f"{name} must be an http(s) URL")
        return value

    def path(self, name: str) -> Path | None:
        value = self.text(name)
        return Path(value) if value else None

    def networks(self, name: str) -> tuple[Network, ...]:
        found: list[Network] = []
        for word in self.words(name):
            try:
                found.append(ip_network(word, strict=False))
            except ValueError:
                self.wrong.append(f"{name} must hold addresses or CIDR blocks, separated by commas")
        return tuple(found)

    def finish(self) -> None:
        problems = [f"missing: {', '.join(self.missing)}"] if self.missing else []
        problems += dict.fromkeys(self.wrong)
        if problems:
            raise SettingsError("settings: " + "; ".join(problems))


def _unsafe(settings: Settings) -> list[str]:
    """What is well-formed and yet unsafe: secrets to be guessed, settings that do not go together."""
    found = []
    # A short secret of HS256 is found out at home, from any one token.
    if 0 < len(settings.jwt_secret.encode()) < JWT_SECRET_BYTES:
        found.append(f"JWT_SECRET must have at least {JWT_SECRET_BYTES} bytes")
    if 0 < len(settings.cron_secret) < CRON_SECRET_CHARACTERS:
        found.append(f"CRON_SECRET must have at least {CRON_SECRET_CHARACTERS} characters")
    live = _is_live(settings.stripe_secret_key)
    if settings.stripe_publishable_key:
        if not settings.stripe_publishable_key.startswith("pk_"):
            found.append("STRIPE_PUBLISHABLE_KEY must begin with pk_")
        elif live != _is_live(settings.stripe_publishable_key):
            found.append(
                "STRIPE_SECRET_KEY and STRIPE_PUBLISHABLE_KEY must both be live keys or both test keys"
            )
    if live and (settings.stripe_api_base or "https:").startswith("http:"):
        found.append("STRIPE_API_BASE must be https with a live STRIPE_SECRET_KEY")
    if settings.jwt_jwks_url.startswith("http:") and not _is_loopback(settings.jwt_jwks_url):
        found.append("JWT_JWKS_URL must be https: who can change the keys can be anybody")
    return found


def _is_live(key: str) -> bool:
    return "_live_" in key


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
