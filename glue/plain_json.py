"""JSON in ASCII, as short as `json` can write it, in a third of its time."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import PydanticSerializationError, to_json


def plain_json(value: Any) -> str:
    """Of what JSON knows: everything else is for `json.dumps` to refuse, and callers do not have it.

    Nothing but printable ASCII: it is one line whoever reads it (Unicode has more ends of lines), and the
    same text in whatever encoding the database's connection has.
    """
    try:
        text = to_json(value)
        if text.isascii() and b"\x7f" not in text:
            return text.decode()
    except PydanticSerializationError:
        pass  # half of a surrogate pair, which UTF-8 has no bytes for
    return json.dumps(value, separators=(",", ":"))
