"""The environment: what starts, what does not, and what is said about it."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from glue.settings import Settings, SettingsError
from tests.py.http.site import base_env

ENV = base_env("postgresql://app:pass-word@db/booking")


def complaint(changes: dict[str, str], **options: str) -> str:
    with pytest.raises(SettingsError) as error:
        Settings.from_env(ENV | changes, **options)  # type: ignore[arg-type]
    text = str(error.value)
    assert "\n" not in text
    return text


def test_every_missing_secret_is_named_in_one_line() -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_env({})
    assert str(error.value) == (
        "settings: missing: DATABASE_URL, STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET, CRON_SECRET,"
        " JWT_SECRET or JWT_JWKS_URL"
    )


@pytest.mark.parametrize(
    "name", ["DATABASE_URL", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "CRON_SECRET", "JWT_SECRET"]
)
def test_a_blank_secret_is_a_missing_one(name: str) -> None:
    assert name in complaint({name: "  "})


def test_the_worker_asks_only_for_the_database_and_stripe() -> None:
    settings = Settings.from_env(
        {"DATABASE_URL": "postgresql://x/y", "STRIPE_SECRET_KEY": "k"}, role="worker"
    )
    assert settings.maintenance_interval_seconds == 900


def test_everything_can_be_set() -> None:
    settings = Settings.from_env(
        ENV
        | {
            "STRIPE_WEBHOOK_SECRET": " whsec_new , whsec_old ,",
            "STRIPE_WEBHOOK_IPS": "3.18.12.63, 10.0.0.0/8, 2001:db8::/32",
            "STRIPE_PUBLISHABLE_KEY": "pk_test_1",
            "MAX_CONCURRENT_PAYMENTS": "3",
            "JWT_SECRET": "",
            "JWT_JWKS_URL": "https://id.example/keys/",
            "TRUSTED_PROXIES": "2",
            "LOG_LEVEL": "debug",
            "LOG_FORMAT": "plain",
            "CHECKOUT_SUCCESS_URL": "https://shop.example/thanks?id={CHECKOUT_SESSION_ID}",
            "CHECKOUT_CANCEL_URL": "https://shop.example/cart/",
            "LOG_DIR": "/var/log/pgbooking",
            "METRICS_ENABLED": "true",
        }
    )
    assert settings.stripe_webhook_secrets == ("whsec_new", "whsec_old")
    assert settings.stripe_webhook_networks[1:] == (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
    assert (settings.max_concurrent_payments, settings.trusted_proxies) == (3, 2)
    assert settings.jwt_jwks_url == "https://id.example/keys"
    assert (settings.log_level, settings.log_dir) == ("DEBUG", Path("/var/log/pgbooking"))
    assert settings.metrics_enabled
    assert settings.log_format == "PLAIN"
    assert settings.checkout_success_url == "https://shop.example/thanks?id={CHECKOUT_SESSION_ID}"
    assert settings.checkout_cancel_url == "https://shop.example/cart/"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RATE_LIMIT_WINDOW_MS", "0", "RATE_LIMIT_WINDOW_MS must be a whole number from 1000 to 86400000"),
        ("RATE_LIMIT_MAX_REQUESTS", "many", "RATE_LIMIT_MAX_REQUESTS must be a whole number"),
        ("RATE_LIMIT_MAX_REQUESTS", "1_000", "RATE_LIMIT_MAX_REQUESTS must be a whole number"),
        ("MAX_CONCURRENT_PAYMENTS", "-1", "MAX_CONCURRENT_PAYMENTS must be a whole number"),
        ("TRUSTED_PROXIES", "11", "TRUSTED_PROXIES must be a whole number from 0 to 10"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT must be one of JSON, PLAIN"),
        ("CHECKOUT_SUCCESS_URL", "/thanks", "CHECKOUT_SUCCESS_URL must be an http(s) URL"),
        ("CHECKOUT_CANCEL_URL", "shop.example", "CHECKOUT_CANCEL_URL must be an http(s) URL"),
        ("METRICS_ENABLED", "maybe", "METRICS_ENABLED must be true or false"),
        ("STRIPE_WEBHOOK_IPS", "stripe.com", "STRIPE_WEBHOOK_IPS must hold addresses"),
        ("STRIPE_API_BASE", "localhost:12111", "STRIPE_API_BASE must be an http(s) URL"),
        ("JWT_JWKS_URL", "ftp://id.example", "JWT_JWKS_URL must be an http(s) URL"),
        ("JWT_JWKS_URL", "http://id.example/keys", "JWT_JWKS_URL must be https"),
        ("JWT_JWKS_URL", "http://10.0.0.1/keys", "JWT_JWKS_URL must be https"),
        ("STRIPE_PUBLISHABLE_KEY", "sk_test_1", "STRIPE_PUBLISHABLE_KEY must begin with pk_"),
        ("STRIPE_PUBLISHABLE_KEY", "pk_live_1", "must both be live keys or both test keys"),
        ("STRIPE_SECRET_KEY", "sk_live_1", "STRIPE_API_BASE must be https with a live STRIPE_SECRET_KEY"),
        ("JWT_SECRET", "x" * 31, "JWT_SECRET must have at least 32 bytes"),
        ("CRON_SECRET", "x" * 15, "CRON_SECRET must have at least 16 characters"),
        ("DATABASE_URL", "mysql://x", "DATABASE_URL must be a PostgreSQL connection string"),
    ],
)
def test_what_cannot_be_right_is_named(name: str, value: str, said: str) -> None:
    assert said in complaint({name: value})


def test_secrets_of_the_least_length_are_taken() -> None:
    settings = Settings.from_env(ENV | {"JWT_SECRET": "\xe9" * 16, "CRON_SECRET": "x" * 16})
    assert (settings.jwt_secret, settings.cron_secret) == ("\xe9" * 16, "x" * 16)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/keys", "http://[::1]:9/keys", "http://localhost/keys"])
def test_keys_may_come_from_this_machine_without_https(url: str) -> None:
    assert Settings.from_env(ENV | {"JWT_JWKS_URL": url}).jwt_jwks_url == url


def test_neither_a_complaint_nor_a_repr_holds_a_secret() -> None:
    assert "sk_live_1" not in complaint({"STRIPE_SECRET_KEY": "sk_live_1"})
    assert "pass-word" not in complaint({"DATABASE_URL": "mysql://app:pass-word@db"})
    shown = repr(Settings.from_env(ENV))
    for name in ("STRIPE_SECRET_KEY", "CRON_SECRET", "JWT_SECRET"):
        assert ENV[name] not in shown
    assert "pass-word" not in shown
    assert "whsec" not in shown
