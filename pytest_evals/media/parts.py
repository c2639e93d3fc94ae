"""The parts of a message's content: as people write them, as they travel, and as an artifact has them.

People write parts as transformers does (``{"type": "image", "image": ...}``), as OpenAI does (``image_url``, ``input_image``,
``input_audio``), as vLLM does (``audio_url``) or as Anthropic does (``source``). All of them become one form, in which the file is
named beside what identifies its content::

    {"type": "image", "image": "/data/cat.png", "sha256": "...", "mime": "image/png", "bytes": 70123, "width": 640, "height": 480}
    {"type": "audio", "audio": "/data/hello.wav", "sha256": "...", "mime": "audio/wav", "bytes": 32044, "seconds": 1.0, "sampling_rate": 16000}
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_evals.errors import DatasetError
from pytest_evals.media.audio import check_audio
from pytest_evals.media.images import check_image
from pytest_evals.media.kinds import MediaKind
from pytest_evals.media.sources import NOWHERE, MediaPlaces, MediaSource, data_uri, find, shown_source

Part = Mapping[str, Any]
KINDS: tuple[MediaKind, ...] = ("image", "audio")
MOST_INLINE = 32 * 1024
"""Bytes of a medium without a file of its own that an artifact holds; of a larger one it has what identifies it."""
_CHECKS = {"image": check_image, "audio": check_audio}
_TEXT = ("text", "input_text", "output_text")
_MEDIA: Mapping[str, tuple[MediaKind, tuple[str, ...]]] = {
    "image": ("image", ("image", "url", "path", "base64", "source")),
    "image_url": ("image", ("image_url",)),
    "input_image": ("image", ("image_url",)),
    "audio": ("audio", ("audio", "url", "path", "base64", "source")),
    "audio_url": ("audio", ("audio_url",)),
    "input_audio": ("audio", ("input_audio",)),
}
"""Types of parts that are media: what they hold, and the keys that may name it."""


def is_media(part: object) -> bool:
    """Tell whether a part of a content is an image or a recording, in any of the forms that people write."""
    return isinstance(part, Mapping) and part.get("type") in _MEDIA


def media_of(messages: Iterable[Mapping[str, Any]]) -> list[Part]:
    """Return the media of a conversation, in their order."""
    contents = (message.get("content") for message in messages)
    return [part for content in contents if isinstance(content, (list, tuple)) for part in content if is_media(part)]


def checked_content(content: Sequence[Any], places: MediaPlaces, number: int) -> list[dict[str, Any]]:
    """Return the parts of message ``number``, checked, in the form that travels. Raises `DatasetError` for what is not a part, and for
    media that cannot be used.
    """
    return [_checked(part, places, f"message {number}, part {index}") for index, part in enumerate(content, start=1)]


def _checked(part: Any, places: MediaPlaces, where: str) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        raise DatasetError(f"{where} must be an object with a 'type', not {type(part).__name__}")
    kind = part.get("type")
    if kind in _TEXT:
        if not isinstance(part.get("text"), str):
            raise DatasetError(f"{where} has the type {kind!r} and no text")
        return {"type": "text", "text": part["text"]}
    if kind in _MEDIA:
        return _checked_medium(part, places, where)
    known = ", ".join(["text", *_MEDIA])
    also = "; video is not supported: give single pictures of it" if "video" in str(kind) else ""
    raise DatasetError(f"{where} has the type {kind!r} (known: {known}){also}")


def _checked_medium(part: Part, places: MediaPlaces, where: str) -> dict[str, Any]:
    kind, keys = _MEDIA[part["type"]]
    named = [key for key in keys if part.get(key) is not None]
    if not named:
        raise DatasetError(
            f"{where} has the type {part['type']!r} and names no {kind}: {', '.join(map(repr, keys))} may do so"
        )
    if len(named) > 1:
        raise DatasetError(f"{where} names its {kind} several times, with {' and '.join(map(repr, named))}; give one")
    try:
        found = find(kind, _value(part[named[0]]), places)
        facts = _facts(kind, found)
    except DatasetError as error:
        raise DatasetError(f"{where}: {error}") from error
    if part.get("sha256") not in (None, facts["sha256"]):
        raise DatasetError(
            f"{where}: {kind} {shown_source(found.path or 'of the row')!r} has another content than its 'sha256' says"
        )
    detail = {"detail": part["detail"]} if part.get("detail") not in (None, "auto") else {}
    held = str(found.path) if found.path else data_uri(found.content, facts["mime"])
    return {"type": kind, kind: held, **facts, **detail}


def _value(written: Any) -> Any:
    """Return what an object of an API holds: OpenAI's ``{"url"}`` and ``{"data", "format"}``, Anthropic's ``{"data", "media_type"}``."""
    if isinstance(written, Mapping) and isinstance(written.get("data"), str):
        mime = written.get("media_type") or f"audio/{written.get('format', 'wav')}"
        data = written["data"]
        return data if data[:5].lower() == "data:" else f"data:{mime};base64,{data}"
    return written


_known: dict[tuple[MediaKind, str], Mapping[str, Any]] = {}
"""What is known of contents that were checked in this process: each is decoded once, however many rows name it."""


def _facts(kind: MediaKind, found: MediaSource) -> dict[str, Any]:
    digest = hashlib.sha256(found.content).hexdigest()
    if (kind, digest) not in _known:
        where = f"{kind} {found.path}" if found.path else f"the {kind} of the row"
        facts = _CHECKS[kind](found.content, where)
        _known[kind, digest] = {"mime": facts.pop("mime"), "bytes": len(found.content), **facts}
    return {"sha256": digest, **_known[kind, digest]}


# -- Of media that were checked: what identifies them, their content, and what an artifact has of them.


def identified(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a conversation in which the content of media stands for them: the same wherever their files are."""
    return [_with_parts(message, _identity) for message in messages]


def _identity(part: Part) -> dict[str, Any]:
    kept = {name: part[name] for name in ("type", "sha256", "detail") if name in part}
    return kept if "sha256" in part else dict(part)


def recorded(messages: Iterable[Mapping[str, Any]], root: Path) -> list[dict[str, Any]]:
    """Return a conversation for the artifact: files below ``root`` by their path from there, and of a large medium that the row
    itself holds no content.
    """
    return [_with_parts(message, functools.partial(_record, root=root)) for message in messages]


def _record(part: Part, root: Path) -> dict[str, Any]:
    kind = part["type"]
    held = part.get(kind)
    if not isinstance(held, str):
        return dict(part)
    if held.startswith("data:"):
        return {**part, kind: held if part.get("bytes", 0) <= MOST_INLINE else None}
    path = Path(held)
    return {**part, kind: path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()}


def _with_parts(message: Mapping[str, Any], change: Callable[[Part], dict[str, Any]]) -> dict[str, Any]:
    content = message.get("content")
    if type(content) is str or not isinstance(content, (list, tuple)):
        return dict(message)
    parts = [change(part) if is_media(part) else dict(part) if isinstance(part, Mapping) else part for part in content]
    return {**message, "content": parts}


def content_of_part(part: Part) -> bytes:
    """Return the content of a medium that was checked. Raises `DatasetError` where its file is gone, or is another one now."""
    kind: MediaKind = part["type"]
    found = find(kind, part[kind], NOWHERE)
    if hashlib.sha256(found.content).hexdigest() != part["sha256"]:
        raise DatasetError(f"{kind} {shown_source(part[kind])!r} has changed since the cases were collected; run again")
    return found.content


# -- Media as words, for a terminal, a table, a log.


def shown_text(message: Mapping[str, Any], *, named: bool = True) -> str:
    """Return a message's content as text, in which each medium is named: ``[image: photos/cat.png, 640x480]``. Without ``named``
    there is its kind alone: the name of a file may give away what is on it.
    """
    return shown_content(message.get("content"), named=named)


def shown_content(content: object, *, named: bool = True) -> str:
    """Return a content as text: see `shown_text`. What is not content is shown as its ``str``."""
    if content is None:
        return ""
    if not isinstance(content, (list, tuple)):
        return str(content)
    return "\n".join(text for part in content if (text := _shown_part(part, named=named)))


def _shown_part(part: object, *, named: bool) -> str:
    if not isinstance(part, Mapping):
        return str(part)
    if not is_media(part):
        return str(part.get("text", "")) if part.get("type") in _TEXT else str(dict(part))
    return f"[{label_of(part) if named else _MEDIA[part['type']][0]}]"


def label_of(part: Part) -> str:
    """Return what names a medium in a line: its kind, its file, its size."""
    kind = _MEDIA[part["type"]][0]
    held = part.get(kind)
    name = held if isinstance(held, str) and not held.startswith("data:") else part.get("mime") or f"{kind} of the row"
    size = (
        f"{part['width']}x{part['height']}"
        if "width" in part
        else f"{part['seconds']:g} s"
        if "seconds" in part
        else ""
    )
    # Of a long path the end says most.
    shown = f"...{name[-_LONGEST_NAME:]}" if len(name) > _LONGEST_NAME else name
    return f"{kind}: {shown}{f', {size}' if size else ''}"


_LONGEST_NAME = 60
