"""`python -m glue.sandbox --port 0 --webhook-url URL --webhook-secret S`."""

from __future__ import annotations

import argparse
import sys

from glue.sandbox.server import serve


def main() -> int:
    """Parse the command line and serve; 2 for a wrong argument or a port that is taken."""
    parser = argparse.ArgumentParser(
        prog="python -m glue.sandbox", description="A stand-in for Stripe's API."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free port")
    parser.add_argument("--webhook-url", help="where events are sent")
    parser.add_argument(
        "--webhook-secret", action="append", default=[], help="signs them; repeat it for a rotation"
    )
    parser.add_argument(
        "--api-key", action="append", default=[], help="accept only this key; may be repeated"
    )
    parser.add_argument("--data-file", help="keep the state in this file")
    parser.add_argument("--exit-on-eof", action="store_true", help="end when standard input ends")
    options = parser.parse_args()
    try:
        serve(
            host=options.host,
            port=options.port,
            webhook_url=options.webhook_url,
            webhook_secret=options.webhook_secret,
            api_keys=options.api_key,
            data_file=options.data_file,
            exit_on_eof=options.exit_on_eof,
        )
    except (OSError, ValueError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
