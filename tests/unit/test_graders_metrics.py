"""Metrics beside their reference libraries, and what their authors are told of mistakes where they make them."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.metrics_table import comparisons, differences, pairs
from pytest_evals import graders
from pytest_evals.errors import SuiteError
from pytest_evals.graders.metrics import lexical
from pytest_evals.graders.metrics.base import as_references

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
        (lambda: graders.rouge("日本語"), "ROUGE keeps only the letters a to z and digits"),
        (lambda: graders.levenshtein("a", unit="line"), "unit must be one of character, word"),  # type: ignore[arg-type]  # the mistake
        (lambda: graders.exact_match("a", normalize=["squad", "case"]), "'squad' is a whole of its own"),
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
