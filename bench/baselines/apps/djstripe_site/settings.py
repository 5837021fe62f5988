"""As dj-stripe's documents have it, with nothing beside it."""

import os

import stripe
from psycopg.conninfo import conninfo_to_dict

_database = conninfo_to_dict(os.environ["DATABASE_URL"])

SECRET_KEY = "of no use here"
DEBUG = False
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "djstripe"]
MIDDLEWARE = []
ROOT_URLCONF = "djstripe_site.urls"
USE_TZ = True
APPEND_SLASH = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _database["dbname"],
        "USER": _database["user"],
        "PASSWORD": _database.get("password", ""),
        "HOST": _database["host"],
        "PORT": _database["port"],
        "CONN_MAX_AGE": None,
        "OPTIONS": {"server_side_binding": True, "prepare_threshold": 5},
    }
}

STRIPE_LIVE_MODE = False
STRIPE_TEST_SECRET_KEY = os.environ["STRIPE_SECRET_KEY"]
DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"
stripe.api_base = os.environ["STRIPE_API_BASE"]


def leave_for_later(trigger, **_):
    """Where a task queue would be told; nothing is done here, which costs the least."""


if os.environ["DJSTRIPE_MODE"] == "stores":
    DJSTRIPE_WEBHOOK_EVENT_CALLBACK = leave_for_later
