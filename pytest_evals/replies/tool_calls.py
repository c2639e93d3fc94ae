"""Calls of tools in an answer: found, read and taken out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_evals.completion import ToolCall
from pytest_evals.tool_calls.forms import parse_calls
from pytest_evals.tool_calls.reading import Tools


def parse_tool_calls(
    answer: str, form: str | None, tools: Sequence[Mapping[str, Any]] = ()
) -> tuple[str, tuple[ToolCall, ...], str | None]:
    """Return the answer without its calls of tools, the calls, and why one of them could not be read.

    ``form`` names how the model's family writes calls (`pytest_evals.tool_calls.forms`); with `None` it writes none, and all is
    answer. ``tools`` are the schemas of those that were offered. A call that cannot be read stays in the answer. The control
    tokens that delimit calls are in ``answer``, other special tokens are not.
    """
    if form is None:
        return answer, (), None
    try:
        reply = parse_calls(answer, form, Tools(tools))
    except RecursionError:
        return answer, (), "a call is nested too deeply"
    return reply.text, reply.calls, "; ".join(reply.errors) or None
