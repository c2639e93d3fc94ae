"""Images and audio on a page: small ones inside of it, decoded and written anew, so that nothing else of their files comes along;
others as links to their files.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pytest_evals.errors import DatasetError
from pytest_evals.media.audio import check_audio
from pytest_evals.media.images import decoded
from pytest_evals.media.parts import is_media, label_of
from pytest_evals.media.sources import MediaPlaces, MediaSource, data_uri, find

LARGEST_FILE = 1 << 18
"""Bytes of a file that is shown inside of the page."""
LARGEST_SHOWN = 1 << 16
"""Bytes that it may take there."""
LARGEST_PAGE = 24 << 20
"""Bytes that all media may take in one page."""
_SIDE = 640


@dataclass(slots=True)
class PageMedia:
    """What a page shows of media.

    Args:
        folders: Where the files of an artifact, which names them as seen from pytest's root folder, are looked for.
        page: The file of the page, from which links go; `None` of a page that can link to no file.
        largest_file: Bytes of a file that is shown inside of the page.
        largest_shown: Bytes that it may take there.
    """

    folders: Sequence[Path]
    page: Path | None = None
    largest_file: int = LARGEST_FILE
    largest_shown: int = LARGEST_SHOWN
    _inside: dict[str, str | None] = field(default_factory=dict)
    _left: int = LARGEST_PAGE

    def shown(self, content: Any) -> Any:
        """Return a message's content with its media as the page has them; a text as it is.

        A medium is ``{"media": kind, "label", "src", "href", "missing"}``: ``src`` only where it is inside of the page.
        """
        if not isinstance(content, list):
            return content
        return [self._part(part) if is_media(part) else part for part in content]

    def _part(self, part: Mapping[str, Any]) -> dict[str, Any]:
        shown: dict[str, Any] = {"media": "audio" if "audio" in part["type"] else "image", "label": label_of(part)}
        digest = part.get("sha256")
        found = self._find(part)
        if found is None or digest is None:
            return {**shown, "missing": True}
        if digest not in self._inside:
            self._inside[digest] = self._source(shown["media"], found)
        source = self._inside[digest]
        if source is not None and len(source) <= self._left:
            self._left -= len(source)
            shown["src"] = source
        if found.path is not None and self.page is not None:
            shown["href"] = _link(found.path, self.page)
        return shown

    def _find(self, part: Mapping[str, Any]) -> MediaSource | None:
        """Return the medium, `None` where it is gone or another one now."""
        kind = part["type"]
        try:
            found = find(kind, part.get(kind), MediaPlaces(self.folders))
        except DatasetError:
            return None
        return found if hashlib.sha256(found.content).hexdigest() == part.get("sha256") else None

    def _source(self, kind: str, found: MediaSource) -> str | None:
        """Return the data URI of a medium that is small enough, `None` of another one."""
        if len(found.content) > self.largest_file:
            return None
        try:
            source = _image_source(found.content) if kind == "image" else _audio_source(found.content)
        except (DatasetError, OSError, ValueError):
            return None
        return source if len(source) <= self.largest_shown else None


def _image_source(content: bytes) -> str:
    image = decoded(content, "the image")
    image.thumbnail((_SIDE, _SIDE))
    written = []
    for name, settings in (("png", {"optimize": True}), ("jpeg", {"quality": 80})):
        buffer = io.BytesIO()
        image.save(buffer, name, **settings)
        written.append(data_uri(buffer.getvalue(), f"image/{name}"))
    return min(written, key=len)


def _audio_source(content: bytes) -> str:
    return data_uri(content, check_audio(content, "the audio")["mime"])


def _link(path: Path, page: Path) -> str | None:
    try:
        way = os.path.relpath(path, page.parent)
    except ValueError:  # another drive
        return path.resolve().as_uri()
    # "./" so that a name with a colon in it is not a scheme.
    return f"./{quote(way.replace(os.sep, '/'))}"


def folders_of(artifact: Path | str) -> list[Path]:
    """Return where the files that an artifact names may be: from here, and from the folders above the artifact."""
    above = [] if isinstance(artifact, str) else [artifact.resolve().parent, *artifact.resolve().parent.parents][:4]
    return [Path.cwd(), *above]
