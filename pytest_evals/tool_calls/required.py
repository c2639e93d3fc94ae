"""The text of a call that a model has to make: what comes before and after its JSON, and the schema of that JSON."""

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
"""By form: what comes before the object, how it calls its arguments, what comes after it."""


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
    shared: dict[str, Any] = {}
    calls = []
    for number, schema in enumerate(schemas):
        parameters = dict(schema["function"]["parameters"])
        definitions = {key: parameters.pop(key) for key in _DEFINITIONS if key in parameters}
        for key, defined in definitions.items():
            shared |= {f"{number}.{name}": _moved(each, key, number) for name, each in defined.items()}
        for key in definitions:
            parameters = _moved(parameters, key, number)
        call = {
            "type": "object",
            "properties": {"name": {"const": tool_name(schema)}, arguments: parameters},
            "required": ["name", arguments],
            "additionalProperties": False,
        }
        calls.append(call)
    whole = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return RequiredCall(before, {**whole, "$defs": shared} if shared else whole, after)


_DEFINITIONS = ("$defs", "definitions")


def _moved(schema: Any, key: str, number: int) -> Any:
    """Return a part of a tool's schema whose references go to the definitions of all tools: they begin at the root."""
    if isinstance(schema, list):
        return [_moved(each, key, number) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    old, new = f"#/{key}/", f"#/$defs/{number}."
    return {
        name: f"{new}{value.removeprefix(old)}"
        if name == "$ref" and isinstance(value, str) and value.startswith(old)
        else _moved(value, key, number)
        for name, value in schema.items()
    }
