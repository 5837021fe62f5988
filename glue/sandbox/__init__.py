"""A small stateful stand-in for Stripe's API: payments, refunds, Checkout, disputes, webhooks, and failures.

It behaves as Stripe documents it, so that unmodified stripe-python can talk to it. Run it with
`pgbooking sandbox`, `python -m glue.sandbox`, or from Python with `serve` or `glue.sandbox.process.running`.
"""

from glue.sandbox.server import SandboxServer, create_server, serve

__all__ = ["SandboxServer", "create_server", "serve"]
