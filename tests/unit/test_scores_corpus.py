"""Corpus-level metrics from the counts of single cases, against sacrebleu's own over the whole corpus."""

from __future__ import annotations

import random
from typing import Any

import numpy
import pytest

from pytest_evals.baselines.comparison import resampled_corpora
from pytest_evals.baselines.pairing import join
from pytest_evals.gates import GateResult, judge, parse_gate
from pytest_evals.gates.regression import compare, decide
from pytest_evals.scores.corpus import CorpusPart, bleu, chrf, combine, part_data, part_of, ratio
from pytest_evals.scores.records import GradeRecord
from pytest_evals.scores.score import compute_score
from tests.unit.building import case_record

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "under",
    "mat",
    "hat",
    "big",
    "small",
    "red",
    ",",
    ".",
    "!",
    "Café",
    "über",
    "42",
]


def corpus(seed: int, size: int, longest: int = 14) -> tuple[list[str], list[list[str]]]:
    """Return hypotheses, and one to three references of each: some empty, some equal, most overlapping."""
    chance = random.Random(seed)  # noqa: S311 - texts for a test
    texts = [[" ".join(chance.choices(WORDS, k=chance.randint(0, longest))) for _ in range(4)] for _ in range(size)]
    references = [[text for text in row[1 : 2 + chance.randrange(3)] if text] or ["cat"] for row in texts]
    return [
        row[0] if chance.random() < 0.8 else refs[0] for row, refs in zip(texts, references, strict=True)
    ], references


def columns(references: list[list[str]]) -> list[list[str | None]]:
    """Return references as sacrebleu takes them: first ones, second ones and so on, with gaps."""
    most = max(map(len, references))
    return [[row[index] if index < len(row) else None for row in references] for index in range(most)]


def metrics() -> list[tuple[str, Any]]:
    sacrebleu = pytest.importorskip("sacrebleu.metrics")
    return [("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF()), ("chrf", sacrebleu.CHRF(word_order=2))]


@pytest.mark.parametrize(("seed", "size", "longest"), [(1, 200, 14), (2, 40, 5), (3, 3, 3), (4, 1, 14)])
def test_summed_counts_give_the_reference_librarys_corpus_score(seed: int, size: int, longest: int) -> None:
    hypotheses, references = corpus(seed, size, longest)
    for kind, metric in metrics():
        parts = [
            CorpusPart(kind, tuple(metric._extract_corpus_statistics([text], [[reference] for reference in row])[0]))
            for text, row in zip(hypotheses, references, strict=True)
        ]
        theirs = metric.corpus_score(hypotheses, columns(references)).score / 100
        assert combine(parts) == pytest.approx(theirs, abs=1e-12)


def test_a_corpus_score_is_not_the_mean_of_its_cases() -> None:
    short, long = (
        CorpusPart("bleu", (4, 4, 4, 3, 2, 1, 4, 3, 2, 1)),
        CorpusPart("bleu", (40, 40, 4, 3, 2, 1, 40, 39, 38, 37)),
    )
    whole = combine([short, long])
    assert whole is not None
    assert abs(whole - (bleu(short.counts) + bleu(long.counts)) / 2) > 0.2


def test_counts_without_a_match_are_zero_and_without_a_denominator_nothing() -> None:
    assert bleu([0] * 10) == chrf([0] * 18) == 0
    assert ratio([0, 0]) is None
    assert ratio([3, 4]) == 0.75


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"corpus": "my own words"},
        {"corpus": {"kind": "bleu", "counts": [1, 2]}},
        {"corpus": {"kind": "of a later version", "counts": [1, 2]}},
        {"corpus": {"kind": ["ratio"], "counts": [1, 2]}},
        {"corpus": {"kind": "ratio", "counts": [1, -2]}},
        {"corpus": {"kind": "ratio", "counts": [1, "2"]}},
        {"corpus": {"kind": "ratio", "counts": [True, 2]}},
        {"corpus": {"kind": "ratio", "counts": [1, float("nan")]}},
        {"corpus": {"kind": "ratio", "counts": 2}},
    ],
)
def test_what_is_no_part_of_a_corpus_metric_is_left_alone(metadata: Any) -> None:
    assert part_of(metadata) is None


def test_parts_of_different_metrics_have_no_common_value() -> None:
    assert part_of(part_data("ratio", [1, 2])) == CorpusPart("ratio", (1, 2))
    assert combine([CorpusPart("ratio", (1, 2)), CorpusPart("bleu", (1,) * 10)]) is None
    assert combine([CorpusPart("chrf", (1,) * 18), CorpusPart("chrf", (1,) * 24)]) is None


def record(counts: tuple[float, float] | None, **fields: Any) -> Any:
    part = CorpusPart("ratio", counts) if counts else None
    return case_record(GradeRecord("wer", 0.5, None, "graded", part), **fields)


def test_gates_judge_the_corpus_and_its_slices() -> None:
    records = [record((1, 2), level="easy"), record((9, 10), level="hard"), record((8, 10), level="hard")]

    def judged(text: str, cases: list[Any]) -> tuple[str, float | None, str]:
        result = judge(parse_gate(text), "suite", "model", "wer", cases, missing=0, floor=False)
        return result.verdict, result.value, result.reason

    assert judged("wer.corpus >= 0.8", records)[:2] == ("passed", 18 / 22)
    assert judged("wer[level=hard].corpus > 0.85", records)[:2] == ("failed", 17 / 20)
    verdict, value, reason = judged("wer.corpus >= 0", [*records, record(None)])
    assert (verdict, value) == ("failed", None)
    assert reason.startswith("its grades bring no counts of a corpus-level metric")


def bleu_run(hypotheses: list[str], references: list[list[str]], metric: Any) -> list[Any]:
    counts = [
        metric._extract_corpus_statistics([text], [[reference] for reference in row])[0]
        for text, row in zip(hypotheses, references, strict=True)
    ]
    return [
        case_record(GradeRecord("bleu", 0.5, None, "graded", CorpusPart("bleu", tuple(each))), case_id=f"k{number}")
        for number, each in enumerate(counts)
    ]


def test_a_corpus_metric_is_compared_with_a_baseline_by_paired_resampling() -> None:
    metric = pytest.importorskip("sacrebleu.metrics").BLEU()
    hypotheses, references = corpus(11, 60)
    good = [
        row[0] if number % 3 else text for number, (text, row) in enumerate(zip(hypotheses, references, strict=True))
    ]
    worse = [text if number != 1 else "an other one" for number, text in enumerate(good)]
    texts = {"good": good, "bad": hypotheses, "worse": worse}
    runs = {name: bleu_run(found, references, metric) for name, found in texts.items()}

    def judged(text: str, before: str, after: str) -> GateResult:
        joined = join(runs[before], runs[after]).of("capitals", "smollm2")
        (result,) = decide(
            [compare(parse_gate(text), "capitals", "smollm2", "bleu", runs[after], joined, missing=0, floor=False)]
        )
        return result

    same = judged("bleu.corpus >= baseline", "good", "good")
    assert same.verdict == "passed"
    assert same.value == pytest.approx(metric.corpus_score(good, columns(references)).score / 100)
    fallen = judged("bleu.corpus >= baseline - 0.02", "good", "bad")
    assert fallen.verdict == "regressed"
    assert fallen.value == pytest.approx(metric.corpus_score(hypotheses, columns(references)).score / 100)
    assert judged("bleu.corpus >= baseline", "good", "worse").verdict == "inconclusive"
    assert judged("bleu.corpus <= baseline", "good", "bad").verdict == "passed"
    # The same draws, each computed by sacrebleu from the texts that were drawn.
    scores = [compute_score("s", "m", "bleu", runs[name]) for name in ("good", "bad")]
    drawn = resampled_corpora([[case.parts for case in score.cases] for score in scores], range(60))
    for row, chosen in zip(drawn[:5], numpy.random.default_rng(0).integers(0, 60, (2000, 60)), strict=False):
        for value, found in zip(row, (good, hypotheses), strict=True):
            theirs = metric.corpus_score([found[i] for i in chosen], columns([references[i] for i in chosen]))
            assert value == pytest.approx(theirs.score / 100, abs=1e-12)


def test_a_corpus_metric_leaves_out_what_the_denominator_leaves_out() -> None:
    lost = GradeRecord("wer", None, None, "error")
    graded = GradeRecord("wer", 0.5, None, "graded", CorpusPart("ratio", (1, 4)))
    score = compute_score("suite", "model", "wer", [case_record(graded), case_record(lost)])
    assert (score.corpus, score.n, score.errors) == (0.25, 1, 1)
    assert compute_score("suite", "model", "wer", [case_record(lost)]).corpus is None
