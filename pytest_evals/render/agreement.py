"""How far those who answered the same question agree, as lines of text."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_evals.plain import quoted
from pytest_evals.render import numbers
from pytest_evals.render.calibration import coefficient
from pytest_evals.render.lines import Line, wrapped
from pytest_evals.trust.agreement import Agreement, PairAgreement
from pytest_evals.wording import counted

_MOST_PAIRS = 6
_LONGEST_QUESTION = 60
_INDENT = "    "
_NOT_ASKED = "people beside graders that were not asked"


def agreement_texts(found: Iterable[Agreement], *, whole: bool = True) -> list[str]:
    """Return what is said of each question, each text for itself. Not ``whole``: nothing of graders that were asked nothing,
    and of many pairs those that agree least.
    """
    return [f"{about}: {text}" for about, texts in agreement_blocks(found, whole=whole).items() for text in texts]


def agreement_lines(found: Iterable[Agreement], width: int, *, whole: bool = True) -> list[Line]:
    """Return the same for a terminal: a line for each question, and below it what is said of it."""
    lines = []
    for about, texts in agreement_blocks(found, whole=whole).items():
        lines += wrapped(f"{about}:", width)
        for text in texts:
            lines += [Line(f"{_INDENT}{line.text}") for line in wrapped(text, width - len(_INDENT))]
    return lines


def agreement_blocks(found: Iterable[Agreement], *, whole: bool = True) -> dict[str, list[str]]:
    """Return the same by what it is about."""
    blocks: dict[str, list[str]] = {}
    for each in found:
        if each.question or whole:
            about = f"agreement on {quoted(each.question, _LONGEST_QUESTION)}" if each.question else _NOT_ASKED
            blocks.setdefault(f"{about} in {each.suite}", []).extend(_texts(each, whole=whole))
    return blocks


def _texts(found: Agreement, *, whole: bool) -> list[str]:
    of = f" ({found.grader})" if found.grader else ""
    several = len(found.raters) > 2
    share = f"{numbers.percent(found.agreement)}{' of pairs' if several else ''}"
    parts = [f"{', '.join(found.raters[:-1])} and {found.raters[-1]}{of} agree on {share} (n={found.n})"]
    if found.measure != "interval" and not several:
        parts.append(f"kappa {coefficient(found.pairs[0].kappa)}")
    return ["; ".join([*parts, f"alpha {coefficient(found.alpha)}"]), *(_pairs(found, whole=whole) if several else [])]


def _pairs(found: Agreement, *, whole: bool) -> list[str]:
    """Return a text for each pair of several raters."""
    pairs = sorted(found.pairs, key=_kappa)[: None if whole else _MOST_PAIRS]
    said = [
        f"{pair.one} and {pair.other} on {numbers.percent(pair.agreement)} (n={pair.n}){_own(pair)}" for pair in pairs
    ]
    left = len(found.pairs) - len(pairs)
    return [*said, *([f"and {counted(left, 'pair')} in better agreement"] if left else [])]


def _own(pair: PairAgreement) -> str:
    return "" if pair.kappa.value is None else f"; kappa {coefficient(pair.kappa)}"


def _kappa(pair: PairAgreement) -> float:
    return pair.agreement if pair.kappa.value is None else pair.kappa.value
