"""Is this an image that models can be given? Pillow tells, within limits that it is not asked to pass.

A small file may hold a picture of a terabyte, so the size that its header names is looked at before anything is decoded. Only
formats of plain pictures are tried: Pillow would start other programs for some of the others.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

from pytest_evals.errors import DatasetError
from pytest_evals.media.kinds import mime_of, what_it_is

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
"""What is read, by the names that Pillow has for it."""
MOST_PIXELS = 64_000_000
INSTALL = "reading images needs Pillow: pip install 'pytest-evals-hf[images]'"
_LISTED = "PNG, JPEG, GIF, WebP, BMP, TIFF or AVIF"


def check_image(content: bytes, where: str) -> dict[str, Any]:
    """Return ``mime``, ``width`` and ``height`` (pixels, upright) of an image, after decoding it once.

    Raises `DatasetError` with ``where`` for what is not an image, is damaged, has too many pixels or several pictures.
    """
    image = open_image(content, where)
    with image:
        width, height = image.size
        _check_pixels(width * height, where)
        mime = mime_of(content) or image.get_format_mimetype() or "image/png"
        # Photographs of phones hold a smaller or a second picture behind the first one.
        if getattr(image, "is_animated", False) and mime != "image/jpeg":
            raise DatasetError(
                f"{where} holds several pictures, and a model sees one: give it a file of a still picture"
            )
        try:
            # Of a JPEG a coarse picture is enough to see that it is whole.
            image.draft("L", (max(1, width // 8), max(1, height // 8)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image.load()
        except Exception as error:  # decoders raise anything for damaged files
            raise DatasetError(f"{where} cannot be decoded as {mime}: {_reason(error)}") from error
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return {"mime": mime, "width": height if turned else width, "height": width if turned else height}


def open_image(content: bytes, where: str) -> Any:
    """Return Pillow's image; only its header is read. Raises `DatasetError` for what is not an image."""
    try:
        import PIL.Image
    except ImportError as error:
        raise DatasetError(f"{where}: {INSTALL}") from error
    try:
        with warnings.catch_warnings():
            # A warning of many pixels, say: they are counted here.
            warnings.simplefilter("ignore")
            return PIL.Image.open(io.BytesIO(content), formats=_known(PIL.Image))
    except PIL.Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        _check_pixels(int(found[0]) if found else MOST_PIXELS + 1, where)
        raise DatasetError(f"{where} cannot be read as an image: {_reason(error)}") from error
    except PIL.UnidentifiedImageError as error:
        raise DatasetError(_no_image(content, where)) from error
    except Exception as error:  # a header may make a reader raise anything
        raise DatasetError(f"{where} begins like an image, and is damaged: {_reason(error)}") from error


def decoded(content: bytes, where: str) -> Any:
    """Return the upright picture in RGB, as transformers' ``load_image`` gives it; but grey of 16 bits is brought to 8, and not cut
    off at white. Raises `DatasetError`.
    """
    check_image(content, where)
    import PIL.ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = open_image(content, where)
        image = PIL.ImageOps.exif_transpose(opened)
        # Some versions of Pillow open a PNG of 16 bits as one of 32.
        if image.mode.startswith("I;16") or (image.mode == "I" and opened.format == "PNG"):
            image = image.convert("I").point(lambda value: value / 257).convert("L")
        return image.convert("RGB")


def _known(module: Any) -> list[str]:
    """Return the formats that this Pillow can read."""
    module.init()
    return [name for name in FORMATS if name in module.OPEN]


def _check_pixels(pixels: int, where: str) -> None:
    if pixels > MOST_PIXELS:
        raise DatasetError(
            f"{where} has {pixels / 1e6:,.0f} megapixels, more than the {MOST_PIXELS / 1e6:.0f} that are read; make it smaller "
            "(models see at most a few megapixels)"
        )


def _no_image(content: bytes, where: str) -> str:
    mime = mime_of(content)
    if mime in ("image/svg+xml", "image/heic", "image/avif", "image/x-icon", "image/vnd.adobe.photoshop"):
        return f"{where} is {mime}, which is not read here; convert it to PNG or JPEG"
    if mime is not None and mime.startswith("image/"):
        return f"{where} begins like {mime}, and is damaged"
    return f"{where} is not an image: it is {what_it_is(content, mime)}; images are {_LISTED}"


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
