"""Metrics beside their reference libraries, and what their authors are told of mistakes where they make them."""

from __future__ import annotations

import importlib.util
import json
import math
import random
import unicodedata
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from benchmarks.metrics_table import comparisons, differences, pairs
from pytest_evals import graders
from pytest_evals.errors import SuiteError
from pytest_evals.graders.metrics import lexical
from pytest_evals.graders.metrics.base import Measured, as_references
from pytest_evals.graders.metrics.tokenizers import split_words

CORPUS = list(pairs(48, seed=7))


def test_every_metric_is_that_of_its_reference_library() -> None:
    found = {each.name: (each.source, *differences(each, CORPUS)) for each in comparisons()}
    assert len(found) > 30
    # torchmetrics computes in single precision.
    limits = {name: 1e-6 if "torchmetrics" in library else 1e-12 for name, (library, _, _) in found.items()}
    assert {name: entry for name, entry in found.items() if max(entry[1], entry[2] or 0) > limits[name]} == {}


def test_the_pairs_that_are_compared_cover_zero_one_and_between() -> None:
    values = [lexical.f1(*pair).value for pair in CORPUS]
    assert {0.0, 1.0} < set(values)
    assert sum(0.2 < value < 0.8 for value in values) > 10


@pytest.mark.parametrize(
    ("text", "reference", "value"),
    [
        ("The cat, a cat!", "cat", 2 / 3),
        ("  ", "cat", 0),
        ("the", "An...", 1),  # nothing is left of either
        ("", "the", 1),
        ("don't", "dont", 1),
        ("«cat»", "cat", 0),  # only ASCII punctuation is removed
    ],
)
def test_f1_by_hand(text: str, reference: str, value: float) -> None:
    assert lexical.f1(text, [reference]).value == pytest.approx(value)
    assert lexical.f1(text, ["dog", reference]).value == pytest.approx(value)


ROWS = [
    json.loads(line)
    for name in ("metrics.jsonl", "metrics_more.jsonl")
    for line in (Path(__file__).parent / "data" / name).read_text(encoding="utf-8").splitlines()
]
RESULTS: dict[str, Callable[[float], bool]] = {
    "between 0.5 and 1, or refused": lambda value: 0.5 < value < 1,
    "1, or refused": lambda value: value == 1,
    "above 0, or refused": lambda value: value > 0,
    "above 0.6": lambda value: value > 0.6,
    "0": lambda value: value == 0,
    "below 1": lambda value: value < 1,
    "0.857": lambda value: round(value, 3) == 0.857,
}
METRICS: dict[str, Callable[[str, list[str]], Measured]] = {
    "f1": lexical.f1,
    "rouge": lambda text, references: lexical.rouge(text, references, kind="1", part="f1", stem=False),
    "meteor": lambda text, references: lexical.meteor(text, references, synonyms=False),
    "levenshtein": lambda text, references: lexical.levenshtein(text, references, steps=(), unit="word"),
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['grader']}-{row['completion']}")
def test_words_of_other_scripts_are_words(row: dict[str, Any]) -> None:
    found = METRICS[row["grader"]](row["completion"], [row["reference"]])
    if "result" in row:
        assert RESULTS[row["result"]](found.value)
    else:
        assert found.value == pytest.approx(float(Fraction(row["value"])))
    assert found.details["tokenize"].startswith("words")


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("a cat", "words"),
        ("ein Bär", "words"),
        ("한국의 수도", "words"),
        ("今天", "words, and characters of Han"),
        ("iPhone 東京です", "words, and characters of Han, Hiragana"),
        ("ไทย 中文", "words, and characters of Han, Thai"),
    ],
)
def test_the_metadata_say_how_words_were_found(text: str, how: str) -> None:
    for name, measure in METRICS.items():
        assert measure("a", [text]).details["tokenize"] == how, name
        assert measure(text, ["a"]).details["tokenize"] == how, name


@pytest.mark.parametrize("name", ["char", "zh", "ja-mecab", "ko-mecab", "intl", "13a"])
def test_tokenizers_of_sacrebleu_are_sacrebleus(name: str) -> None:
    from sacrebleu.metrics.bleu import BLEU

    theirs = BLEU(tokenize=name).tokenizer
    for text in ("今天 天氣很好, iPhone 15!", "東京は日本の首都です", "한국의 수도는 서울이다", "สวัสดี", "U.S. don't"):
        (words,), how = split_words(name, str.split, [text])
        assert (words, how) == (theirs(text).split(), name)
        assert lexical.f1(text, [text], tokenize=name).value == 1


def test_japanese_words_are_those_of_mecab() -> None:
    assert lexical.f1("東京は首都", ["東京の首都"], tokenize="ja-mecab").value == pytest.approx(2 / 3)
    assert lexical.rouge("東京は首都", ["東京の首都"], kind="2", part="f1", stem=False, tokenize="ja-mecab").value == 0


def test_a_function_may_split_texts() -> None:
    def pairs_of_characters(text: str) -> list[str]:
        return [text[place : place + 2] for place in range(0, len(text), 2)]

    found = lexical.levenshtein("abcd", ["abxy"], steps=(), unit="word", tokenize=pairs_of_characters)
    assert found.value == 0.5
    assert found.details["tokenize"].startswith("function ")
    assert found.details["tokenize"].endswith("pairs_of_characters")
    with pytest.raises(SuiteError, match="must return a list of words, not 'abcd'"):
        lexical.f1("abcd", ["abcd"], tokenize=lambda text: text)


def test_on_ascii_auto_is_what_the_libraries_do() -> None:
    chance = random.Random(3)  # noqa: S311 - texts to try
    letters = "aAbc 12_-'.,!?\n\t/"
    for _ in range(300):
        text, reference = ("".join(chance.choices(letters, k=30)) for _ in range(2))
        for stem in (False, True):
            ours, theirs = (
                lexical.rouge(text, [reference], kind="L", part="f1", stem=stem, tokenize=how).value
                for how in ("auto", "words")
            )
            assert ours == theirs
        assert lexical.f1(text, [reference]) == lexical.f1(text, [reference], tokenize="words")
        assert METRICS["meteor"](text, [reference]).value == pytest.approx(
            lexical.meteor(text, [reference], synonyms=False, tokenize="words").value
        )


def test_stems_are_those_of_rouge_score() -> None:
    text, reference = "running cats were easily flying", "runs cat was easy fly"
    for kind in lexical.KINDS:
        ours, theirs = (
            lexical.rouge(text, [reference], kind=kind, part="f1", stem=True, tokenize=how).value
            for how in ("auto", "words")
        )
        assert ours == theirs > 0 or kind == "2"


@pytest.mark.parametrize("text", ["cafe\u0301", "Vie\u0323\u0302t", "\u1100\u1161", "か\u3099"])
def test_an_accent_may_be_a_character_of_its_own(text: str) -> None:
    composed = unicodedata.normalize("NFC", text)
    assert composed != text
    for name, measure in METRICS.items():
        assert measure(text, [composed]).value == measure(composed, [composed]).value > 0, name
    assert lexical.levenshtein(text, [composed], steps=(), unit="character").value == 1
    assert lexical.chrf(text, [composed], word_order=0, lowercase=False).value == 1
    assert lexical.bleu(text, [composed], tokenize="13a", lowercase=False).value == 1


def test_bleu_takes_the_tokenizer_that_is_named() -> None:
    for name in lexical.TOKENIZERS:
        assert graders.bleu("今天天氣很好", tokenize=name) is not None  # type: ignore[arg-type]  # one of those it takes
    assert lexical.bleu("天氣很好", ["今天天氣很好"], tokenize="zh", lowercase=False).value > 0.4
    assert lexical.chrf("天氣很好", ["今天天氣很好"], word_order=2, lowercase=False).value > 0.3


def test_mecab_that_is_missing_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "ecab" in name.lower() else found(name))
    makers: list[Callable[[], object]] = [
        lambda: graders.bleu("a", tokenize="ja-mecab"),
        lambda: graders.f1("a", tokenize="ko-mecab"),
    ]
    for make in makers:
        with pytest.raises(SuiteError, match=r"is not installed: pip install 'pytest-evals-hf\[mecab\]'"):
            make()


def test_details_say_how_a_value_is_defined() -> None:
    assert "|tok:intl|smooth:exp|" in lexical.bleu("a", ["a"], tokenize="intl", lowercase=True).details["definition"]
    assert "nc:6|nw:2|" in lexical.chrf("a", ["a"], word_order=2, lowercase=False).details["definition"]
    rouge = lexical.rouge("a cat", ["a dog"], kind="1", part="recall", stem=True)
    assert rouge.details["definition"].endswith("rouge1, recall, Porter stemmer")
    assert (rouge.value, rouge.details["precision"]) == (0.5, 0.5)
    assert "no synonyms" in lexical.meteor("a", ["a"], synonyms=False).details["definition"]
    assert lexical.levenshtein("kitten", ["sitting"], steps=(), unit="character").reason == (
        "3 edits of 7 characters make 'kitten' of 'sitting'"
    )


@pytest.mark.parametrize("reference", [None, True, {}, [], "", "  ", ["a", ""], ["a", None], [["a"]]])
def test_a_missing_reference_is_refused_where_it_is_written(reference: Any) -> None:
    makers: list[Callable[..., Any]] = [graders.f1, graders.bleu, graders.chrf, graders.rouge, graders.levenshtein]
    for make in makers:
        with pytest.raises(SuiteError, match=f"{make.__name__}.* reference"):
            make(reference)


def test_references_are_texts_or_numbers() -> None:
    assert as_references((1, "b", 2.5), "f1") == ["1", "b", "2.5"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: graders.f1("a", threshold=50), "f1: threshold must be a number from 0 to 1"),
        (lambda: graders.bleu("a", threshold=math.nan), "bleu: threshold must be a number from 0 to 1"),
        (lambda: graders.bleu("a", tokenize="13b"), "not '13b'; did you mean '13a'?"),  # type: ignore[arg-type]  # the mistake
        (lambda: graders.chrf("a", word_order=3), "word_order must be 0 (chrF), 1 (chrF+) or 2 (chrF++), not 3"),  # type: ignore[arg-type]  # the mistake
        (lambda: graders.rouge("a", kind="3"), "kind must be one of 1, 2, L, Lsum, not '3'"),  # type: ignore[arg-type]  # the mistake
        (lambda: graders.rouge("a", measure="f2"), "measure must be one of f1, precision, recall"),  # type: ignore[arg-type]  # the mistake
        (lambda: graders.rouge("日本語", tokenize="words"), "ROUGE keeps only the letters a to z and digits"),
        (lambda: graders.rouge("...!"), "of the reference '...!' no word is left"),
        (
            lambda: graders.f1("a", tokenize="ja_mecab"),
            "or a function that returns the words of a text, not 'ja_mecab'; did you mean 'ja-mecab'?",
        ),
        (lambda: graders.rouge("a", tokenize=None), "rouge: tokenize must be one of auto, words, char, zh"),  # type: ignore[arg-type]  # the mistake
        (lambda: graders.levenshtein("a", tokenize="zh"), "tokenize= makes words, so it goes with unit='word'"),
        (lambda: graders.bleu("今天天氣很好"), "has Han, a script without spaces between words"),
        (lambda: graders.bleu("今天天氣很好"), "write tokenize='zh' (or '13a', if"),
        (lambda: graders.bleu(["a", "東京です"]), "write tokenize='ja-mecab' or 'char'"),
        (lambda: graders.bleu("สวัสดี"), "write tokenize='char'"),
        (lambda: graders.bleu("iPhone 15 很好"), "write tokenize='zh'"),
        (lambda: graders.levenshtein("a", unit="line"), "unit must be one of character, word"),  # type: ignore[arg-type]  # the mistake
        (lambda: graders.exact_match("a", normalize=["squad", "case"]), "'squad' cannot be combined with other steps"),
    ],
)
def test_a_mistake_in_a_setting_is_told_where_it_is_written(make: Callable[[], object], words: str) -> None:
    with pytest.raises(SuiteError) as caught:
        make()
    assert words in str(caught.value)


def test_a_package_that_is_not_installed_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    for make, package in (
        (graders.bleu, "sacrebleu"),
        (graders.rouge, "rouge_score"),
        (graders.levenshtein, "rapidfuzz"),
    ):
        with pytest.raises(SuiteError) as caught:
            make("a")
        assert str(caught.value) == (
            f"{make.__name__} needs the package {package!r}, which is not installed: pip install 'pytest-evals-hf[metrics]'"
        )


def test_meteor_says_which_command_brings_its_synonyms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical, "_folders", lambda: [tmp_path])
    with pytest.raises(SuiteError, match=r"python -m nltk\.downloader wordnet; meteor\(\.\.\., synonyms=False\)"):
        graders.meteor("a")
    assert graders.meteor("a", synonyms=False) is not None
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora/wordnet.zip").touch()
    assert graders.meteor("a") is not None


def test_meteor_looks_for_data_where_nltk_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk.data

    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    assert set(map(str, lexical._folders())) >= {path for path in nltk.data.path if path}
