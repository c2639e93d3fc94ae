"""Where an image or a recording is: a path, a data URI, bytes or an object in the row, or, where that is allowed, an address.

All that people's rows hold of media becomes a `MediaSource`: the content, read once, and the file that it came from.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from pytest_evals.errors import DatasetError
from pytest_evals.media.kinds import ARTICLE, MediaKind, mime_of

MOST_BYTES = 50 * 1024 * 1024
Fetch = Callable[[str], bytes]
"""Brings what is at an address. Raises `DatasetError`."""
_SCHEME = re.compile(r"\A([A-Za-z][A-Za-z0-9+.-]+):")
_DATA = re.compile(r"\Adata:([^,]*),", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/=_\s-]+\Z")
_LEAST_BASE64 = 64
"""Characters of a text that may be the content itself, as some data sets have it; shorter ones are names of files."""
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class MediaSource:
    """The content of an image or a recording. ``path`` is its file, `None` where the row holds the content itself."""

    content: bytes
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class MediaPlaces:
    """Where media may be. ``folders`` are those that a relative path is looked for in, in this order; ``fetch`` brings what
    is at an address, `None` where that is not allowed.
    """

    folders: Sequence[Path]
    fetch: Fetch | None = None


NOWHERE = MediaPlaces(())
"""No folder: a path has to be absolute."""


def find(kind: MediaKind, value: Any, places: MediaPlaces) -> MediaSource:
    """Return what ``value`` names or holds. Raises `DatasetError` where there is no such thing, or too much of it.

    ``value`` is a path, a data URI, an address, bytes, text in base64, an image of Pillow, or an object as Hugging Face's
    datasets have them: ``{"bytes", "path"}``, ``{"array", "sampling_rate"}``, ``{"url"}``.
    """
    if isinstance(value, Mapping):
        return _from_object(kind, value, places)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return MediaSource(_within_limit(bytes(value), f"the {kind} of the row"))
    if isinstance(value, Path):
        return _from_path(kind, value, places)
    if isinstance(value, str) and value.strip():
        return _from_text(kind, value.strip(), places)
    if type(value).__module__.partition(".")[0] == "PIL" and hasattr(value, "save"):
        return MediaSource(_within_limit(_as_png(value), "the image of the row"))
    if kind == "audio" and hasattr(value, "get_all_samples"):
        samples = value.get_all_samples()
        return _from_array(samples.data.T.numpy(), samples.sample_rate)
    described = "null" if value is None else "an empty text" if isinstance(value, str) else type(value).__name__
    raise DatasetError(f"{ARTICLE[kind]} must be a path, a data URI or bytes, and this one is {described}")


def data_uri(content: bytes, mime: str) -> str:
    """Return content as a data URI."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def shown_source(value: object) -> str:
    """Return how a message names a source: what would fill a page is cut."""
    text = str(value)
    return f"{text[:_SHOWN]}..." if len(text) > _SHOWN else text


def _from_object(kind: MediaKind, value: Mapping[str, Any], places: MediaPlaces) -> MediaSource:
    if value.get("bytes") is not None:
        return MediaSource(_within_limit(bytes(value["bytes"]), f"the {kind} of the row"))
    if kind == "audio" and value.get("array") is not None:
        return _from_array(value["array"], value.get("sampling_rate"))
    for name in ("path", "url", kind):
        if value.get(name):
            return find(kind, value[name], places)
    raise DatasetError(
        f"{ARTICLE[kind]} in a row is an object with 'bytes' or 'path', and this one has {', '.join(map(str, value)) or 'nothing'}"
    )


def _from_array(array: Any, rate: Any) -> MediaSource:
    if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
        raise DatasetError(f"audio as an array needs its 'sampling_rate', a whole number a second, not {rate!r}")
    from pytest_evals.media.audio import encoded

    return MediaSource(_within_limit(encoded(array, rate, "the audio of the row"), "the audio of the row"))


def _as_png(image: Any) -> bytes:
    buffer = io.BytesIO()
    try:
        image.save(buffer, format="PNG")
    except Exception as error:  # a mode that PNG lacks, or an image that was never read
        raise DatasetError(f"the image of the row cannot be read: {type(error).__name__}: {error}") from error
    return buffer.getvalue()


def _from_text(kind: MediaKind, text: str, places: MediaPlaces) -> MediaSource:
    if text[:5].lower() == "data:":
        return MediaSource(_within_limit(_from_data_uri(text, kind), f"the data URI of the {kind}"))
    scheme = _SCHEME.match(text)
    # One letter is a drive of Windows.
    name = scheme[1].lower() if scheme and ("://" in text or scheme[1].lower() == "file") else ""
    if name == "file":
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise DatasetError(f"{kind} {shown_source(text)!r} is on another machine; use a path of this one")
        from urllib.request import url2pathname  # which imports all of http

        return _from_path(kind, Path(url2pathname(unquote(parts.path))), places)
    if name in ("http", "https"):
        return _fetched(kind, text, places)
    if name:
        raise DatasetError(
            f"{kind} {shown_source(text)!r} has the scheme {name!r}, which is not read here; download it, and name its path"
        )
    inline = _inline(kind, text)
    return inline or _from_path(kind, Path(text), places)


def _fetched(kind: MediaKind, url: str, places: MediaPlaces) -> MediaSource:
    if places.fetch is None:
        raise DatasetError(
            f"{kind} {shown_source(url)!r} is not on this machine, and nothing is fetched unless --evals-fetch allows it; download it "
            "and name its path"
        )
    return MediaSource(_within_limit(places.fetch(url), f"{kind} {shown_source(url)!r}"))


def _from_data_uri(text: str, kind: MediaKind) -> bytes:
    found = _DATA.match(text)
    if found is None:
        raise DatasetError(f"{kind} {shown_source(text)!r} is not a data URI: it has no comma before its content")
    terms, content = found[1].lower(), text[found.end() :]
    if not terms.replace(" ", "").endswith(";base64"):
        return unquote_to_bytes(content)
    decoded = _base64(unquote(content))
    if decoded is None:
        raise DatasetError(f"{kind} {shown_source(text)!r} is not a data URI: its content is not base64")
    return decoded


def _base64(text: str) -> bytes | None:
    compact = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _inline(kind: MediaKind, text: str) -> MediaSource | None:
    """Return what a text in base64 holds, if it holds a medium: some data sets have no other column for it."""
    if len(text) < _LEAST_BASE64 or not _BASE64.match(text):
        return None
    content = _base64(text)
    mime = mime_of(content) if content else None
    if content is None or mime is None or not mime.startswith(("image/", "audio/", "video/")):
        return None
    return MediaSource(_within_limit(content, f"the {kind} of the row"))


def _from_path(kind: MediaKind, path: Path, places: MediaPlaces) -> MediaSource:
    tried = list(dict.fromkeys(folder / path for folder in places.folders)) if not path.is_absolute() else [path]
    found = next((each for each in tried if _is_there(each)), None)
    if found is None:
        beside = f" (nor {tried[-1]})" if len(tried) > 1 else ""
        raise DatasetError(
            f"{kind} {shown_source(path)!r} not found: {shown_source(tried[0] if tried else path)}{beside}"
        )
    try:
        status = found.stat()
        if stat.S_ISDIR(status.st_mode):
            raise DatasetError(f"{kind} {shown_source(path)!r} is a folder: {found}")
        if not stat.S_ISREG(status.st_mode):
            raise DatasetError(f"{kind} {shown_source(path)!r} is not a regular file: {found}")
        _check_size(status.st_size, str(found))
        return MediaSource(found.read_bytes(), found)
    except OSError as error:
        raise DatasetError(f"{kind} {shown_source(path)!r} cannot be read: {found} ({error.strerror})") from error


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        return True
    except (OSError, ValueError):  # a name that is too long, or holds a null character
        return False
    return True


def _within_limit(content: bytes, where: str) -> bytes:
    _check_size(len(content), where)
    return content


def _check_size(size: int, where: str) -> None:
    if size > MOST_BYTES:
        raise DatasetError(
            f"{where} has {size / 2**20:,.0f} MiB, more than the {MOST_BYTES // 2**20} that are read; make it smaller"
        )
