"""ROUGE of rouge-score: overlap of n-grams, and the longest common subsequence."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from pytest_evals.errors import SuiteError
from pytest_evals.graders.metrics.base import Measured
from pytest_evals.plain import one_line, quoted

KINDS = ("1", "2", "L", "Lsum")
PARTS = {"f1": "fmeasure", "precision": "precision", "recall": "recall"}
_WORD = re.compile("[a-z0-9]")


def check_kind(kind: object) -> str:
    """Return the kind. Raises `SuiteError` for an unknown one."""
    if str(kind) not in KINDS:
        raise SuiteError(f"rouge: kind must be one of {', '.join(KINDS)}, not {kind!r}")
    return str(kind)


def check_part(part: str) -> str:
    """Return what counts of the three. Raises `SuiteError` for an unknown one."""
    if part not in PARTS:
        raise SuiteError(f"rouge: measure must be one of {', '.join(PARTS)}, not {part!r}")
    return part


def check_references(references: Sequence[str]) -> None:
    """Raise `SuiteError` for a reference of which ROUGE's tokenizer leaves nothing: every completion would have 0."""
    for reference in references:
        if not _WORD.search(reference.lower()):
            raise SuiteError(
                f"rouge: of the reference {one_line(repr(reference), 60)} nothing is left, because ROUGE keeps only the "
                "letters a to z and digits; chrf or bleu(tokenize='char') work for other scripts"
            )


def rouge(text: str, references: Sequence[str], *, kind: str, part: str, stem: bool) -> Measured:
    """Return ROUGE, 0..1; of several references the one with the best F1 counts."""
    name = f"rouge{kind}"
    score = _scorer(name, stem).score_multi(list(references), text)[name]
    value = float(getattr(score, PARTS[part]))
    details = {
        "definition": f"rouge-score {version('rouge-score')}, {name}, {part}{', Porter stemmer' if stem else ''}",
        **{each: float(getattr(score, attribute)) for each, attribute in PARTS.items()},
    }
    return Measured(value, f"ROUGE-{kind} {value:.3f} of {quoted(text)} to {quoted(references[0])}", details)


@functools.lru_cache(maxsize=16)
def _scorer(name: str, stem: bool) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([name], use_stemmer=stem)
