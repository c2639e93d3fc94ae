"""Tools that the tests of calls offer, and how they read a reply."""

from __future__ import annotations

from typing import Any

from pytest_evals.tool_calls.forms import parse_calls
from pytest_evals.tool_calls.reading import ParsedCalls, Tools
from pytest_evals.tools import tool_schemas

WEATHER = {"city": {"type": "string"}, "state": {"type": "string"}, "days": {"type": "integer"}}
TOOLS = Tools(
    tool_schemas(
        [
            {"name": "get_weather", "parameters": {"type": "object", "properties": WEATHER}},
            {"name": "search", "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}},
            {
                "name": "typed",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "whole": {"type": "integer"},
                        "share": {"type": "number"},
                        "on": {"type": "boolean"},
                        "word": {"type": "string"},
                        "data": {"type": "object"},
                        "list": {"type": "array"},
                        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
                        "kinds": {"type": ["integer", "null"]},
                        "optional": {"type": "string", "nullable": True},
                        "level": {"enum": [1, 2, "max"]},
                    },
                },
            },
        ]
    )
)


def read(text: str, form: str) -> ParsedCalls:
    return parse_calls(text, form, TOOLS)


def made(reply: ParsedCalls) -> list[tuple[str, Any]]:
    return [(call.name, call.arguments) for call in reply.calls]
