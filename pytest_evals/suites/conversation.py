"""The conversation of a case: from a prompt, a template of messages, or the row's own messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pytest_evals.case import Case
from pytest_evals.completion import Message
from pytest_evals.errors import DatasetError, SuiteError
from pytest_evals.media.parts import checked_content
from pytest_evals.media.sources import MediaPlaces
from pytest_evals.suites.declaration import EvalDeclaration
from pytest_evals.templates.rendering import render, render_text
from pytest_evals.text import pluralize

CONVERSATION = ("messages", "completion")
"""Fields of a row that are the conversation itself; the others describe the case."""
ROLES = ("system", "user", "assistant", "tool", "developer")


def prompt_of(declaration: EvalDeclaration, case: Case, places: MediaPlaces) -> tuple[list[Message], str | None]:
    """Return the conversation of the case, or none and why there is none; media are looked for in ``places``. Raises an
    `EvalsError` for what is no conversation, and for media that cannot be used.
    """
    if declaration.prompt is not None:
        messages: object = [{"role": "user", "content": render_text(declaration.prompt, case.scope)}]
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
        rest = {key: value for key, value in message.items() if key != "content"}
        rendered.append({**render(rest, case.scope), "content": _render_content(message.get("content"), case)})
    return rendered


def _render_content(content: object, case: Case) -> object:
    if isinstance(content, str):
        return render_text(content, case.scope)
    if not isinstance(content, (list, tuple)):
        return content
    return [_render_part(part, case) for part in content]


def _render_part(part: object, case: Case) -> object:
    """Render a part: its text to text, what names a medium to what the row has there."""
    if not isinstance(part, Mapping):
        return part
    return {
        key: render_text(value, case.scope) if key == "text" and isinstance(value, str) else render(value, case.scope)
        for key, value in part.items()
    }


def images_of(written: str | Sequence[str], scope: Mapping[str, Any]) -> list[object]:
    """Return the images that ``images=`` names in the scope of a case: none where a row has null or an empty list."""
    found: list[object] = []
    for value in render([written] if isinstance(written, str) else list(written), scope):
        several = isinstance(value, (list, tuple))
        found += value if several else [] if value is None else [value]
    return found


def with_images(messages: Sequence[Message], images: Sequence[object]) -> list[Message]:
    """Return the conversation with these images: in the parts that are images and name none, else before the text of the first user's
    message. Raises `DatasetError` where their numbers differ, or no user speaks.
    """
    places = sum(map(_is_place, _parts(messages)))
    if places:
        if places != len(images):
            raise DatasetError(
                f"the messages have places for {pluralize(places, 'image')}, and images= gives {len(images)}"
            )
        left = iter(images)
        return [_filled(message, left) for message in messages]
    first = next((index for index, message in enumerate(messages) if message["role"] == "user"), None)
    if not images:
        return list(messages)
    if first is None:
        raise DatasetError("images= needs a message of the user, and there is none")
    shown = [{"type": "image", "image": image} for image in images]
    told = {**messages[first], "content": [*shown, *_as_parts(messages[first]["content"])]}
    return [*messages[:first], cast("Message", told), *messages[first + 1 :]]


def _parts(messages: Sequence[Message]) -> list[object]:
    contents = (message["content"] for message in messages)
    return [part for content in contents if isinstance(content, (list, tuple)) for part in content]


def _as_parts(content: object) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(cast("Sequence[Any]", content or ()))


def _is_place(part: object) -> bool:
    return (
        isinstance(part, Mapping)
        and part.get("type") == "image"
        and not any(value is not None for name, value in part.items() if name not in ("type", "text"))
    )


def _filled(message: Message, images: Iterator[object]) -> Message:
    content = message["content"]
    if not isinstance(content, (list, tuple)):
        return message
    filled = [{"type": "image", "image": next(images)} if _is_place(part) else part for part in content]
    return cast("Message", {**message, "content": filled})


def with_media(messages: Sequence[Message], places: MediaPlaces) -> list[Message]:
    """Return the conversation with its parts checked, and media read. Raises `DatasetError` for what cannot be used."""
    return [
        cast("Message", {**message, "content": checked_content(content, places, number)})
        if isinstance(content := message["content"], (list, tuple))
        else message
        for number, message in enumerate(messages, start=1)
    ]


def check_messages(messages: object) -> list[Message]:
    """Return the conversation. Raises `DatasetError` unless it is a list of messages with a known role and a text or parts."""
    if not isinstance(messages, (list, tuple)) or not messages:
        raise DatasetError(
            f"messages must be a list of {{'role', 'content'}} with at least one entry, not {messages!r:.80}"
        )
    for number, message in enumerate(messages, start=1):
        content = message.get("content") if isinstance(message, Mapping) else None
        if not isinstance(content, str) and not (isinstance(content, (list, tuple)) and content):
            raise DatasetError(
                f"message {number} must be an object with 'role' and a text 'content', or a list of parts"
            )
        if message.get("role") not in ROLES:
            raise DatasetError(f"message {number} has the role {message.get('role')!r} (known: {', '.join(ROLES)})")
    return [cast("Message", dict(message)) for message in messages]


def recorded_of(case: Case) -> str | None:
    """Return the completion that the row of a case brings, `None` where it brings none. Raises `DatasetError` for no text."""
    recorded = case.get("completion")
    if recorded is not None and not isinstance(recorded, str):
        raise DatasetError(f"the field 'completion' must be the recorded text, not {type(recorded).__name__}")
    return recorded
