"""What a reasoning model thought before it replied: found only where a model puts it, at the beginning."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from pytest_evals.graders.judges.reading.objects import within_object
from pytest_evals.graders.judges.reading.quotation import Material, Quotations
from pytest_evals.graders.judges.reading.spelling import folded

_NAMES = "think|thinking|thoughts?|reasoning|reflection|scratchpad|analysis"
# How families of models open a block of thoughts, and how each closes it.
_OPENING = re.compile(
    rf"\s*(?:<(?P<tag>{_NAMES})(?:\s[^<>]{{0,40}})?>|(?P<bracket>\[THINK\])|(?P<kimi>\u25c1think\u25b7)|(?P<seed><seed:think>)"
    r"|(?P<long><\|begin_of_thought\|>)|(?P<cohere><\|START_THINKING\|>))",
    re.IGNORECASE,
)
_CLOSING = {
    "bracket": r"\[/THINK\]",
    "kimi": r"\u25c1/think\u25b7",
    "seed": r"</seed:think>",
    "long": r"<\|end_of_thought\|>",
    "cohere": r"<\|END_THINKING\|>",
}
# The end of a block whose beginning is in the prompt, as some chat templates write it.
_UNOPENED = re.compile(
    r"(?<![\"'`\u201c\u2018])(?:</think(?:ing)?>|\[/THINK\]|\u25c1/think\u25b7)(?![\"'`\u201d\u2019])", re.IGNORECASE
)
# The channels of Harmony: with their special tokens, and as text from which a tokenizer dropped those.
_CHANNEL = re.compile(r"\s*(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*(?:analysis|commentary)\b")
_FINAL_CHANNEL = re.compile(r"<\|channel\|>\s*final\b[^<]{0,40}<\|message\|>")
_ANALYSIS = re.compile(r"\s*(?:assistant)?(?:analysis|commentary)")
_GLUED = re.compile(r"\s*(?:assistant)?analysis(?=[A-Z\"'\u201c])")
_FINAL = re.compile(r"assistant\n?final")
_OPENING_FINAL = re.compile(rf"\s*(?:<\|start\|>\s*assistant\s*)?(?:assistant\n?final|{_FINAL_CHANNEL.pattern})")


def strip_thoughts(reply: str, material: Material | None = None) -> str:
    """Return a judge's ``reply`` without the thoughts that it begins with: nothing where they never ended.

    Tags further on, and tags in quotations of the ``material`` that the judge was shown, are text.
    """
    start = answer_start(reply, material)
    return "" if start is None else reply[start:].strip()


def answer_start(reply: str, material: Material | None = None, quotations: Quotations | None = None) -> int | None:
    """Return where in ``reply`` the answer begins, `None` where it holds nothing but thoughts.

    ``quotations``: those of the material in the reply, where they have been found already.
    """
    if material is not None and quotations is None:
        quotations = Quotations(reply, material)
    borders = _Borders(reply, material, quotations)
    start: int | None = 0
    while start is not None and (opened := _OPENING.match(reply, start)):
        kind = str(opened.lastgroup)
        name = opened.group(kind).casefold() if kind == "tag" else ""
        found = borders.first(rf"</{name}>" if name else _CLOSING[kind], opened.end())
        if found is None and name and not name.startswith(("think", "thought")):
            return start  # a heading rather than a thought: the verdict may be under it
        start = found
    if start == 0:
        start = _after_channels(reply, borders)
    if start == 0:
        start = _after_unopened(reply, borders)
    return start


def _after_channels(reply: str, borders: _Borders) -> int | None:
    opened = _OPENING_FINAL.match(reply)
    if opened:
        return opened.end()
    if _CHANNEL.match(reply):
        return borders.first(_FINAL_CHANNEL.pattern, 0)
    if _ANALYSIS.match(reply):
        found = borders.first(_FINAL.pattern, 0)
        return 0 if found is None and not _GLUED.match(reply) else found
    return 0


def _after_unopened(reply: str, borders: _Borders) -> int:
    """Return the end of the first closing tag that no opening one belongs to. JSON and code do not begin with thoughts."""
    found = _UNOPENED.search(reply)
    if found is None or reply.lstrip().startswith(("{", "[", "```")):
        return 0
    if borders.shown(found.group()) or within_object(reply, found.start()):
        return 0
    return found.end()


@functools.lru_cache(maxsize=4)
def _without_spaces(material: Material) -> tuple[str, ...]:
    return tuple("".join(folded(text).split()) for text in (*material.judged, *material.beside))


@dataclass(frozen=True, slots=True)
class _Borders:
    """Where thoughts end in a reply that may be quoted in parts."""

    reply: str
    material: Material | None
    quotations: Quotations | None

    def first(self, pattern: str, position: int) -> int | None:
        """Return the end of the first border after ``position``; of those that the material holds too, of the last one
        that is not quoted, `None` where all are.
        """
        border = re.compile(pattern, re.IGNORECASE)
        first = border.search(self.reply, position)
        if first is None or not self.shown(first.group()):
            return first.end() if first else None
        own = [found for found in border.finditer(self.reply, position) if not self._quoted(found)]
        return own[-1].end() if own else None

    def shown(self, border: str) -> bool:
        """Tell whether the material holds such a border, as the judge saw it or as it was."""
        if self.material is None:
            return False
        bare = "".join(folded(border).split()).strip("<>[]|")
        return any(bare in text for text in _without_spaces(self.material))

    def _quoted(self, border: re.Match[str]) -> bool:
        return self.quotations is not None and self.quotations.covers(border.start(), border.end())
