"""A dataset row's id: stable, and safe in a shell, in ``-k``, in a nodeid and in an IDE.

Ids use ``[A-Za-z0-9_-]`` only and start with a letter or a digit, because everything else breaks somewhere: ``.`` in
PyCharm's re-run names, ``::`` and ``]`` in nodeids, spaces and ``@`` in ``-k`` and pytest-xdist.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")

MAX_LENGTH = 64
_DISALLOWED = re.compile(r"[^A-Za-z0-9_-]+")


def content_hash(value: object, length: int = 10) -> str:
    """Return the first ``length`` hex digits of the SHA-256 of ``value`` as canonical JSON.

    Values that JSON does not know (dates from YAML or Parquet, say) are hashed by their ``str``.
    """
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def _as_text(value: Any) -> str:
    """Return a text that stands for a value: of an image of Pillow one that follows from its pixels, since its ``str`` has its
    address.
    """
    if is_picture(value):
        return f"{value.mode} {value.size} {hashlib.sha256(value.tobytes()).hexdigest()}"
    return str(value)


def hash_of_texts(texts: Iterable[str], length: int = 10) -> str:
    """Return the `content_hash` of a list whose entries are written already, each by `canonical`: some of them never change."""
    return hashlib.sha256(f"[{','.join(texts)}]".encode()).hexdigest()[:length]


def canonical(value: object) -> str:
    """Return ``value`` as canonical JSON, see `content_hash`."""
    try:
        return _canonical(value)
    except TypeError:
        # YAML allows keys of any type, side by side.
        return _canonical(_text_keys(value))


def of_last(function: Callable[[_Argument], _Result]) -> Callable[[_Argument], _Result]:
    """Decorate a function of one object that does not change: asked about the same object again, it gives the result that it gave.
    Only the last object is remembered.
    """
    last: tuple[object, Any] = (object(), None)

    @functools.wraps(function)
    def remembering(value: _Argument) -> _Result:
        nonlocal last
        # Read at once and replaced at once: other threads may do the same.
        known, result = last
        if known is not value:
            result = function(value)
            last = value, result
        found: _Result = result
        return found

    return remembering


def is_picture(value: object) -> bool:
    """Tell whether a value is an image of Pillow, without importing it."""
    return type(value).__module__.partition(".")[0] == "PIL" and hasattr(value, "tobytes")


# Made once: every case has several hashes, and making it takes as long as a short hash.
_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=True, default=_as_text, separators=(",", ":")).encode


def _text_keys(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _text_keys(entry) for key, entry in value.items()}
    return [_text_keys(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def slug(value: object) -> str:
    """Return ``value`` as an id: other characters become ``-``; what is empty or too long gets a hash."""
    text = str(value)
    safe = _DISALLOWED.sub("-", text).strip("-").lstrip("_-")
    if not safe:
        return content_hash(text)
    return hashed_slug(text, safe) if len(safe) > MAX_LENGTH else safe


def hashed_slug(text: str, safe: str) -> str:
    """Return an id that begins as ``safe`` and ends in a hash of ``text``."""
    return f"{safe[: MAX_LENGTH - 9]}-{content_hash(text, 8)}"


def row_id(row: Mapping[str, object], field: str | None) -> str:
    """Return the id of ``row``: its ``field`` when one is named, otherwise a short hash of its content."""
    return content_hash(row) if field is None else slug(row[field])
