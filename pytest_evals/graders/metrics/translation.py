"""BLEU and chrF of sacrebleu: the value of one completion, and what it adds to that of the corpus."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from pytest_evals.errors import SuiteError, did_you_mean
from pytest_evals.graders.metrics.base import Measured
from pytest_evals.plain import quoted
from pytest_evals.scores import corpus

TOKENIZERS = ("13a", "intl", "char", "zh", "none")
"""Those of sacrebleu that need no other package and no download."""
WORD_ORDERS = (0, 1, 2)


def check_tokenizer(name: str) -> str:
    """Return the tokenizer's name. Raises `SuiteError` for an unknown one."""
    if name not in TOKENIZERS:
        hint = did_you_mean(str(name), TOKENIZERS)
        raise SuiteError(f"bleu: tokenize must be one of {', '.join(TOKENIZERS)}, not {name!r}{hint}")
    return name


def check_word_order(order: int) -> int:
    """Return the word order of chrF. Raises `SuiteError` for an unknown one."""
    if isinstance(order, bool) or order not in WORD_ORDERS:
        raise SuiteError(f"chrf: word_order must be 0 (chrF), 1 (chrF+) or 2 (chrF++), not {order!r}")
    return order


def bleu(text: str, references: Sequence[str], *, tokenize: str, lowercase: bool) -> Measured:
    """Return the sentence's BLEU, 0..1: orders that a short text does not have are left out, as sacrebleu advises."""
    return _measure(_bleu(tokenize, lowercase), "bleu", text, references)


def chrf(text: str, references: Sequence[str], *, word_order: int, lowercase: bool) -> Measured:
    """Return the sentence's chrF, 0..1; of several references the best one counts."""
    return _measure(_chrf(word_order, lowercase), "chrf", text, references)


def _measure(metric: Any, kind: str, text: str, references: Sequence[str]) -> Measured:
    # The counts are the library's own, and so is what it makes of them: `sentence_score` does the same two steps.
    counts = metric._extract_corpus_statistics([text], [[reference] for reference in references])[0]  # noqa: SLF001 - CHRF gives its counts in no other way; a test compares with the public functions
    score = metric._compute_score_from_stats(list(counts))  # noqa: SLF001 - the same
    value = min(score.score / 100, 1.0)
    details = {"definition": str(metric.get_signature()), **corpus.part_data(kind, counts)}
    return Measured(value, f"{score.name} {value:.3f} of {quoted(text)} to {quoted(references[0])}", details)


@functools.lru_cache(maxsize=16)
def _bleu(tokenize: str, lowercase: bool) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenize, lowercase=lowercase, effective_order=True)


@functools.lru_cache(maxsize=16)
def _chrf(word_order: int, lowercase: bool) -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF(word_order=word_order, lowercase=lowercase)
