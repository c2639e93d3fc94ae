"""Divides a reply into what the model thought and what it answered.

Thoughts are found only where a model may put them: where a reply begins, one block after another, or between control
tokens. A tag in the middle of an answer, in a quotation, in code or in JSON is text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pytest_evals.replies.form import ANY_FORM, Delimiters, ReplyForm


@dataclass(frozen=True, slots=True)
class Division:
    """A reply in two. ``unfinished``: the thoughts never ended, and there is no answer. ``spans`` are where the thoughts are
    in the reply, without their delimiters.
    """

    answer: str
    reasoning: str | None = None
    unfinished: bool = False
    spans: tuple[tuple[int, int], ...] = ()


def _divided(reply: str, spans: Iterable[tuple[int, int]], answer: str | None) -> Division:
    """Return the division of a reply with thoughts at ``spans``; without an answer they never ended."""
    found = tuple(spans)
    reasoning = "\n\n".join(text for start, end in found if (text := reply[start:end].strip())) or None
    return Division(answer or "", reasoning, answer is None, found)


def divide(reply: str, form: ReplyForm = ANY_FORM, *, opened: bool = False) -> Division:
    """Return the thoughts and the answer of a reply that a model wrote in this ``form``.

    ``opened``: the prompt ended inside of a block, so that the reply goes on with it.
    """
    if form.channels:
        found = _channels(reply, opened=opened)
        if found is not None:
            return found
    if not form.thoughts:
        return Division(reply)
    return _blocks(reply, form, opened=opened)


# -- Blocks between delimiters.

_QUOTES = "\"'`\u201c\u201d\u2018\u2019\u00ab\u00bb"


def _blocks(reply: str, form: ReplyForm, *, opened: bool) -> Division:
    spans: list[tuple[int, int]] = []
    position = 0
    if opened:
        first = _repeated_opening(reply, form)
        closing = _first_closing(reply, form.thoughts, first)
        if closing is None:
            return _divided(reply, [(first, len(reply))], None)
        spans.append((first, closing.start()))
        position = closing.end()
    while (block := _block_at(reply, form, position)) is not None:
        start, closing = block
        if closing is None:
            return _divided(reply, [*spans, (start, len(reply))], None)
        spans.append((start, closing.start()))
        position = closing.end()
    if position == 0 and form.unopened:
        closing = _unopened(reply, form)
        if closing is not None:
            spans.append((0, closing.start()))
            position = closing.end()
    start = _answer_start(reply, position) if position else 0
    answer, later = _without_control_blocks(reply, start, form)
    return _divided(reply, [*spans, *later], answer)


def _repeated_opening(reply: str, form: ReplyForm) -> int:
    """Return where the thoughts begin in a block that the prompt opened: a model may open it once more."""
    found = _opening_at(reply, form, 0)
    return found[1] if found else 0


def _opening_at(reply: str, form: ReplyForm, position: int) -> tuple[Delimiters, int] | None:
    """Return the delimiters of the block that opens here, white space aside, and where its thoughts begin."""
    for delimiters in form.thoughts:
        found = _pattern(delimiters.opening, after_space=True).match(reply, position)
        if found:
            return delimiters, found.end()
    return None


def _block_at(reply: str, form: ReplyForm, position: int) -> tuple[int, re.Match[str] | None] | None:
    """Return where the thoughts of the block that opens here begin, and its end if it has one; `None` where there is no block."""
    found = _opening_at(reply, form, position)
    if found is None:
        return None
    delimiters, start = found
    closing = _closing(reply, delimiters, start)
    return None if closing is None and delimiters.must_close else (start, closing)


def _closing(reply: str, delimiters: Delimiters, start: int) -> re.Match[str] | None:
    """Return the end of a block: the first that is not quoted. Of blocks inside of it that begin on a line of their own, each has
    its own end.
    """
    ends = [end for end in _pattern(delimiters.closing).finditer(reply, start) if not _quoted(reply, end)]
    if not ends or delimiters.control:
        return ends[0] if ends else None
    nested = [
        each.start()
        for each in _pattern(delimiters.opening).finditer(reply, start)
        if not _quoted(reply, each) and not reply[reply.rfind("\n", 0, each.start()) + 1 : each.start()].strip()
    ]
    for index, end in enumerate(ends):
        if sum(place < end.start() for place in nested) <= index:
            return end
    return ends[0]


def _first_closing(reply: str, delimiters: Iterable[Delimiters], start: int) -> re.Match[str] | None:
    found = [end for each in delimiters if (end := _closing(reply, each, start)) is not None]
    return min(found, key=lambda end: end.start(), default=None)


def _quoted(reply: str, found: re.Match[str]) -> bool:
    return may_be_quoted(reply, found.start()) and reply[found.end() : found.end() + 1] in (*_QUOTES,)


def may_be_quoted(reply: str, start: int) -> bool:
    """Tell whether a tag at ``start`` comes right after an opening quotation mark: it is quoted if one follows."""
    return (
        reply[max(start - 1, 0) : start] in (*_QUOTES,) and not reply[max(start - 2, 0) : max(start - 1, 0)].isalnum()
    )


@functools.lru_cache(maxsize=128)
def _pattern(delimiter: str, *, after_space: bool = False) -> re.Pattern[str]:
    """Return the pattern of a delimiter. White space at its end need not be there; a tag may have attributes."""
    bare = delimiter.rstrip()
    if bare.startswith("<") and bare[1:-1].isalpha() and bare.endswith(">"):
        text = rf"<{bare[1:-1]}(?:\s[^<>]{{0,40}})?>"
    else:
        text = re.escape(bare)
    return re.compile(rf"[\s\ufeff]*{text}" if after_space else text, re.IGNORECASE)


def _answer_start(reply: str, position: int) -> int:
    """Return where the answer begins after a block: blank lines, and what some families open their answers with, are passed over."""
    found = _BEFORE_ANSWER.match(reply, position)
    return found.end() if found else position


_BEFORE_ANSWER = re.compile(
    r"\s*(?:<\|(?:begin_of_solution|START_RESPONSE|START_TEXT)\|>)\s*|(?:[^\S\n]*\n)+(?=[^\S\n]*\S)|\s+"
)


def _without_control_blocks(reply: str, start: int, form: ReplyForm) -> tuple[str, list[tuple[int, int]]]:
    """Return the answer that begins at ``start`` without the blocks between control tokens, and where their thoughts are."""
    marks = [each for each in form.thoughts if each.control]
    if not marks:
        return reply[start:], []
    block = re.compile(
        "|".join(
            rf"{re.escape(each.opening.rstrip())}(.*?)(?:{re.escape(each.closing.rstrip())}\s*|\Z)" for each in marks
        ),
        re.DOTALL,
    )
    found = list(block.finditer(reply, start))
    places = [each.span(each.lastindex or 0) for each in found]
    edges = [start, *(edge for each in found for edge in each.span()), len(reply)]
    return "".join(reply[begin:end] for begin, end in zip(edges[::2], edges[1::2], strict=True)), places


# -- The end of a block whose beginning is in the prompt, in a text whose prompt is not known.


def _unopened(reply: str, form: ReplyForm) -> re.Match[str] | None:
    """Return the closing delimiter that no opening one belongs to, unless it is spoken of rather than used."""
    if reply.lstrip().startswith(("{", "[{", '["', "```")):
        return None
    found = []
    for delimiters in form.thoughts:
        if delimiters.must_close:
            continue
        first = _pattern(delimiters.closing).search(reply)
        opening = _pattern(delimiters.opening).search(reply)
        if first and (opening is None or opening.start() > first.start()):
            found.append(first)
    first = min(found, key=lambda each: each.start(), default=None)
    return None if first is None or _spoken_of(reply, first) else first


def _spoken_of(reply: str, found: re.Match[str]) -> bool:
    """Tell whether a tag is in a sentence, a quotation or code: one that ends thoughts is at the border of a line, or
    between two sentences.
    """
    head, tail = reply[: found.start()], reply[found.end() :]
    line_before = head[head.rfind("\n") + 1 :]
    line_after = tail.partition("\n")[0]
    if head.count("```") % 2 or line_before.count("`") % 2 or may_be_quoted(reply, found.start()):
        return True
    if not line_before.strip() or not line_after.strip():
        return False
    if line_after[0].isdigit() or line_after[0].isupper():
        # A tag that is a word of a sentence has a space behind it.
        return False
    # Between two sentences: one has ended, and the other begins like one.
    return not (
        line_before.rstrip()[-1] in ".!?)\u3002" and not line_after[0].islower() and line_after[0] not in ".,;:!?)"
    )


# -- Harmony: every message of a reply says in its head to which channel it belongs.

_MESSAGE = re.compile(
    r"(?:<\|start\|>[^<]*)?<\|channel\|>(?P<head>[^<]*)(?:<\|constrain\|>[^<]*)?<\|message\|>(?P<content>.*?)"
    r"(?=<\|(?:end|return|call|start|channel)\|>|\Z)(?P<end><\|(?:end|return|call)\|>)?",
    re.DOTALL,
)
_HEAD = re.compile(r"\s*(?:<\|start\|>\s*assistant\s*)?<\|channel\|>")
_OPENED_HEAD = re.compile(r"\s*(?:analysis|commentary|final)\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
# As text from which a tokenizer dropped the control tokens.
_GLUED = re.compile(r"\s*(?:assistant)?(?:analysis|commentary)(?=\S)")
_SENTENCE = re.compile(r"[A-Z\"'\u201c]")
_GLUED_FINAL = re.compile(r"assistant\s?final(?=\S)")
_ONLY_FINAL = re.compile(r"\s*assistant\s?final(?=\S)")


def _channels(reply: str, *, opened: bool) -> Division | None:
    """Return the parts of a reply in channels, `None` for one without."""
    if opened:
        # The prompt ended with the head of a message of thoughts.
        return _of_messages(f"{_OPENED}{reply}", len(_OPENED))
    if _OPENED_HEAD.match(reply):
        return _of_messages(f"<|channel|>{reply}", len("<|channel|>"))
    return _of_messages(reply) if _HEAD.match(reply) else _glued_channels(reply)


def _glued_channels(reply: str) -> Division | None:
    """Return the parts of a reply in channels from which a tokenizer dropped the control tokens."""
    alone = _ONLY_FINAL.match(reply)
    if alone:
        return Division(reply[alone.end() :])
    glued = _GLUED.match(reply)
    if not glued:
        return None
    final = _GLUED_FINAL.search(reply, glued.end())
    if final is None:
        # A word of the answer goes on in small letters.
        return _divided(reply, [(glued.end(), len(reply))], None) if _SENTENCE.match(reply, glued.end()) else None
    return _divided(reply, [(glued.end(), final.start())], reply[final.end() :])


_OPENED = "<|channel|>analysis<|message|>"


def _of_messages(reply: str, before: int = 0) -> Division:
    """Return the parts of messages; the first ``before`` characters were in the prompt."""
    spans, answers, calls = [], [], []
    for message in _MESSAGE.finditer(reply):
        if "to=" in message.group().partition("<|message|>")[0]:
            calls.append(message.group())
        elif message["head"].split()[:1] == ["final"]:
            answers.append(message["content"])
        else:
            spans.append(message.span("content"))
    division = _divided(reply, spans, "".join([*answers, *calls]) if answers or calls else None)
    return replace(division, spans=tuple((max(start - before, 0), end - before) for start, end in division.spans))
