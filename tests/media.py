"""Pictures and recordings for tests, made here."""

from __future__ import annotations

import io
import math
import struct
import wave
import zlib
from typing import Any

import PIL.Image
import PIL.ImageDraw


def picture(width: int = 32, height: int = 24, color: Any = "red", mode: str = "RGB") -> PIL.Image.Image:
    """A picture in one colour with a white bar."""
    image = PIL.Image.new("RGB", (width, height), color)
    PIL.ImageDraw.Draw(image).rectangle((1, 1, width // 2, 2), fill="white")
    return image.convert(mode)


def encoded(image: PIL.Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """The content of a file with the picture."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(width: int = 32, height: int = 24, color: Any = "red") -> bytes:
    """The content of a PNG."""
    return encoded(picture(width, height, color))


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header names this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def wav(seconds: float = 0.25, rate: int = 16_000, tone: float = 440.0, channels: int = 1) -> bytes:
    """The content of a WAV file with a tone."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        values = (int(9000 * math.sin(2 * math.pi * tone * index / rate)) for index in range(int(seconds * rate)))
        file.writeframes(b"".join(struct.pack("<h", value) * channels for value in values))
    return buffer.getvalue()
