"""Rewrites what numbers are written with to one form each: digits of other scripts, minus signs, spaces, LaTeX, HTML."""

from __future__ import annotations

import re
import unicodedata

THIN_SPACE = "\u202f"
"""What all spaces become that do not break a line, or are narrow: digits are grouped with them."""

# The zeros of scripts whose ten digits follow each other: Arabic, Persian, N'Ko, those of India, Sinhala, Thai, Lao, Tibetan,
# Burmese, Khmer, Mongolian, full-width ones, and the five mathematical alphabets.
_ZEROS = (
    *(0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6, 0x0E50),
    *(0x0ED0, 0x0F20, 0x1040, 0x17E0, 0x1810, 0xFF10, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6),
)
# Soft hyphens, marks of direction, joiners.
_INVISIBLE = (0x00AD, 0x061C, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF)
_FRACTIONS = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_WIDE = "．％＝：（）＋＄￥＾；！？［］｛｝～"  # noqa: RUF001 - these are what is looked for
_CHARACTERS: dict[int, str | None] = {
    **{zero + digit: str(digit) for zero in _ZEROS for digit in range(10)},
    **dict.fromkeys(_INVISIBLE),
    **dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2212, 0xFE63, 0xFF0D), "-"),
    **dict.fromkeys((0x00A0, *range(0x2005, 0x200B), 0x202F, 0x205F), THIN_SPACE),
    **dict.fromkeys((0x2002, 0x2003, 0x2004, 0x3000), " "),
    **dict.fromkeys((0x00B7, 0x2219, 0x22C5, 0x2715, 0x2716), "×"),  # noqa: RUF001 - the sign of multiplication
    **dict.fromkeys((0x2044, 0x2215, 0xFF0F), "/"),
    **dict.fromkeys((0x2217, 0xFF0A), "*"),
    **dict.fromkeys((0x02BC, 0x2019, 0x2032), "'"),
    **{ord(wide): unicodedata.normalize("NFKC", wide) for wide in _WIDE},
    **{ord(char): " " + unicodedata.normalize("NFKC", char).replace("\u2044", "/") for char in _FRACTIONS},
}
_WIDE_COMMA = re.compile(r"(?<=[\uff10-\uff19])\uff0c(?=[\uff10-\uff19]{3})")
_RAISED = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b"
_RAISED_RUN = re.compile(f"[{_RAISED}]+")
_LOWERED = str.maketrans(_RAISED, "0123456789+-")

_SUP = re.compile(r"<sup>([^<]{0,20})</sup>", re.IGNORECASE)
_ENTITIES = re.compile(r"&(?:nbsp|thinsp|#160|minus|times|#8722);")
_ENTITY = {"&minus;": "-", "&#8722;": "-", "&times;": "×"}  # noqa: RUF001 - the sign of multiplication

# -- LaTeX
_DEGREES = re.compile(r"\^\s?\{?\s?\\circ\s?\}?|\\degree(?![a-zA-Z])")
_COMMANDS = re.compile(
    r"\\(?:times|cdot|div|approx|left|right|[bB]igg?[lr]?|q?quad|displaystyle)(?![a-zA-Z])|\\[$%#&_{}!,;:> \\]"
)
_COMMAND = {
    **dict.fromkeys((r"\times", r"\cdot"), "×"),  # noqa: RUF001 - the sign of multiplication
    r"\div": "÷",
    r"\approx": "≈",
    r"\left": "",
    r"\right": "",
    r"\!": "",
    r"\,": THIN_SPACE,
    **{rf"\{char}": char for char in "$%#&_"},
}
_WORDS = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal|color)?|math(?:rm|bf|it|sf|tt|bb)|mbox|emph|operatorname)\s?\{([^{}]*)\}"
)
_AFTER_DIGIT = re.compile(r"(?<=[0-9])\s?\\(?=[dtc]?frac)")
_FRACTION = re.compile(r"\\[dtc]?frac\s?(?:\{([^{}]*)\}|([0-9]))\s?(?:\{([^{}]*)\}|([0-9]))")
_PLAIN = re.compile(r"[-+\u2013]?\s?[0-9][0-9.,_\u202f]*")
_ORDINAL = re.compile(r"\^\s{0,2}\{?\s{0,2}(?:th|st|nd|rd|o)\s{0,2}\}?(?!\w)")
_TIE = re.compile("(?<=[0-9])~(?=[0-9])")
_DEPTH = 4
"""This many nested commands are unwrapped."""


def cleaned(text: str) -> str:
    r"""Return the text in which a minus sign is ``-``, digits are ASCII, ``\frac{1}{2}`` is ``1/2``, ``\text{km}`` is ``km``, an
    exponent comes after ``^``, and what groups digits is a comma, a point, an apostrophe, an underscore or a space.
    """
    if "<" in text or "&" in text:
        text = _ENTITIES.sub(lambda found: _ENTITY.get(found[0], THIN_SPACE), _SUP.sub(r"^{\1}", text))
    if not text.isascii():
        text = _WIDE_COMMA.sub(",", text)
        text = _RAISED_RUN.sub(lambda run: f"^{{{run[0].translate(_LOWERED)}}}", text).translate(_CHARACTERS)
    if "{" in text:
        text = text.replace("{,}", ",").replace("{.}", ".")
    if "~" in text:
        text = _TIE.sub(THIN_SPACE, text)
    if "\\" in text:
        text = _without_latex(text)
    return _ORDINAL.sub("", text) if "^" in text else text


def _without_latex(text: str) -> str:
    text = _COMMANDS.sub(lambda found: _COMMAND.get(found[0], " "), _DEGREES.sub("°", text))
    for _ in range(_DEPTH):
        text, count = _WORDS.subn(r" \1 ", text)
        if not count:
            break
    text = _AFTER_DIGIT.sub(r" \\", text)
    for _ in range(_DEPTH):
        text, count = _FRACTION.subn(_on_one_line, text)
        if not count:
            break
    return text


def _on_one_line(found: re.Match[str]) -> str:
    above, below = (found[1] or found[2] or "").strip(), (found[3] or found[4] or "").strip()
    if below.startswith("-"):
        above, below = above.removeprefix("-") if above.startswith("-") else f"-{above}", below.removeprefix("-")
    if _PLAIN.fullmatch(above) and _PLAIN.fullmatch(below):
        return f"{above}/{below}"
    return f"({above})/({below})"
