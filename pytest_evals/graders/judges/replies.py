"""JSON in a judge's reply."""

from __future__ import annotations

import json
from typing import Any


def last_object(text: str) -> dict[str, Any] | None:
    """Return the last JSON object that stands in ``text`` by itself, in a code fence or in prose; `None` if there is none.

    Objects within another one are part of that. NaN and infinities are not JSON.
    """
    decoder = json.JSONDecoder(parse_constant=_refuse)
    found, position = None, text.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            found = value
        position = text.find("{", end)
    return found


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
