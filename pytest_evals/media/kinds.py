"""What a file is, told by its first bytes: names lie, and what a data URI says of itself too."""

from __future__ import annotations

import re
from typing import Literal

MediaKind = Literal["image", "audio"]
ARTICLE = {"image": "an image", "audio": "audio"}
"""What a message calls a medium of each kind."""

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"FORM", "audio/aiff"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"%PDF-", "application/pdf"),
    (b"%!PS", "application/postscript"),
    (b"PK\x03\x04", "application/zip"),
    (b"version https://git-lfs.github.com/spec/", "text/x-git-lfs-pointer"),
)
_INSIDE_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
# ISO base media files say after "ftyp" what they hold.
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heic",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
_MARKUP = re.compile(
    rb"\A(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*|<!DOCTYPE\s+svg[^>]*>\s*)*<(svg|html|!doctype html)\b",
    re.IGNORECASE | re.DOTALL,
)
_HEAD = 4096
"""Bytes that are looked at."""


def mime_of(content: bytes) -> str | None:
    """Return the MIME type that the first bytes of a file tell, `None` where they tell none that is known here."""
    head = content[:_HEAD]
    if head[:4] == b"RIFF":
        return _INSIDE_RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    for start, mime in _STARTS:
        if head.startswith(start):
            return mime
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2:
        return "audio/mpeg"
    markup = _MARKUP.match(head)
    return {b"svg": "image/svg+xml"}.get(markup[1].lower(), "text/html") if markup else None


def what_it_is(content: bytes, mime: str | None) -> str:
    """Return what a file holds, in words that follow "it is"."""
    if not content:
        return "empty"
    if mime == "text/x-git-lfs-pointer":
        return "a pointer of Git LFS, whose file has not been fetched (git lfs pull)"
    if mime == "text/html":
        return "a page of HTML"
    if mime is not None:
        return f"{mime}"
    return "a text" if _is_text(content[:_HEAD]) else "in an unknown format"


def _is_text(head: bytes) -> bool:
    # The last character may be cut.
    text = head.decode("utf-8", "ignore")
    return b"\0" not in head and len(text.encode()) >= len(head) - 3
