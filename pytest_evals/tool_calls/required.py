"""The text of a call that a model has to make: what stands before and after its JSON, and the schema of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_evals.tool_calls.forms import BARE
from pytest_evals.tools import tool_name

_AROUND: Mapping[str, tuple[str, str, str]] = {
    "hermes": ("<tool_call>\n", "arguments", "\n</tool_call>"),
    "granite-20b": ("<function_call> ", "arguments", ""),
    BARE: ("", "parameters", ""),
}
"""By form: what stands before the object, how it calls its arguments, what stands after it."""


@dataclass(frozen=True, slots=True)
class RequiredCall:
    """One call of one of the tools, as the model's family writes it."""

    before: str
    schema: Mapping[str, Any]
    after: str


def required_call(form: str, schemas: Sequence[Mapping[str, Any]]) -> RequiredCall | None:
    """Return the call that a model of this form has to make, `None` for a form whose calls are not a JSON object between texts."""
    if form not in _AROUND:
        return None
    before, arguments, after = _AROUND[form]
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool_name(schema)}, arguments: schema["function"]["parameters"]},
            "required": ["name", arguments],
            "additionalProperties": False,
        }
        for schema in schemas
    ]
    return RequiredCall(before, calls[0] if len(calls) == 1 else {"anyOf": calls}, after)
