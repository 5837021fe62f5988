#!/usr/bin/env python3
"""Sends one purchase several times at once to a running server: `pgbooking try-checkout` as a script.

scripts/concurrent_checkout.py --url http://127.0.0.1:8000 --jwt "$TEST_JWT" --product course-1 --requests 3
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from glue.commands.checkout import try_checkout

if __name__ == "__main__":
    try_checkout()
