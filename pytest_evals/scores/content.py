"""What a case is made of: its prompt and the fields of its row, so that two runs can tell whether they asked the same.

A record has the fields themselves (those of a run) or digests of them (those of a baseline's file), and its ``content``
has the digests of what the fields do not hold: ``prompt``, and ``item.messages`` where the row brings its conversation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_evals.hashing import content_hash
from pytest_evals.media.parts import identified
from pytest_evals.scores.records import CaseRecord

PROMPT = "prompt"
_FIELD = "item."


def digest(value: Any) -> str:
    """Return a short hash of ``value``."""
    return content_hash(value)


def content_of(prompt: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of a sample's ``content``."""
    found = {PROMPT: digest(identified(prompt))} if prompt else {}
    return {**found, f"{_FIELD}messages": digest(row["messages"])} if "messages" in row else found


def digests_of(record: CaseRecord) -> dict[str, str]:
    """Return a digest of everything that the case is made of."""
    return {**record.content, **{f"{_FIELD}{name}": digest(value) for name, value in record.fields.items()}}


def changes(before: CaseRecord, after: CaseRecord) -> tuple[str, ...]:
    """Name what both records know of and what differs: ``prompt``, ``item.capital``.

    A field that only one of them has changes nothing: columns are added to a dataset without changing its cases.
    """
    names = dict.fromkeys([*after.content, *(f"{_FIELD}{name}" for name in after.fields)])
    return tuple(name for name in names if _differs(name, before, after))


def _differs(name: str, before: CaseRecord, after: CaseRecord) -> bool:
    field = name.removeprefix(_FIELD)
    if name != field and field in before.fields and field in after.fields:
        return bool(before.fields[field] != after.fields[field])
    left, right = _digest(name, field, before), _digest(name, field, after)
    return None not in (left, right) and left != right


def _digest(name: str, field: str, record: CaseRecord) -> str | None:
    if name in record.content:
        return record.content[name]
    return digest(record.fields[field]) if name != field and field in record.fields else None
