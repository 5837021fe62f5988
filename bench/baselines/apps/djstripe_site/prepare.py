"""`python -m djstripe_site.prepare`: the tables, the webhook endpoint, the account of the key."""

import os

import django


def main():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "djstripe_site.settings")
    django.setup()

    from django.conf import settings
    from django.core.management import call_command
    from djstripe.models import Account, APIKey, WebhookEndpoint

    call_command("migrate", verbosity=0)
    account = Account.objects.create(
        id="acct_bench", livemode=False, stripe_data={"id": "acct_bench", "object": "account"}
    )
    APIKey.objects.update_or_create(
        secret=settings.STRIPE_TEST_SECRET_KEY,
        defaults={"type": "secret", "livemode": False, "djstripe_owner_account": account},
    )
    WebhookEndpoint.objects.create(
        id="we_bench",
        livemode=False,
        djstripe_owner_account=account,
        djstripe_uuid=os.environ["WEBHOOK_UUID"],
        secret=os.environ["STRIPE_WEBHOOK_SECRET"],
        enabled_events=["*"],
        status="enabled",
        url="https://example.com/stripe/webhook",
    )


if __name__ == "__main__":
    main()
