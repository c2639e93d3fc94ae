"""A call as rows and scripts write it -> a `ToolCall`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pytest_evals.completion import ToolCall


def written_call(value: object) -> ToolCall | None:
    """Return the call that is written as in a message (``{"function": {...}}``) or as a name and arguments, which may be JSON text.

    `None` for what is not a call: one without a name, or whose arguments are not an object.
    """
    if isinstance(value, ToolCall):
        return value
    function = value.get("function", value) if isinstance(value, Mapping) else None
    arguments = function.get("arguments", {}) if isinstance(function, Mapping) else None
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return None
    if (
        not isinstance(value, Mapping)
        or not isinstance(function, Mapping)
        or not isinstance(function.get("name"), str)
        or not isinstance(arguments, Mapping)
    ):
        return None
    return ToolCall(function["name"], dict(arguments), value.get("id"))
