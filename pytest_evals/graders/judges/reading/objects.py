"""JSON objects in a judge's reply: alone, in a code fence or in prose."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_OPENING = re.compile(r"\{(?=\s*[\"}])")
# Each failure costs up to the length of the text.
_MOST_FAILURES = 1000


@dataclass(frozen=True, slots=True)
class FoundObject:
    """A JSON object and where it is in the text."""

    value: dict[str, Any]
    start: int
    end: int


def objects(text: str, start: int = 0) -> Iterator[FoundObject]:
    """Yield the JSON objects of ``text``, in order. Objects within another one are part of that, also where that is cut off.
    NaN and infinities are not JSON.
    """
    decoder = json.JSONDecoder(parse_constant=_refuse)
    failures = 0
    opening = _OPENING.search(text, start)
    while opening is not None and failures < _MOST_FAILURES:
        try:
            value, end = decoder.raw_decode(text, opening.start())
        except json.JSONDecodeError as error:
            end = max(error.pos, opening.end())
            failures += 1
        except ValueError:
            end = opening.end()
            failures += 1
        except RecursionError:
            return  # nothing that a judge writes
        else:
            yield FoundObject(value, opening.start(), end)
        opening = _OPENING.search(text, end)


def last_object(text: str) -> dict[str, Any] | None:
    """Return the last JSON object of ``text``; `None` if there is none."""
    found = None
    for entry in objects(text):
        found = entry.value
    return found


def within_object(text: str, position: int) -> bool:
    """Tell whether ``position`` lies in a JSON object."""
    opening = text.rfind("{", 0, position)
    return opening >= 0 and any(entry.start < position < entry.end for entry in objects(text))


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
