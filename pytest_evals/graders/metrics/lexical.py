"""Metrics that compare the words or characters of texts."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pytest_evals.errors import SuiteError, did_you_mean
from pytest_evals.graders.metrics.base import Measured
from pytest_evals.graders.metrics.tokenizers import (
    Tokenize,
    alphanumeric_words,
    apart,
    composed,
    has_letters_beyond_ascii,
    require_mecab,
    scripts_without_spaces,
    split_words,
    way_of,
    words_and_punctuation,
)
from pytest_evals.graders.text import normalize, normalize_answer
from pytest_evals.scores import corpus
from pytest_evals.text import one_line, quotation

TOKENIZERS = ("13a", "intl", "char", "zh", "ja-mecab", "ko-mecab", "none")
"""Those of sacrebleu that need no download."""
DEFAULT_TOKENIZER = "13a"
WORD_ORDERS = (0, 1, 2)


def check_tokenizer(name: str) -> str:
    """Return the tokenizer's name. Raises `SuiteError` for an unknown one."""
    if name not in TOKENIZERS:
        hint = did_you_mean(str(name), TOKENIZERS)
        raise SuiteError(f"bleu: tokenize must be one of {', '.join(TOKENIZERS)}, not {name!r}{hint}")
    require_mecab(name, "bleu")
    return name


def check_spaces(references: Sequence[str]) -> None:
    """Raise `SuiteError` for a reference that the default tokenizer would take for one long word. It says what to write."""
    for reference in references:
        scripts = scripts_without_spaces([reference])
        if scripts:
            japanese = {"Hiragana", "Katakana"} & set(scripts)
            fitting = "'ja-mecab' or 'char'" if japanese else "'zh'" if scripts == ["Han"] else "'char'"
            raise SuiteError(
                f"bleu: the reference {one_line(repr(reference), 60)} has {', '.join(scripts)}, a script without spaces between words, and "
                f"the tokenizer 13a splits at spaces; write tokenize={fitting} (or '13a', if the words of your texts are set apart)"
            )


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
    text, *references = map(composed, (text, *references))
    # The counts are the library's own, and so is what it makes of them: `sentence_score` does the same two steps.
    counts = metric._extract_corpus_statistics([text], [[reference] for reference in references])[0]  # noqa: SLF001 - CHRF gives its counts in no other way; a test compares with the public functions
    score = metric._compute_score_from_stats(list(counts))  # noqa: SLF001 - the same
    value = min(score.score / 100, 1.0)
    details = {"definition": str(metric.get_signature()), **corpus.part_data(kind, counts)}
    return Measured(value, f"{score.name} {value:.3f} of {quotation(text)} to {quotation(references[0])}", details)


@functools.lru_cache(maxsize=16)
def _bleu(tokenize: str, lowercase: bool) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenize, lowercase=lowercase, effective_order=True)


@functools.lru_cache(maxsize=16)
def _chrf(word_order: int, lowercase: bool) -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF(word_order=word_order, lowercase=lowercase)


# -- METEOR of NLTK: words matched as they are, by their stems and as synonyms, with a penalty for broken order.

ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5
"""Weight of recall; shape and weight of the penalty: those of Lavie and Agarwal (2007), and NLTK's defaults."""


class NoSynonyms:
    """Replaces WordNet: no word has a synonym."""

    @staticmethod
    def synsets(_word: str) -> list[Any]:
        """Return none."""
        return []


def check_wordnet() -> None:
    """Raise `SuiteError` with the command that brings WordNet, unless it is where NLTK looks. NLTK is not imported."""
    if not any((folder / "corpora" / name).exists() for folder in _folders() for name in ("wordnet.zip", "wordnet")):
        raise SuiteError(
            "meteor needs WordNet for synonyms, and it is in none of NLTK's folders: python -m nltk.downloader wordnet; "
            "meteor(..., synonyms=False) matches words and their stems alone, and needs no data"
        )


def _folders() -> list[Path]:
    """Return where NLTK looks for data."""
    named = [Path(part) for part in os.environ.get("NLTK_DATA", "").split(os.pathsep) if part]
    prefixes = [Path(sys.prefix), Path(sys.prefix, "share"), Path(sys.prefix, "lib")]
    if sys.platform == "win32":
        shared = [Path(os.environ.get("APPDATA", "C:\\")), *(Path(f"{drive}:\\") for drive in "CDE")]
    else:
        shared = [Path("/usr/share"), Path("/usr/local/share"), Path("/usr/lib"), Path("/usr/local/lib")]
    return [*named, *(folder / "nltk_data" for folder in (Path.home(), *prefixes, *shared))]


def meteor(
    text: str, references: Sequence[str], *, synonyms: bool, tokenize: Tokenize = "auto", wordnet: Any = None
) -> Measured:
    """Return METEOR, 0..1; of several references the best one counts.

    ``wordnet``: a reader of WordNet other than NLTK's own.
    """
    from nltk.corpus import wordnet as nltk_wordnet
    from nltk.tokenize import wordpunct_tokenize
    from nltk.translate.meteor_score import meteor_score

    plain = words_and_punctuation if tokenize == "auto" else wordpunct_tokenize
    (ours, *theirs), how = split_words(tokenize, plain, [composed(each) for each in (text, *references)])
    value = float(
        meteor_score(
            theirs,
            ours,
            wordnet=(wordnet or nltk_wordnet) if synonyms else NoSynonyms(),
            alpha=ALPHA,
            beta=BETA,
            gamma=GAMMA,
        )
    )
    matching = "words, Porter stems and WordNet synonyms" if synonyms else "words and Porter stems, no synonyms"
    definition = f"nltk {version('nltk')} METEOR, {how}, {matching}, alpha {ALPHA} beta {BETA} gamma {GAMMA}"
    return Measured(
        value,
        f"METEOR {value:.3f} of {quotation(text)} to {quotation(references[0])}",
        {"definition": definition, "tokenize": how},
    )


# -- Levenshtein similarity of rapidfuzz: how few edits make a completion its reference.

UNITS = ("character", "word")


def check_unit(unit: str) -> str:
    """Return the unit. Raises `SuiteError` for an unknown one."""
    if unit not in UNITS:
        raise SuiteError(f"levenshtein: unit must be one of {', '.join(UNITS)}, not {unit!r}")
    return unit


def levenshtein(
    text: str, references: Sequence[str], *, steps: Sequence[str], unit: str, tokenize: Tokenize = "auto"
) -> Measured:
    """Return 1 - edits / length of the longer text, both stripped and normalised; the most similar reference counts."""
    from rapidfuzz.distance import Levenshtein

    texts = [normalize(composed(each), steps) for each in (text, *references)]
    units: Sequence[Sequence[str]] = texts
    how = "characters"
    if unit == "word":
        units, how = split_words(tokenize, str.split, texts)
    found = []
    ours = units[0]
    for theirs, reference in zip(units[1:], references, strict=True):
        edits, longest = int(Levenshtein.distance(ours, theirs)), max(len(ours), len(theirs))
        found.append((1 - edits / longest if longest else 1.0, edits, longest, reference))
    value, edits, longest, reference = max(found, key=lambda entry: entry[0])
    details = {
        "definition": f"rapidfuzz {version('rapidfuzz')} normalized Levenshtein similarity of {unit}s",
        "tokenize": how,
        "edits": edits,
        **corpus.part_data("ratio", (longest - edits, longest)),
    }
    return Measured(
        value, f"{edits} edits of {longest} {unit}s make {quotation(text)} of {quotation(reference)}", details
    )


# -- F1 of words, as the evaluation script of SQuAD defines them.


def f1(text: str, references: Sequence[str], *, tokenize: Tokenize = "auto") -> Measured:
    """Return the largest F1 of the words that the text and a reference have in common.

    Texts whose letters are all English are normalised as in SQuAD; others without punctuation of any script, as in MLQA (Lewis et
    al., 2020).
    """
    texts = [composed(each) for each in (text, *references)]
    english = tokenize == "words" or (tokenize == "auto" and not any(map(has_letters_beyond_ascii, texts)))
    prepare = normalize_answer if english else _without_punctuation
    (ours, *others), how = split_words(tokenize, str.split, [prepare(each) for each in texts])
    found = [(*_overlap(ours, theirs), reference) for theirs, reference in zip(others, references, strict=True)]
    value, precision, recall, reference = max(found, key=lambda entry: entry[0])
    reason = f"F1 {value:.3f} (precision {precision:.3f}, recall {recall:.3f}) of {quotation(text)} to {quotation(reference)}"
    definition = "SQuAD F1" if english else "F1 of words, normalised as in MLQA"
    details = {"definition": definition, "tokenize": how, "precision": precision, "recall": recall}
    return Measured(value, reason, details)


def _without_punctuation(text: str) -> str:
    return normalize_answer(normalize(text, ("punctuation",)))


def _overlap(ours: Sequence[str], theirs: Sequence[str]) -> tuple[float, float, float]:
    """Return F1, precision and recall of words. Where nothing is left of a text, they are 1 if nothing is left of both."""
    if not ours or not theirs:
        same = float(list(ours) == list(theirs))
        return same, same, same
    common = (Counter(ours) & Counter(theirs)).total()
    precision, recall = common / len(ours), common / len(theirs)
    return (2 * precision * recall / (precision + recall) if common else 0.0), precision, recall


# -- ROUGE of rouge-score: overlap of n-grams, and the longest common subsequence.

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


def check_references(references: Sequence[str], tokenize: Tokenize = "auto") -> None:
    """Raise `SuiteError` for a reference that ROUGE's tokenizer leaves empty: every completion would get 0."""
    for reference in references:
        if tokenize == "words" and not _WORD.search(reference.lower()):
            raise SuiteError(
                f"rouge: of the reference {one_line(repr(reference), 60)} nothing is left, because ROUGE keeps only the "
                "letters a to z and digits; tokenize='auto' keeps those of all scripts"
            )
        if tokenize != "words" and not RougeTokenizer(tokenize).tokenize(reference):
            raise SuiteError(f"rouge: of the reference {one_line(repr(reference), 60)} no word is left")


def rouge(
    text: str, references: Sequence[str], *, kind: str, part: str, stem: bool, tokenize: Tokenize = "auto"
) -> Measured:
    """Return ROUGE, 0..1; of several references the one with the best F1 counts."""
    name = f"rouge{kind}"
    how = "words of a to z and digits" if tokenize == "words" else way_of(tokenize, (text, *references))
    score = _scorer(name, stem, tokenize).score_multi(list(references), text)[name]
    value = float(getattr(score, PARTS[part]))
    details = {
        "definition": f"rouge-score {version('rouge-score')}, {name}, {part}{', Porter stemmer' if stem else ''}",
        "tokenize": how,
        **{each: float(getattr(score, attribute)) for each, attribute in PARTS.items()},
    }
    return Measured(value, f"ROUGE-{kind} {value:.3f} of {quotation(text)} to {quotation(references[0])}", details)


class RougeTokenizer:
    """A tokenizer as rouge-score takes one: words in lower case, of letters and digits of any script. On ASCII it does what
    rouge-score's own does.
    """

    def __init__(self, tokenize: Tokenize, *, stem: bool = False) -> None:
        self._tokenize = tokenize
        self._stem = stem

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text."""
        text = composed(text).lower()
        if self._tokenize == "auto":
            words = alphanumeric_words(apart(text))
        else:
            (words,), _ = split_words(self._tokenize, alphanumeric_words, [text])
        words = [word for word in words if any(map(str.isalnum, word))]
        return [self._stemmed(word) for word in words] if self._stem else words

    def _stemmed(self, word: str) -> str:
        # As rouge-score: short words stay. The stems are those of English.
        return str(_stemmer().stem(word)) if len(word) > 3 and word.isascii() else word


@functools.lru_cache(maxsize=1)
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


@functools.lru_cache(maxsize=16)
def _scorer(name: str, stem: bool, tokenize: Tokenize) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    if tokenize == "words":
        return RougeScorer([name], use_stemmer=stem)
    return RougeScorer([name], tokenizer=RougeTokenizer(tokenize, stem=stem))
