"""Calls in harmony, the format of gpt-oss: messages to a function, in the channel for commentary."""

from __future__ import annotations

import re

from pytest_evals.completion import ToolCall
from pytest_evals.tool_calls.reading import CallError, ParsedCalls, called, load_json

# A header ends where the message begins, a message where one of these stands or the reply ends.
_MESSAGE = re.compile(
    r"(?P<header>(?:<\|start\|>)?(?:(?!<\|(?:start|message|end|call|return)\|>).)*)<\|message\|>"
    r"(?P<body>.*?)(?P<end><\|call\|>|<\|end\|>|<\|return\|>|(?=<\|start\|>)|\Z)",
    re.DOTALL,
)
_RECIPIENT = re.compile(r"\bto=(?P<recipient>[^\s<]+)")


def read_harmony(text: str) -> ParsedCalls:
    """Return the calls; ``text`` keeps the other messages as they are, marks and all."""
    calls: list[ToolCall] = []
    errors: list[str] = []
    kept: list[str] = []
    position = 0
    for message in _MESSAGE.finditer(text):
        kept.append(text[position : message.start()])
        position = message.end()
        recipient = _RECIPIENT.search(message["header"])
        if recipient is None:
            kept.append(message[0])
            continue
        name = recipient["recipient"].removeprefix("functions.")
        body = message["body"].strip()
        try:
            calls.append(called(name, load_json(body, f"the arguments of {name}") if body else {}))
        except CallError as error:
            errors.append(str(error))
            kept.append(message[0])
    kept.append(text[position:])
    return ParsedCalls("".join(kept), tuple(calls), tuple(errors))
