"""The conversation of a case: from a prompt, a template of messages, or the row's own messages."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pytest_evals.case import Case
from pytest_evals.completion import Message, ToolCall
from pytest_evals.errors import DatasetError, SuiteError
from pytest_evals.media.parts import is_media
from pytest_evals.media.sources import MediaPlaces
from pytest_evals.suites.declaration import EvalDeclaration
from pytest_evals.suites.fewshot import FewShot
from pytest_evals.suites.media import images_of, with_images, with_media
from pytest_evals.templates.rendering import render, render_text

CONVERSATION = ("messages", "completion")
"""Fields of a row that are the conversation itself; the others describe the case."""
ROLES = ("system", "user", "assistant", "tool", "developer")


def prompt_of(
    declaration: EvalDeclaration, case: Case, places: MediaPlaces, fewshot: FewShot | None = None
) -> tuple[list[Message], str | None]:
    """Return the conversation of the case, or none and why there is none; media are looked for in ``places``, and examples come first. Raises an
    `EvalsError` for what is not a conversation, and for media that cannot be used.
    """
    if declaration.prompt is not None:
        question = render_text(declaration.prompt, case.scope)
        messages: object = (
            [{"role": "user", "content": question}] if fewshot is None else fewshot.put_before(question, case)
        )
    elif declaration.messages is not None:
        messages = _render_messages(declaration.messages, case)
    elif case.get("messages") is not None:
        messages = case["messages"]
    else:
        return [], "has no prompt: give cases(..., prompt=...) or messages=, or rows with a 'messages' field"
    checked = check_messages(messages)
    if declaration.images is not None:
        checked = with_images(checked, images_of(declaration.images, case.scope))
    checked = with_media(checked, places)
    if declaration.system is not None:
        system: Message = {"role": "system", "content": render_text(declaration.system, case.scope)}
        checked = [system, *(message for message in checked if message["role"] != "system")]
    return checked, None


def _render_messages(messages: str | Sequence[Mapping[str, Any]], case: Case) -> object:
    if isinstance(messages, str):
        return render(messages, case.scope)
    rendered = []
    for message in messages:
        if not isinstance(message, Mapping):
            raise SuiteError(f"messages must be a list of {{'role', 'content'}}, found {type(message).__name__}")
        beside = render({key: value for key, value in message.items() if key != "content"}, case.scope)
        rendered.append({**beside, "content": _render_content(message.get("content"), case)})
    return rendered


def _render_content(content: object, case: Case) -> object:
    if isinstance(content, str):
        return render_text(content, case.scope)
    if not isinstance(content, (list, tuple)):
        return content
    return [_render_part(part, case) for part in content]


def _render_part(part: object, case: Case) -> object:
    if not isinstance(part, Mapping):
        return part
    text = part.get("text")
    texts = {"text": render_text(text, case.scope)} if isinstance(text, str) else {}
    return {**render({name: value for name, value in part.items() if name not in texts}, case.scope), **texts}


def check_messages(messages: object) -> list[Message]:
    """Return the conversation, as OpenAI's API writes it.

    Raises `DatasetError` unless it is a list of messages with a known role and a content: a text, a list of parts, or null beside
    ``tool_calls``; and where a tool's message answers no call.
    """
    if not isinstance(messages, (list, tuple)) or not messages:
        raise DatasetError(
            f"messages must be a list of {{'role', 'content'}} with at least one entry, not {messages!r:.80}"
        )
    called: set[object] = set()
    checked = []
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, Mapping):
            raise DatasetError(f"message {number} must be an object with 'role' and 'content', not {message!r:.80}")
        if message.get("role") not in ROLES:
            raise DatasetError(f"message {number} has the role {message.get('role')!r} (known: {', '.join(ROLES)})")
        message = _with_reasoning_apart(message)  # noqa: PLW2901 - the same message, as OpenAI's API writes it
        calls = _calls(number, message)
        if message["role"] == "tool":
            _check_tool_result(number, message, called)
        called.update(call.get("id") for call in calls)
        checked.append(
            {**message, "content": _content(number, message, calls), **({"tool_calls": calls} if calls else {})}
        )
    return [cast("Message", message) for message in checked]


def _with_reasoning_apart(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an assistant's message with its thoughts in ``reasoning_content``, also where they are parts of its content
    (as Mistral's and Anthropic's APIs have it) or called ``reasoning``.
    """
    content, thoughts = message.get("content"), message.get("reasoning")
    if message["role"] != "assistant" or message.get("reasoning_content") is not None:
        return message
    found = [thoughts] if isinstance(thoughts, str) else []
    if isinstance(content, (list, tuple)) and _is_parts(content):
        found += [_thoughts_of(part) for part in content if part["type"] in _THOUGHTS]
        content = [part for part in content if part["type"] not in _THOUGHTS] or ""
    if not found:
        return message
    others = {name: value for name, value in message.items() if name != "reasoning"}
    return {**others, "content": content, "reasoning_content": "\n\n".join(found)}


_THOUGHTS = ("thinking", "reasoning")


def _thoughts_of(part: Mapping[str, Any]) -> str:
    written = next((part[name] for name in (part["type"], "text") if part.get(name) is not None), "")
    texts = written if isinstance(written, (list, tuple)) else [written]
    return "".join(str(each.get("text", "")) if isinstance(each, Mapping) else str(each) for each in texts)


def _content(number: int, message: Mapping[str, Any], calls: Sequence[object]) -> str | list[Any] | None:
    content = message.get("content")
    if isinstance(content, str) or (content is None and calls):
        return content
    if message["role"] == "tool" and content is not None and not _is_parts(content):
        # What a function returned, as people write it down.
        return json.dumps(content, ensure_ascii=False, default=str)
    if not isinstance(content, (list, tuple)) or not content:
        raise DatasetError(
            f"message {number} must have a 'content': a text, or a list of parts as {{'type': 'text', 'text': ...}}"
            + ("; null is allowed beside 'tool_calls' only" if content is None else f", not {content!r:.80}")
        )
    return [_part(number, part) for part in content]


def _is_parts(content: object) -> bool:
    return isinstance(content, (list, tuple)) and all(isinstance(part, Mapping) and "type" in part for part in content)


PARTS = ("text", "input_text", "output_text")
"""Types of parts that are texts."""


def _part(number: int, part: object) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if is_media(part):
        # What it names is looked for later.
        return dict(cast("Mapping[str, Any]", part))
    if not isinstance(part, Mapping) or part.get("type") not in PARTS:
        raise DatasetError(f"message {number} has a part {part!r:.80} (known types: {', '.join(PARTS)})")
    if not isinstance(part.get("text"), str):
        raise DatasetError(f"message {number} has a part of type {part['type']!r} without its 'text'")
    return {"type": "text", "text": part["text"]}


def _calls(number: int, message: Mapping[str, Any]) -> list[Any]:
    """Return the calls of tools that a message makes, as OpenAI's API writes them."""
    calls = message.get("tool_calls") or []
    if not isinstance(calls, (list, tuple)) or (calls and message["role"] != "assistant"):
        raise DatasetError(f"message {number}: tool_calls is a list, in a message of the assistant")
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise DatasetError(
                f"message {number} has a tool call {call!r:.80}; it is {{'id', 'type': 'function', 'function': {{'name', 'arguments'}}}}"
            )
    return list(calls)


def _check_tool_result(number: int, message: Mapping[str, Any], called: Collection[object]) -> None:
    answers = message.get("tool_call_id")
    if not called or (answers is not None and None not in called and answers not in called):
        which = f"the call {answers!r}, which" if answers is not None else "a call, and"
        raise DatasetError(f"message {number} is a tool's answer to {which} no message before it makes")


@dataclass(frozen=True, slots=True)
class RecordedCompletion:
    """A completion that a row brings in its parts."""

    text: str
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()


_PARTS = ("text", "reasoning", "tool_calls")


def recorded_of(case: Case) -> str | RecordedCompletion | None:
    """Return the completion that the row of a case brings, `None` where it brings none.

    Raises `DatasetError` for what is neither a text nor an object with ``text``, ``reasoning`` and ``tool_calls``.
    """
    recorded = case.get("completion")
    if recorded is None or isinstance(recorded, str):
        return recorded
    if not isinstance(recorded, Mapping):
        raise DatasetError(
            "the field 'completion' must be the recorded text, or an object with 'text', 'reasoning' and 'tool_calls', not "
            f"{type(recorded).__name__}"
        )
    for name, value in recorded.items():
        if name not in _PARTS:
            raise DatasetError(f"the field 'completion' has an unknown part {name!r} (known: {', '.join(_PARTS)})")
        if name != "tool_calls" and not isinstance(value, str) and (value is not None or name == "text"):
            raise DatasetError(f"the field 'completion': {name} must be a text, not {type(value).__name__}")
    calls = recorded.get("tool_calls") or []
    if "text" not in recorded and not calls:
        raise DatasetError(
            "the field 'completion' must have a 'text'; an answer that calls tools has 'tool_calls' instead"
        )
    if not isinstance(calls, (list, tuple)):
        raise DatasetError(f"the field 'completion': tool_calls must be a list, not {type(calls).__name__}")
    read = tuple(_recorded_call(number, call) for number, call in enumerate(calls, start=1))
    return RecordedCompletion(recorded.get("text", ""), recorded.get("reasoning") or None, read)


def _recorded_call(number: int, call: object) -> ToolCall:
    """Return a call as `ToolCall` has it, or as a message of OpenAI's API has it."""
    where = f"the field 'completion': tool call {number}"
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise DatasetError(f"{where} must be an object with a 'name' and 'arguments', not {call!r:.80}")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError as error:
            raise DatasetError(f"{where}: its arguments are not valid JSON: {error}") from error
    if not isinstance(arguments, Mapping):
        raise DatasetError(f"{where}: its arguments must be an object, not {type(arguments).__name__}")
    if not isinstance(call.get("id"), (str, type(None))):
        raise DatasetError(f"{where}: its id must be a text, not {call['id']!r:.40}")
    return ToolCall(function["name"], dict(arguments), call.get("id"))
