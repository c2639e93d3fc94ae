"""How a conversation is put to a chat template, so that it drops none of it.

Some templates know no system role, or pass over messages of roles that they do not know; some read content in parts only.
None of them says so. So a conversation of the same shape is rendered with a marker in each message, and the first way in which
all markers come out is taken.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import jinja2

from pytest_evals.completion import Message, text_of
from pytest_evals.errors import ModelError
from pytest_evals.replies.form import KNOWN_DELIMITERS

Turn = dict[str, Any]
Way = Callable[[Sequence[Turn]], list[Turn]]
_INSTRUCTIONS = ("system", "developer")


def arranged(tokenizer: Any, template: str, messages: Sequence[Message], variables: Mapping[str, Any]) -> list[Turn]:
    """Return the conversation as the template shows all of it.

    Raises `ModelError` where it refuses the conversation, or drops a message however it is put.
    """
    turns = [_turn(message) for message in messages]
    shape = json.dumps([_shape(turn) for turn in turns])
    way = _way(_Rendering(tokenizer, template), shape, json.dumps(dict(variables), sort_keys=True, default=str))
    return way(turns)


def _turn(message: Message) -> Turn:
    """Return a message as templates expect it: with a content, and with arguments of calls as objects."""
    turn: Turn = {**message, "content": "" if message["content"] is None else message["content"]}
    calls = message.get("tool_calls")
    if calls:
        turn["tool_calls"] = [{**call, "function": _function(call["function"])} for call in calls]
    return turn


def _function(function: Mapping[str, Any]) -> dict[str, Any]:
    given = function.get("arguments")
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            return dict(function)
    return {**function, "arguments": given}


def turn_text(turn: Turn) -> str:
    """Return the text of a turn."""
    return text_of(cast("Message", turn))


def _shape(turn: Turn) -> Turn:
    """Return a message with nothing in it but what decides how a template treats it."""
    content = turn["content"]
    kinds = [part["type"] for part in content] if isinstance(content, list) else "text" if content else "empty"
    calls = turn.get("tool_calls")
    beside: Turn = {name: "evals" for name in ("name", "tool_call_id", "reasoning_content") if name in turn}
    return {"role": turn["role"], "kinds": kinds, **beside, **({"tool_calls": calls} if calls else {})}


class _Rendering:
    """A tokenizer and one of its templates; equal ones render the same."""

    def __init__(self, tokenizer: Any, template: str) -> None:
        self._tokenizer = tokenizer
        self._template = template

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rendering) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[int, str]:
        return id(self._tokenizer), self._template

    def text(self, turns: Sequence[Turn], variables: Mapping[str, Any]) -> str:
        """Return what the template makes of a conversation. Raises as it does."""
        options = {**variables, "chat_template": self._template, "tokenize": False}
        return str(self._tokenizer.apply_chat_template(list(turns), **options))


@functools.lru_cache(maxsize=1024)
def _way(rendering: _Rendering, shape: str, variables: str) -> Way:
    """Return the first way in which a conversation of this shape is shown whole."""
    marked = [_marked(number, turn) for number, turn in enumerate(json.loads(shape))]
    refused: Exception | None = None
    lost: list[int] = []
    for way in _ways():
        try:
            text = rendering.text(way(marked), json.loads(variables))
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            refused = refused or error
            continue
        missing = [number for number, turn in enumerate(marked) if _must_show(turn) and _marker(number) not in text]
        if not missing:
            return way
        lost = lost or missing
    if refused is not None and not lost:
        raise ModelError(f"the model's chat template refuses this conversation: {refused}") from refused
    role = marked[lost[0]]["role"]
    raise ModelError(
        f"the model's chat template drops message {lost[0] + 1}, whose role is {role!r}: the model would not read it; leave it "
        "out, or give another template with ?template=FILE"
    )


def _marker(number: int) -> str:
    return f"evals{number}marker"


def _marked(number: int, shape: Turn) -> Turn:
    kinds = shape.pop("kinds")
    if isinstance(kinds, list):
        parts = [{"type": kind, kind: _marker(number) if kind == "text" else "evals"} for kind in kinds]
        return {**shape, "content": parts}
    return {**shape, "content": _marker(number) if kinds == "text" else ""}


def _must_show(turn: Turn) -> bool:
    """Tell whether a template that leaves out the text of this message loses something: beside calls some families show none."""
    return bool(turn_text(turn)) and not turn.get("tool_calls")


def _ways() -> Iterator[Way]:
    yield _as_it_is
    yield _in_parts
    for way in (_developer_as_system, _in_first_turn):
        yield functools.partial(_both, _as_it_is, way)
        yield functools.partial(_both, _in_parts, way)


def _both(last: Way, first: Way, turns: Sequence[Turn]) -> list[Turn]:
    return last(first(turns))


def _as_it_is(turns: Sequence[Turn]) -> list[Turn]:
    """Write parts that are all text as one: a template that knows no parts would write their braces and quotes."""
    return [{**turn, "content": turn_text(turn)} if _only_text(turn["content"]) else turn for turn in turns]


def _only_text(content: Any) -> bool:
    return isinstance(content, list) and all(part["type"] == "text" for part in content)


def _in_parts(turns: Sequence[Turn]) -> list[Turn]:
    return [
        {**turn, "content": [{"type": "text", "text": turn["content"]}]} if isinstance(turn["content"], str) else turn
        for turn in turns
    ]


def _developer_as_system(turns: Sequence[Turn]) -> list[Turn]:
    return [{**turn, "role": "system"} if turn["role"] == "developer" else turn for turn in turns]


def _in_first_turn(turns: Sequence[Turn]) -> list[Turn]:
    """Let what system and developer say at the beginning open the first turn, as the authors of such templates advise."""
    count = next((number for number, turn in enumerate(turns) if turn["role"] not in _INSTRUCTIONS), len(turns))
    if not 0 < count < len(turns):
        return list(turns)
    told = "\n\n".join(turn_text(turn) for turn in turns[:count])
    first, *rest = turns[count:]
    content = first["content"]
    opening = {"type": "text", "text": f"{told}\n\n"}
    joined = f"{told}\n\n{content}" if isinstance(content, str) else [opening, *content]
    return [{**first, "content": joined}, *rest]


def after_prompt(prompt: str, begun: str) -> str:
    """Return what is given of an answer, without the opening of thoughts where the prompt has opened them."""
    for each in KNOWN_DELIMITERS:
        opening = each.opening.rstrip()
        if prompt.rstrip().endswith(opening) and begun.lstrip().startswith(opening):
            return begun.lstrip()[len(opening) :].lstrip()
    return begun
