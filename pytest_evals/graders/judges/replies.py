"""JSON in a judge's reply."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_evals.text import quoted


def last_object(text: str) -> dict[str, Any] | None:
    """Return the last JSON object that stands in ``text`` by itself, in a code fence or in prose; `None` if there is none.

    Objects within another one are part of that. NaN and infinities are not JSON.
    """
    decoder = json.JSONDecoder(parse_constant=_refuse)
    found, position = None, text.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            found = value
        position = text.find("{", end)
    return found


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# -- Reads the verdict out of a judge's reply. Strict: what is not clearly one of the verdicts on offer is none.

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_UNOPENED = re.compile(r"\A.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_UNCLOSED = re.compile(r"<think(?:ing)?>.*\Z", re.DOTALL | re.IGNORECASE)
_LEAD = re.compile(
    r"\A(?:(?:so|thus|therefore|hence)[,\s]+)?(?:(?:my|the|your)\s+)?(?:(?:final|overall)\s+)?"
    r"(?:verdict|answer|score|rating|grade|label|decision|judgement|judgment)\b(?:\s+is)?\s*[:=-]*\s*",
    re.IGNORECASE,
)
# Emphasis, list markers and quotes around a line.
_DECORATION = " \t*_`#>~\"'\u201c\u201d\u2018\u2019"
_QUOTED = re.compile(r"\"[^\"]*\"|\u201c[^\u201d]*\u201d|`[^`]*`|\u2018[^\u2019]*\u2019")
_NEGATION = re.compile(
    r"(?:\b(?:not|no|never|neither|nor|cannot|without)\b|n't|n\u2019t)[^\w:;.]+(?:\w+[^\w:;.]+){0,3}\Z", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply says: a ``verdict`` on offer, or why there is none."""

    verdict: str | None
    problem: str | None = None


def strip_thoughts(text: str) -> str:
    """Return ``text`` without what a reasoning model thought: its ``<think>`` blocks, also one that never ended."""
    without = _UNOPENED.sub("", _THOUGHTS.sub("", text))
    return _UNCLOSED.sub("", without).strip()


def read_verdict(reply: str, offered: Sequence[str]) -> Reading:
    """Return the last verdict that ``reply`` gives.

    A line gives a verdict when that is all it says (``PASS``, ``**Verdict: PASS**``, ``pass.``), or when it starts with
    it (``PASS: names the city``). The last line may also hold it in a sentence, spelled as offered and not negated. Two
    different verdicts in the last line, and a stated verdict that is not on offer, are none.
    """
    text = strip_thoughts(reply)
    lines = [line for line in map(_bare, text.splitlines()) if line]
    if not lines:
        return Reading(None, "the reply is empty" if not reply.strip() else "the reply holds nothing but thoughts")
    found = _read_last_line(lines[-1], offered)
    if found is not None:
        return found
    for line in reversed(lines[:-1]):
        declared = _declared(line, offered)
        if declared is not None:
            return declared
    if len(lines) == 1 and len(lines[0].split()) <= 3:
        return Reading(None, f"the verdict {quoted(text, 60)} was not on offer")
    return Reading(None, "the reply holds no verdict")


def _bare(line: str) -> str:
    return line.strip(_DECORATION)


def _read_last_line(line: str, offered: Sequence[str]) -> Reading | None:
    unquoted = _QUOTED.sub(" ", line)
    mentioned = _mentioned(offered, unquoted)
    labels = {label for label, _ in mentioned}
    if len(labels) > 1:
        return Reading(None, f"the last line holds several verdicts: {quoted(line, 80)}")
    declared = _declared(line, offered)
    if declared is not None:
        return declared
    if not mentioned:
        return None
    if any(_NEGATION.search(unquoted[:start]) for _, start in mentioned):
        return Reading(None, f"the last line only says what the verdict is not: {quoted(line, 80)}")
    return Reading(mentioned[0][0])


def _mentioned(offered: Sequence[str], line: str) -> list[tuple[str, int]]:
    """Return which labels stand as words in ``line``, spelled as offered, and where; of labels within labels the longer."""
    names = "|".join(re.escape(label) for label in sorted(offered, key=len, reverse=True))
    found = re.finditer(rf"(?<![\w.])(?:{names})(?!\w|\.\d)", line)
    return [(match.group(), match.start()) for match in found]


def _declared(line: str, offered: Sequence[str]) -> Reading | None:
    """Return what a line states as its verdict: all it says, or what it starts with before a sign."""
    lead = _LEAD.match(line)
    stated = _bare(line[lead.end() :]) if lead else line
    if not stated:
        return None
    by_fold = {label.casefold(): label for label in offered}
    whole = by_fold.get(stated.rstrip(".!").strip(_DECORATION).casefold())
    if whole is not None:
        return Reading(whole)
    for label in sorted(offered, key=len, reverse=True):
        # A sign must follow, and the spelling must be right: "Pass it on to them" is no verdict.
        if re.match(
            rf"{re.escape(label)}[*_`\"']*\s*(?:[:;,.(\u2013\u2014]|-\s|/\s?\d|out of\b|because\b)(?!\d)", stated
        ):
            return Reading(label)
    if lead and (":" in lead.group() or "=" in lead.group() or len(stated.split()) == 1) and len(stated.split()) <= 3:
        return Reading(None, f"the verdict {quoted(stated, 60)} was not on offer")
    return None
