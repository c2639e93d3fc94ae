"""F1 of words, as the evaluation script of SQuAD defines them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pytest_evals.graders.metrics.base import Measured
from pytest_evals.graders.text import normalize_answer
from pytest_evals.plain import quoted


def f1(text: str, references: Sequence[str]) -> Measured:
    """Return the largest F1 of the words that the text and a reference have in common."""
    found = [(*_overlap(text, reference), reference) for reference in references]
    value, precision, recall, reference = max(found, key=lambda entry: entry[0])
    reason = f"F1 {value:.3f} (precision {precision:.3f}, recall {recall:.3f}) of {quoted(text)} to {quoted(reference)}"
    return Measured(value, reason, {"definition": "SQuAD F1", "precision": precision, "recall": recall})


def _overlap(text: str, reference: str) -> tuple[float, float, float]:
    """Return F1, precision and recall. Where nothing is left of a text, they are 1 if nothing is left of both."""
    ours, theirs = normalize_answer(text).split(), normalize_answer(reference).split()
    if not ours or not theirs:
        same = float(ours == theirs)
        return same, same, same
    common = (Counter(ours) & Counter(theirs)).total()
    precision, recall = common / len(ours), common / len(theirs)
    return (2 * precision * recall / (precision + recall) if common else 0.0), precision, recall
