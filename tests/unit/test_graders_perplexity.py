"""Perplexity of a text from its log-likelihood, and of a corpus from those of its texts."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from pytest_evals import graders
from pytest_evals.baselines.comparison import compare, corpus_change
from pytest_evals.completion import Likelihood
from pytest_evals.errors import GradeError, SuiteError
from pytest_evals.graders.perplexity import check_text, measure, words_of
from pytest_evals.scores.corpus import CorpusPart, combine, part_data, part_of
from pytest_evals.scores.records import CaseRecord, GradeRecord
from pytest_evals.scores.score import compute_score
from tests.unit.building import case_record

LOGPROB = -12.0
TEXT = "Zwölf Bären\ntanzen"
FOUND = Likelihood(TEXT, LOGPROB, 6, len(TEXT.encode()))


# -- one text


@pytest.mark.parametrize(("per", "count"), [("token", 6), ("byte", 20), ("word", 3)])
def test_perplexity_is_e_to_the_mean_surprise_of_a_unit(per: Any, count: int) -> None:
    assert measure(FOUND, per).value == pytest.approx(math.exp(12 / count))
    assert measure(FOUND, per, bits=True).value == pytest.approx(12 / count / math.log(2))


def test_perplexity_is_two_to_the_bits() -> None:
    assert 2 ** measure(FOUND, "byte", bits=True).value == pytest.approx(measure(FOUND, "byte").value)


def test_a_model_that_guesses_one_of_n_tokens_has_perplexity_n() -> None:
    for n in (1, 2, 50_000):
        assert measure(Likelihood("abc", 3 * math.log(1 / n), 3, 3), "token").value == pytest.approx(n)


def test_a_grade_keeps_what_the_value_is_made_of() -> None:
    assert measure(FOUND, "word").details == {
        "definition": "perplexity a word",
        "logprob": -12.0,
        "tokens": 6,
        "bytes": 20,
        "words": 3,
        "bits_per_byte": pytest.approx(12 / math.log(2) / 20),
        "corpus": {"kind": "perplexity", "counts": [12.0, 3]},
    }


def test_the_reason_says_of_what_it_is() -> None:
    assert measure(FOUND, "token").reason == (
        "perplexity a token 7.389 of 'Zwölf Bären\\ntanzen' (6 tokens, log-likelihood -12.0000)"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [("a", 1), ("a b", 2), ("a  b\n\nc", 3), (" a b ", 4), ("\n", 2), ("\u00a0x", 2), ("日本語", 1), ("a\u3000b", 2)],
)
def test_words_are_counted_as_lm_evaluation_harness_does(text: str, words: int) -> None:
    assert words_of(text) == words


def test_a_probability_above_1_is_an_error_and_no_low_perplexity() -> None:
    with pytest.raises(GradeError, match=r"a log-likelihood is at most 0, and the model gave 0\.5"):
        measure(Likelihood("a", 0.5, 1, 1), "token")


def test_a_perplexity_too_large_for_a_number_is_an_error_and_its_bits_are_none() -> None:
    rare = Likelihood("a", -5000.0, 1, 1)
    with pytest.raises(GradeError, match=r"the perplexity a token is exp\(5000\), too large for a number; bits=True"):
        measure(rare, "token")
    assert measure(rare, "token", bits=True).value == pytest.approx(5000 / math.log(2))


@pytest.mark.parametrize("text", ["", None, 5, ["a"], {"a": "b"}])
def test_only_a_text_has_a_perplexity(text: object) -> None:
    with pytest.raises(SuiteError, match="perplexity: text must be a text that is not empty, not "):
        check_text(text)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"per": "character"}, "perplexity: per must be one of token, byte, word, not 'character'"),
        ({"threshold": 0.5}, "perplexity: threshold must be a number of at least 1, not 0.5"),
        ({"threshold": True}, "perplexity: threshold must be a number of at least 1, not True"),
        ({"threshold": math.nan}, "perplexity: threshold must be a number of at least 1, not nan"),
        ({"threshold": -1, "bits": True}, "perplexity: threshold must be a number of at least 0, not -1"),
        ({"text": ""}, "perplexity: text must be a text that is not empty, not ''"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_where_it_is_written(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SuiteError) as caught:
        graders.perplexity(**{"text": "item.text", **settings})
    assert str(caught.value) == words


# -- a corpus


def parts(bits: bool) -> list[CorpusPart]:
    chance = random.Random(3)  # noqa: S311 - numbers for a test
    found = []
    for _ in range(50):
        tokens = chance.randint(1, 400)
        likelihood = Likelihood("x" * tokens, -tokens * chance.uniform(0.5, 6), tokens, tokens)
        part = part_of(measure(likelihood, "token", bits=bits).details)
        assert part is not None
        found.append(part)
    return found


def test_the_corpus_value_is_of_summed_likelihoods_over_summed_counts() -> None:
    found = parts(bits=False)
    nats, tokens = (math.fsum(part.counts[column] for part in found) for column in (0, 1))
    value = combine(found)
    assert value == pytest.approx(math.exp(nats / tokens))
    assert value != pytest.approx(sum(math.exp(part.counts[0] / part.counts[1]) for part in found) / 50, rel=0.01)
    assert combine(parts(bits=True)) == pytest.approx(nats / tokens / math.log(2))


@pytest.mark.parametrize("counts", [[1e308, 1], [5, 0], [0, 0]])
def test_counts_that_give_no_number_give_no_value(counts: list[float]) -> None:
    part = part_of(part_data("perplexity", counts))
    assert part is not None
    assert combine([part]) is None


def grade(nats: float, tokens: int = 10) -> GradeRecord:
    value = math.exp(nats / tokens)
    return GradeRecord("ppl", value, None, "graded", CorpusPart("perplexity", (nats, tokens)))


def records(values: list[float]) -> list[CaseRecord]:
    return [case_record(grade(value), case_id=f"c{number}", number=number) for number, value in enumerate(values)]


def test_a_perplexity_of_1_is_no_verdict() -> None:
    score = compute_score("s", "m", "ppl", records([0.0, 0.0]))
    assert (score.mean, score.corpus, score.has_verdicts, score.bounds) == (1.0, 1.0, False, None)


def test_a_lower_perplexity_is_better() -> None:
    before = [20 + number / 10 for number in range(30)]
    after = [nats - 5 + (number % 3) / 10 for number, nats in enumerate(before)]
    for was, now, verdict in ((before, after, "better"), (after, before, "worse"), (before, before, "same")):
        (change,) = compare(records(was), records(now)).changes
        assert change.verdict == verdict
        assert change.worse == (verdict == "worse")
        former, later = ([[CorpusPart("perplexity", (nats, 10))] for nats in run] for run in (was, now))
        whole = corpus_change(former, later)
        assert whole is not None
        assert whole.verdict == verdict


def test_of_other_metrics_a_higher_value_is_better_as_before() -> None:
    before, after = ([[CorpusPart("ratio", (part + number % 3, 10))] for number in range(30)] for part in (3, 6))
    change = corpus_change(before, after)
    assert change is not None
    assert change.verdict == "better"
