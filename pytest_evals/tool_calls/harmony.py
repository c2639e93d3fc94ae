"""Calls in harmony, the format of gpt-oss: messages to a function, in the channel for commentary."""

from __future__ import annotations

import re

from pytest_evals.completion import ToolCall
from pytest_evals.tool_calls.reading import CallError, ParsedCalls, called, load_json

_BODY = "<|message|>"
_END = re.compile(r"<\|(?:call|end|return)\|>|(?=<\|start\|>)")
_RECIPIENT = re.compile(r"\bto=(?P<recipient>[^\s<]+)")


def read_harmony(text: str) -> ParsedCalls:
    """Return the calls; ``text`` keeps the other messages as they are, marks and all."""
    calls: list[ToolCall] = []
    errors: list[str] = []
    kept: list[str] = []
    position = 0
    while (body := text.find(_BODY, position)) >= 0:
        found = _END.search(text, body)
        start, position, stop = position, found.end() if found else len(text), found.start() if found else len(text)
        recipient = _RECIPIENT.search(text[start:body].rpartition("<|start|>")[2])
        if recipient is None:
            kept.append(text[start:position])
            continue
        name = recipient["recipient"].removeprefix("functions.")
        written = text[body + len(_BODY) : stop].strip()
        try:
            calls.append(called(name, load_json(written, f"the arguments of {name}") if written else {}))
        except CallError as error:
            errors.append(str(error))
            kept.append(text[start:position])
    kept.append(text[position:])
    return ParsedCalls("".join(kept), tuple(calls), tuple(errors))
