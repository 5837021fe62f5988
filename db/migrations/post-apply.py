"""yoyo runs this after it has applied migrations: load every function file, as `pgbooking migrate` does.

Needs nothing but yoyo, so that stock `yoyo apply` works wherever these files are.
"""

import hashlib
from pathlib import Path

from yoyo import step

FUNCTIONS = Path(__file__).resolve().parent.parent / "functions"


def load_functions(conn):
    cursor = conn.cursor()
    cursor.execute("set local role booking_owner")
    cursor.execute("set local check_function_bodies = off")
    for path in sorted(FUNCTIONS.rglob("*.sql"), key=lambda path: path.relative_to(FUNCTIONS).parts):
        text = path.read_text(encoding="utf-8")
        cursor.execute(text)
        cursor.execute(
            "insert into booking.deployed_functions (file, sha256) values (%s, %s)"
            " on conflict (file) do update set sha256 = excluded.sha256, deployed_at = excluded.deployed_at",
            (path.relative_to(FUNCTIONS).as_posix(), hashlib.sha256(text.encode()).hexdigest()),
        )
    cursor.close()


step(load_functions)
