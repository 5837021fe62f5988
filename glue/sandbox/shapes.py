"""Fresh objects with the key sets that Stripe publishes (shapes.json; see NOTICE)."""

from __future__ import annotations

import json
from importlib import resources

from glue.sandbox.errors import Obj

_FILE = resources.files("glue.sandbox").joinpath("shapes.json")
# Kept as text: parsing is the fastest way to a deep copy.
_SHAPES = {kind: json.dumps(shape) for kind, shape in json.loads(_FILE.read_text(encoding="utf-8")).items()}


def blank(kind: str) -> Obj:
    """A new object of `kind` (`payment_intent`, `charge`, ...), every key present with a plain default."""
    shape: Obj = json.loads(_SHAPES[kind])
    return shape
