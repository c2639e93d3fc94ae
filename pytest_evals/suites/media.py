"""Images and audio in the conversation of a case: those that ``images=`` names, and those of the parts of messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pytest_evals.completion import Message
from pytest_evals.errors import DatasetError
from pytest_evals.media.parts import checked_content
from pytest_evals.media.sources import MediaPlaces
from pytest_evals.templates.rendering import render
from pytest_evals.text import pluralize


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
