"""Corpus-level metrics of two runs, against sacrebleu's paired bootstrap."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from pytest_evals.baselines.comparison import CorpusChange, corpus_change, resampled_corpora
from pytest_evals.scores.corpus import CorpusPart
from tests.unit.test_scores_corpus import corpus, metrics

SEED, RESAMPLES = 12345, 300
"""The seed is the one that sacrebleu takes by default."""


def parts(kind: str, metric: Any, hypotheses: list[str], references: list[list[str]]) -> list[list[CorpusPart]]:
    return [
        [CorpusPart(kind, tuple(metric._extract_corpus_statistics([text], [[reference] for reference in row])[0]))]
        for text, row in zip(hypotheses, references, strict=True)
    ]


def test_cases_are_drawn_as_sacrebleu_draws_them() -> None:
    significance = pytest.importorskip("sacrebleu.significance")
    before, references = corpus(1, 60)
    after = [text if index % 3 else row[0] for index, (text, row) in enumerate(zip(before, references, strict=True))]
    single = [[row[0] for row in references]]
    for kind, metric in metrics():
        test = significance.PairedTest(
            [("before", before), ("after", after)], {kind: metric}, single, test_type="bs", n_samples=RESAMPLES
        )
        _, found = test()
        (name,) = [key for key in found if key != "System"]
        theirs = found[name][1]
        runs = [parts(kind, metric, texts, [[row[0]] for row in references]) for texts in (before, after)]
        drawn = resampled_corpora(runs, range(60), resamples=RESAMPLES, seed=SEED)[:, 1]
        # Theirs are sums in 32 bits.
        assert drawn.mean() * 100 == pytest.approx(theirs.mean, abs=1e-3)
        ends = numpy.sort(drawn * 100)[[int(RESAMPLES * 0.025), int(RESAMPLES * 0.975) - 1]]
        assert (ends[1] - ends[0]) / 2 == pytest.approx(theirs.ci, rel=0.05)
        change = corpus_change(runs[0], runs[1])
        assert change is not None
        assert change.after * 100 == pytest.approx(theirs.score, abs=1e-3)
        assert change.interval is not None
        assert 0 < change.interval.low < change.difference < change.interval.high
        assert (change.verdict, theirs.p_value < 0.05) == ("better", True)


def test_nothing_is_said_of_too_few_cases_and_of_no_change() -> None:
    one, two = [[CorpusPart("ratio", (1, 2))]], [[CorpusPart("ratio", (1, 2))], [CorpusPart("ratio", (3, 4))]]
    assert corpus_change(one, [[CorpusPart("ratio", (2, 2))]]) == CorpusChange(0.5, 1.0)
    assert corpus_change(two, two, ["a", "a"]) == CorpusChange(2 / 3, 2 / 3)
    same = corpus_change(two, two)
    assert same is not None
    assert (same.verdict, same.p) == ("same", 1)
    assert corpus_change(one, [[CorpusPart("bleu", (1, 2))]]) is None
    assert corpus_change([], []) is None


def test_clusters_are_drawn_as_a_whole() -> None:
    generator = numpy.random.default_rng(0)
    gains = generator.integers(0, 3, 10)
    before = [[CorpusPart("ratio", (5, 10))] for _ in range(50)]
    after = [[CorpusPart("ratio", (5 + int(gains[index % 10]), 10))] for index in range(50)]
    alone, together = corpus_change(before, after), corpus_change(before, after, [index % 10 for index in range(50)])
    assert alone is not None
    assert together is not None
    assert alone.interval is not None
    assert together.interval is not None
    assert together.interval.high - together.interval.low > 1.8 * (alone.interval.high - alone.interval.low)
