"""Metrics that compare a completion with one or several references, each computed by the library that people cite.

Values are 0..1 (that of `embedding_similarity` from -1), without a verdict unless ``threshold`` gives one. A reference is a
text, a list of texts, or a locator or templates of them. A grade's metadata says how its value is defined.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.grader import Fixture
from pytest_evals.graders.metrics import embeddings, lexical
from pytest_evals.graders.metrics.base import metric_fixture
from pytest_evals.graders.metrics.tokenizers import Tokenize, check_tokenize
from pytest_evals.graders.templating import require
from pytest_evals.graders.text import check_normalizers

__all__ = ["bleu", "chrf", "embedding_similarity", "f1", "levenshtein", "meteor", "rouge"]
EXTRA = "metrics"


def f1(
    reference: object,
    *,
    tokenize: Tokenize = "auto",
    threshold: float | None = None,
    of: str | None = None,
    run_if: str | None = None,
) -> Fixture:
    """F1 of the words that completion and reference have in common, from 0 to 1, normalised as in SQuAD (Rajpurkar et al., 2016).

    Args:
        reference: A text, a list of texts (the best one counts), or a locator.
        tokenize: What a word is. ``auto``: what is between spaces, and each character of scripts without spaces, such as Chinese and
            Thai. ``words``: as SQuAD's script. ``char``, ``zh``, ``intl``, ``13a``, ``ja-mecab``, ``ko-mecab``: sacrebleu's tokenizers. Or a
            function that returns a text's words.
        threshold: The lowest value that passes; `None` for no verdict.
        of: A task whose result is graded instead of the completion, or a field of it.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong, or a reference is empty.
    """
    measure = functools.partial(lexical.f1, tokenize=check_tokenize(tokenize, "f1"))
    return metric_fixture("f1", measure, reference, threshold, of=of, run_if=run_if)


def bleu(
    reference: object,
    *,
    tokenize: Literal["13a", "intl", "char", "zh", "ja-mecab", "ko-mecab", "none"] | None = None,
    lowercase: bool = False,
    threshold: float | None = None,
    of: str | None = None,
    run_if: str | None = None,
) -> Fixture:
    """BLEU of the completion, from 0 to 1, by sacrebleu. The statistic ``corpus`` is that of all completions together.

    Args:
        reference: A text, a list of texts that are used together, or a locator.
        tokenize: sacrebleu's tokenizer; ``13a`` by default. References in a script without spaces need ``zh``, ``ja-mecab`` or ``char``.
        lowercase: Whether case is ignored.
        threshold: The lowest value that passes; `None` for no verdict.
        of: A task whose result is graded instead of the completion, or a field of it.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong, or a reference is empty or needs a tokenizer.
    """
    require("sacrebleu", EXTRA, "bleu")
    named = lexical.check_tokenizer(lexical.DEFAULT_TOKENIZER if tokenize is None else tokenize)
    measure = functools.partial(lexical.bleu, tokenize=named, lowercase=bool(lowercase))
    check = lexical.check_spaces if tokenize is None else None
    return metric_fixture("bleu", measure, reference, threshold, check=check, of=of, run_if=run_if)


def chrf(
    reference: object,
    *,
    word_order: Literal[0, 1, 2] = 0,
    lowercase: bool = False,
    threshold: float | None = None,
    of: str | None = None,
    run_if: str | None = None,
) -> Fixture:
    """ChrF of the completion, from 0 to 1, by sacrebleu. The statistic ``corpus`` is that of all completions together.

    Args:
        reference: A text, a list of texts (the best one counts), or a locator.
        word_order: 2 for chrF++.
        lowercase: Whether case is ignored.
        threshold: The lowest value that passes; `None` for no verdict.
        of: A task whose result is graded instead of the completion, or a field of it.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong, or a reference is empty.
    """
    require("sacrebleu", EXTRA, "chrf")
    measure = functools.partial(
        lexical.chrf, word_order=lexical.check_word_order(word_order), lowercase=bool(lowercase)
    )
    return metric_fixture("chrf", measure, reference, threshold, of=of, run_if=run_if)


def rouge(
    reference: object,
    *,
    kind: Literal["1", "2", "L", "Lsum"] = "L",
    measure: Literal["f1", "precision", "recall"] = "f1",
    stem: bool = False,
    tokenize: Tokenize = "auto",
    threshold: float | None = None,
    of: str | None = None,
    run_if: str | None = None,
) -> Fixture:
    """ROUGE of the completion, from 0 to 1, by rouge-score.

    Args:
        reference: A text, a list of texts (the best one counts), or a locator.
        kind: ROUGE-1, -2, -L or -Lsum; the last takes lines as sentences.
        measure: Whether the value is ``f1``, ``precision`` or ``recall``.
        stem: Whether English words are compared by their Porter stems.
        tokenize: As for `f1`; ``words`` is rouge-score's own tokenizer, which keeps only a to z and digits.
        threshold: The lowest value that passes; `None` for no verdict.
        of: A task whose result is graded instead of the completion, or a field of it.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong, or a reference is empty.
    """
    require("rouge_score", EXTRA, "rouge")
    named = check_tokenize(tokenize, "rouge")
    compute = functools.partial(
        lexical.rouge,
        kind=lexical.check_kind(kind),
        part=lexical.check_part(measure),
        stem=bool(stem),
        tokenize=named,
    )
    check = functools.partial(lexical.check_references, tokenize=named)
    return metric_fixture("rouge", compute, reference, threshold, check=check, of=of, run_if=run_if)


def meteor(
    reference: object,
    *,
    synonyms: bool = True,
    tokenize: Tokenize = "auto",
    threshold: float | None = None,
    of: str | None = None,
    run_if: str | None = None,
) -> Fixture:
    """METEOR of the completion, from 0 to 1, by NLTK (alpha 0.9, beta 3, gamma 0.5).

    Args:
        reference: A text, a list of texts (the best one counts), or a locator.
        synonyms: Whether synonyms match, by WordNet, which NLTK downloads. Without them, values are lower and not comparable with
            published ones.
        tokenize: As for `f1`; ``words`` is NLTK's ``wordpunct_tokenize``.
        threshold: The lowest value that passes; `None` for no verdict.
        of: A task whose result is graded instead of the completion, or a field of it.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong, or a reference is empty.
    """
    require("nltk", EXTRA, "meteor")
    if synonyms:
        lexical.check_wordnet()
    return metric_fixture(
        "meteor",
        functools.partial(lexical.meteor, synonyms=bool(synonyms), tokenize=check_tokenize(tokenize, "meteor")),
        reference,
        threshold,
        of=of,
        run_if=run_if,
    )


def levenshtein(
    reference: object,
    *,
    normalize: str | Sequence[str] = (),
    unit: Literal["character", "word"] = "character",
    tokenize: Tokenize = "auto",
    threshold: float | None = None,
    of: str | None = None,
    run_if: str | None = None,
) -> Fixture:
    """Similarity by edits, from 0 to 1: 1 - insertions, deletions and substitutions / length of the longer text.

    Args:
        reference: A text, a list of texts (the best one counts), or a locator.
        normalize: As for `exact_match`.
        unit: Whether characters or words are edited.
        tokenize: For words, as for `f1`; ``words`` splits at white space.
        threshold: The lowest value that passes; `None` for no verdict.
        of: A task whose result is graded instead of the completion, or a field of it.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong, or a reference is empty.
    """
    require("rapidfuzz", EXTRA, "levenshtein")
    if tokenize != "auto" and unit != "word":
        raise SuiteError("levenshtein: tokenize= makes words, so it goes with unit='word'")
    named = check_tokenize(tokenize, "levenshtein")
    steps = check_normalizers(normalize)
    return metric_fixture(
        "levenshtein",
        functools.partial(lexical.levenshtein, steps=steps, unit=lexical.check_unit(unit), tokenize=named),
        reference,
        threshold,
        of=of,
        run_if=run_if,
    )


def embedding_similarity(
    reference: object,
    *,
    model: str = "wordllama",
    device: str = "cpu",
    threshold: float | None = None,
    of: str | None = None,
    run_if: str | None = None,
) -> Fixture:
    """Cosine of the embeddings of completion and reference, from -1 to 1.

    Args:
        reference: A text, a list of texts (the most similar one counts), or a locator.
        model: ``wordllama``, whose package brings static vectors of words; or a model of sentence-transformers: a name on the hub, or a
            folder relative to the calling file. It runs in its own process, for all cases together.
        device: Where a model of sentence-transformers runs.
        threshold: The lowest value that passes; `None` for no verdict.
        of: A task whose result is graded instead of the completion, or a field of it.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong, or a reference is empty.
    """
    base = Path(sys._getframe(1).f_code.co_filename).parent  # noqa: SLF001 - the documented way to the caller
    checked = embeddings.check_model(model, base)
    return embeddings.similarity_fixture(reference, checked, str(device), threshold, of, run_if)
