"""Corpus-level metrics: one number of the counts of many cases, which is not the mean of their scores.

BLEU, chrF and perplexity are defined over a corpus. A grader puts what its case adds into the metadata of its grade::

    {"corpus": {"kind": "bleu", "counts": [...]}}

Counts add up, so that score card, gates (also of slices) and every reader of an artifact can compute the metric of any set of
cases without their texts, and without the library that counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

KEY = "corpus"
BLEU_ORDER = 4
CHRF_BETA = 2


class CorpusPart(NamedTuple):
    """What one case adds to a corpus metric."""

    kind: str
    counts: tuple[float, ...]


def part_of(metadata: Mapping[str, Any] | None) -> CorpusPart | None:
    """Return the part in a grade's metadata; `None` where there is none, or none that this version knows."""
    entry = (metadata or {}).get(KEY)
    if not isinstance(entry, Mapping):
        return None
    kind, counts = entry.get("kind"), entry.get("counts")
    if not isinstance(kind, str) or kind not in KINDS or not isinstance(counts, (list, tuple)):
        return None
    return CorpusPart(kind, tuple(counts)) if KINDS[kind].fits(len(counts)) and all(map(_is_count, counts)) else None


def part_data(kind: str, counts: Sequence[float]) -> dict[str, Any]:
    """Return the entry of a grade's metadata."""
    return {KEY: {"kind": kind, "counts": list(counts)}}


def combine(parts: Sequence[CorpusPart]) -> float | None:
    """Return the metric of the corpus; `None` without parts, and for parts that do not belong together."""
    if not parts or len({(part.kind, len(part.counts)) for part in parts}) > 1:
        return None
    return KINDS[parts[0].kind].compute([math.fsum(column) for column in zip(*(p.counts for p in parts), strict=True)])


def of_sums(kind: str, counts: Sequence[float]) -> float | None:
    """Return the metric of counts that are summed already."""
    return KINDS[kind].compute(counts)


def bleu(counts: Sequence[float]) -> float:
    """Return BLEU of summed counts: hypothesis length, reference length, matches of each order, n-grams of each order.

    As sacrebleu computes it by default: precisions without a match are smoothed exponentially, and an order without
    n-grams makes the score 0.
    """
    length, reference = counts[:2]
    matches, totals = counts[2 : 2 + BLEU_ORDER], counts[2 + BLEU_ORDER :]
    if not any(matches) or not all(totals):
        return 0.0
    logarithms, smoothing = 0.0, 1.0
    for match, total in zip(matches, totals, strict=True):
        if not match:
            smoothing *= 2
        logarithms += math.log(match / total if match else 1 / (smoothing * total))
    brevity = min(0.0, 1 - reference / length)
    return math.exp(brevity + logarithms / BLEU_ORDER)


def chrf(counts: Sequence[float]) -> float:
    """Return chrF of summed counts: for each order the n-grams of the hypothesis, of the reference, and of both.

    As sacrebleu computes it: precision and recall are averaged over the orders that both texts have.
    """
    orders = [counts[start : start + 3] for start in range(0, len(counts), 3)]
    shares = [(match / ours, match / theirs) for ours, theirs, match in orders if ours and theirs]
    precision, recall = (math.fsum(column) / len(shares) for column in zip(*shares, strict=True)) if shares else (0, 0)
    if not precision + recall:
        return 0.0
    factor = CHRF_BETA**2
    return (1 + factor) * precision * recall / (factor * precision + recall)


def ratio(counts: Sequence[float]) -> float | None:
    """Return a micro-average, the sum of numerators over the sum of denominators; `None` where that is 0."""
    return counts[0] / counts[1] if counts[1] else None


def perplexity(counts: Sequence[float]) -> float | None:
    """Return exp of the summed negative log-likelihood over the summed number of units; `None` where there is none, and
    where it is too large for a number.
    """
    mean = ratio(counts)
    try:
        return None if mean is None else math.exp(mean)
    except OverflowError:
        return None


def lower_is_better(kind: str) -> bool:
    """Tell whether a lower value of the metric is the better one, and so is a lower value of a case."""
    return KINDS[kind].lower_is_better


class _Kind(NamedTuple):
    compute: Callable[[Sequence[float]], float | None]
    fits: Callable[[int], bool]
    """Tells whether there are as many counts as it takes."""
    lower_is_better: bool = False


KINDS: Mapping[str, _Kind] = {
    "bleu": _Kind(bleu, lambda length: length == 2 + 2 * BLEU_ORDER),
    "chrf": _Kind(chrf, lambda length: length > 0 and length % 3 == 0),
    "ratio": _Kind(ratio, lambda length: length == 2),
    "perplexity": _Kind(perplexity, lambda length: length == 2, lower_is_better=True),
    "bits": _Kind(ratio, lambda length: length == 2, lower_is_better=True),
}


def _is_count(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
