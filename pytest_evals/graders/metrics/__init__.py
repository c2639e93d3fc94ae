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
    """F1 of the words that completion and reference have in common, normalised as in SQuAD; the best reference counts.

    ``tokenize``: what a word is. With ``auto`` each character of Chinese, Japanese, Thai and other scripts without spaces is one, and
    punctuation of all scripts is left out where a text has other letters than English ones; with ``words`` all is as in SQuAD.
    ``char``, ``zh``, ``ja-mecab``, ``ko-mecab``, ``intl`` and ``13a`` are sacrebleu's, and a function returns a text's words.
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
    """BLEU of sacrebleu, 0..1: of the completion alone; the gate statistic ``corpus`` is that of all completions.

    ``tokenize``: sacrebleu's tokenizer, ``13a`` by default. References in a script without spaces are refused unless one is named:
    ``zh``, ``ja-mecab``, ``char``.
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
    """ChrF of sacrebleu, 0..1: of the completion alone; the gate statistic ``corpus`` is that of all completions.

    ``word_order=2`` is chrF++.
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
    """ROUGE-1, -2, -L or -Lsum of rouge-score. ``stem`` compares English words by their Porter stems.

    ``tokenize``: as for `f1`. rouge-score's own tokenizer, which keeps the letters a to z and digits alone, is ``words``; on texts of
    ASCII ``auto`` gives the same.
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
    """METEOR of NLTK. Synonyms come from WordNet, which NLTK downloads; ``synonyms=False`` does without, and is not a
    METEOR to compare with others'. ``tokenize``: as for `f1`; ``words`` is NLTK's ``wordpunct_tokenize``.
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
    """Similarity by edits: 1 - insertions, deletions and substitutions / length of the longer text.

    ``normalize``: as for `exact_match`. ``unit``: what is edited. ``tokenize``: for words, as for `f1`; ``words`` splits at white space.
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
    """Cosine of the embeddings of completion and reference, -1..1; the most similar reference counts.

    ``model``: ``wordllama``, whose package brings its weights (static vectors of words, averaged); or what sentence-transformers
    loads, a name on the hub or a folder relative to the calling file. ``device``: where that runs. The model has a process of its
    own, and what is compared in all cases is embedded together.
    """
    base = Path(sys._getframe(1).f_code.co_filename).parent  # noqa: SLF001 - the documented way to the caller
    checked = embeddings.check_model(model, base)
    return embeddings.similarity_fixture(reference, checked, str(device), threshold, of, run_if)
