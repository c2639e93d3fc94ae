"""Reads a whole reply: first the thoughts, then the calls of tools in what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_evals.completion import ToolCall
from pytest_evals.replies.form import ReplyForm
from pytest_evals.replies.thoughts import divide
from pytest_evals.replies.tool_calls import parse_tool_calls


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """A reply in its parts. ``unfinished``: it ended inside its thoughts, so that ``text`` is empty. ``problem``: why a call of
    a tool was left in the text.
    """

    text: str
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    problem: str | None = None
    unfinished: bool = False


def read_reply(
    raw: str, form: ReplyForm, *, opened: bool = False, tools: Sequence[Mapping[str, Any]] = ()
) -> ParsedReply:
    """Return the parts of ``raw``, the reply as generated, which still has the control tokens that delimit.

    ``opened``: the prompt ended inside of a block of thoughts, so that the reply goes on with it. ``tools``: the schemas of the
    tools that were offered.
    """
    division = divide(raw, form, opened=opened)
    if division.unfinished:
        return ParsedReply("", division.reasoning, unfinished=True)
    text, calls, problem = parse_tool_calls(division.answer, form.tools, tools)
    return ParsedReply(text, division.reasoning, calls, problem)
