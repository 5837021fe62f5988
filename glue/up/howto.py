"""What a person pastes to talk to `pgbooking up`, and the file of secrets that these lines read."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from glue.embedded import EmbeddedError, embedded_bin_dir
from glue.system import System
from glue.up.folder import write_private

EXPERT, STUDENT = "expert-eva", "student-sam"

_ENVIRONMENT = """\
# Written by pgbooking up at every start. For a subshell, not to change yours: (. {file}; pgbooking stats)
export API={api}
export DATABASE_URL={database}
export JWT_SECRET={jwt}
export CRON_SECRET={cron}
export STRIPE_API_BASE={stripe_base}
export STRIPE_SECRET_KEY={stripe_key}
export PATH={programs}:"$PATH"{more_programs}
unset JWT_AUDIENCE JWT_ISSUER
JSON='Content-Type: application/json'
# bearer NAME ROLE: the header that makes a request that person's
bearer() {{ printf 'Authorization: Bearer %s' "$(pgbooking token --sub "$1" --role "$2")"; }}
# keep FIELD: shows an answer and gives on one field of it
keep() {{
  answer=$(cat)
  printf '%s\\n' "$answer" >&2
  printf '%s' "$answer" | sed -n 's/.*"'"$1"'": *"\\([^"]*\\)".*/\\1/p'
}}
"""


def write_environment(folder: Path, system: System) -> None:
    """The file `env`, so that no secret stands on the screen or in a shell's history."""
    file = folder / "env"
    more = ""
    with suppress(EmbeddedError):  # its psql, in case that the machine has none
        more = f":{shlex.quote(str(embedded_bin_dir()))}"
    values = {
        "api": system.url,
        "database": system.operator_url,
        "jwt": system.secrets.jwt,
        "cron": system.secrets.cron,
        "stripe_base": system.sandbox_url,
        "stripe_key": system.secrets.stripe,
        "programs": str(_programs()),
        "file": str(file),
    }
    quoted = {name: shlex.quote(value) for name, value in values.items()}
    write_private(file, _ENVIRONMENT.format(**quoted, more_programs=more))


def lines(folder: Path, slot: str, *, is_sold: bool) -> list[tuple[str, str]]:
    """What it does, and the line for sh, bash or zsh.

    Without a `slot` nothing is booked, and nothing bought unless the product of try-checkout `is_sold`.
    """
    env = f". {shlex.quote(str(folder / 'env'))}"
    student, expert = f'-H "$(bearer {STUDENT} student)"', f'-H "$(bearer {EXPERT} expert)"'
    booking = '{\\"bookingId\\": \\"$BOOKING\\"}'
    now = datetime.now(UTC)
    window = f"from={_instant(now)}&to={_instant(now + timedelta(days=14))}"

    def post(who: str, path: str, body: str) -> str:
        return f'curl -s {who} -H "$JSON" "$API{path}" -d {body}'

    begin = [
        (
            "a token for anybody (role: student, expert, admin)",
            f"({env}; pgbooking token --sub alice --role student)",
        ),
        ("what can be booked", f'({env}; curl -s {student} "$API/api/slots?{window}"; echo)'),
    ]
    book = post(student, "/api/bookings/create", shlex.quote(f'{{"slotId": "{slot}"}}'))
    intent = post(student, "/api/payment/create-intent", f'"{booking}"')
    decision = booking.replace("}", ', \\"action\\": \\"confirm\\"}')
    pay = 'curl -s -u "$STRIPE_SECRET_KEY:" "$STRIPE_API_BASE/v1/payment_intents/$INTENT/confirm"'
    way = [
        ("book it", f"BOOKING=$({env}; {book} | keep bookingId)"),
        ("ask to pay", f"INTENT=$({env}; {intent} | keep paymentIntentId)"),
        (
            "pay, as the customer's browser does with Stripe",
            f'({env}; {pay} -d payment_method=pm_card_visa | grep -o \'"status": "[a-z_]*"\')',
        ),
        (
            "the expert confirms: the money is taken",
            f"({env}; {post(expert, '/api/bookings/expert/confirm', f'{chr(34)}{decision}{chr(34)}')}; echo)",
        ),
        (
            "the student cancels: it is given back by the policy",
            f"({env}; {post(student, '/api/bookings/cancel', f'{chr(34)}{booking}{chr(34)}')}; echo)",
        ),
    ]
    token = f"TEST_JWT=$(pgbooking token --sub {STUDENT} --role student)"
    buy = [
        (
            "buy a product three times at once with one key: it is one purchase",
            f'({env}; {token} API_BASE_URL="$API" pgbooking try-checkout)',
        )
    ]
    figures = "-x -P pager=off -c 'select * from booking.get_booking_stats()'"
    end = [
        ("the figures, with psql", f'({env}; psql "$DATABASE_URL" {figures})'),
        ("is all well?", f"({env}; pgbooking doctor)"),
    ]
    return begin + (way if slot else []) + (buy if is_sold else []) + end


def _programs() -> Path:
    """The folder of the command pgbooking."""
    started = Path(sys.argv[0])
    if started.name == "pgbooking" and started.exists():
        return started.absolute().parent
    beside = Path(sys.executable).parent
    found = shutil.which("pgbooking", path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")
    return Path(found).absolute().parent if found else beside


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
