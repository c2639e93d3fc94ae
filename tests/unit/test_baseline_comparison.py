"""What changed between two runs, grader by grader."""

from __future__ import annotations

import json
import math
import random
import statistics
from typing import Any

import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from pytest_evals.baselines.comparison import compare
from pytest_evals.baselines.pairing import run_differences
from pytest_evals.reports import formatting
from pytest_evals.reports.comparison import comparison_lines, flip_lines
from pytest_evals.reports.formatting import Column, fitted_table
from pytest_evals.scores.corpus import CorpusPart
from pytest_evals.scores.records import CaseRecord, GradeRecord

from .building import case_record, grade_record


def run_of(exact: str, close: list[float] | None = None, **arguments: Any) -> list[CaseRecord]:
    """Return a run: a case a digit of ``exact``, which is its grade; ``e`` is an error."""
    found = []
    for index, digit in enumerate(exact):
        grades = [
            grade_record(None, status="error") if digit == "e" else grade_record(float(digit), passed=digit == "1")
        ]
        if close:
            grades.append(grade_record(close[index], "close"))
        found.append(case_record(*grades, case_id=f"c{index}", **arguments))
    return found


def test_differences_are_those_of_the_references_adjusted_for_their_number() -> None:
    before, after = "1111111100e1", "1100000000" + "1e"
    was, now = [0.5, 0.25, 0.75, 1.0, 0.0, 0.5, 0.5, 0.25, 0.5, 0.0, 1.0, 1.0], [0.5] * 12
    comparison = compare(run_of(before, was), run_of(after, now))
    exact, close = comparison.changes
    reference = stats.binomtest(0, 6, 0.5).pvalue
    t_test = stats.ttest_rel(now, was)
    assert (exact.grader, len(exact.grades.pairs), exact.before, exact.after) == ("exact", 10, 0.8, 0.2)
    assert exact.difference is not None
    assert close.difference is not None
    assert (exact.difference.better, exact.difference.worse) == (0, 6)
    assert exact.difference.p == pytest.approx(reference)
    assert close.difference.p == pytest.approx(t_test.pvalue)
    assert close.difference.interval == pytest.approx(tuple(t_test.confidence_interval()))
    assert (exact.p, close.p) == pytest.approx((min(2 * reference, 1), max(t_test.pvalue, 2 * reference)))
    assert (exact.verdict, close.verdict) == ("unclear", "unclear")
    assert comparison.notes() == [
        "capitals.exact: 1 case not compared: no grade in the earlier run",
        "capitals.exact: 1 case not compared: no grade in the later run",
    ]


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ("1" * 20, "0" * 10 + "1" * 10, "worse"),
        ("0" * 10 + "1" * 10, "1" * 20, "better"),
        ("1" * 20, "0" * 2 + "1" * 18, "unclear"),
        ("10" * 5, "10" * 5, "same"),
        ("eee", "111", "-"),
    ],
)
def test_the_verdict_says_what_can_be_said(before: str, after: str, verdict: str) -> None:
    (change,) = compare(run_of(before), run_of(after)).changes
    assert change.verdict == verdict
    assert json.loads(json.dumps(change.to_row()))["verdict"] == verdict


def test_cases_of_one_cluster_count_as_one_witness() -> None:
    before, after = run_of("1" * 8), run_of("0" * 8)
    (alone,) = compare(before, after).changes
    clustered = [case_record(*record.grades, case_id=record.case_id, cluster="one document") for record in after]
    (together,) = compare(before, clustered).changes
    assert (alone.verdict, together.verdict) == ("worse", "unclear")


def test_cases_that_flipped_are_named_those_that_fell_first() -> None:
    close = [0.5, 0.5, 0.5, 0.5]
    comparison = compare(run_of("0110", close), run_of("1010", [0.5, 0.75, 0.25, 0.0]))
    exact, moved = comparison.changes
    assert [(flip.pair.case_id, flip.direction) for flip in exact.flips] == [("c1", "fell"), ("c0", "rose")]
    # Without verdicts, grades that moved, by how far.
    assert [(flip.pair.case_id, flip.direction) for flip in moved.flips] == [
        ("c3", "fell"),
        ("c2", "fell"),
        ("c1", "rose"),
    ]


def test_a_grade_that_moved_without_a_new_verdict_is_no_flip() -> None:
    def run(*values: tuple[float, bool]) -> list[CaseRecord]:
        return [
            case_record(grade_record(value, passed=passed), case_id=str(n)) for n, (value, passed) in enumerate(values)
        ]

    (change,) = compare(run((0.9, True), (0.4, False)), run((0.8, True), (0.6, True))).changes
    assert [flip.pair.case_id for flip in change.flips] == ["1"]
    assert change.difference is not None
    assert (change.difference.better, change.difference.worse) == (1, 1)


def test_a_grader_that_only_one_run_has_is_said() -> None:
    comparison = compare(run_of("11"), run_of("11", [0.5, 0.5]))
    assert [change.grader for change in comparison.changes] == ["exact", "close"]
    assert comparison.notes() == ["capitals.close: 2 cases not compared: only one of the runs has this grader"]


def test_corpus_level_metrics_are_of_the_compared_cases() -> None:
    def run(*counts: tuple[int, int], model: str = "m") -> list[CaseRecord]:
        grades = [GradeRecord("micro", hits / n, None, "graded", CorpusPart("ratio", (hits, n))) for hits, n in counts]
        return [case_record(grade, case_id=str(index), model=model) for index, grade in enumerate(grades)]

    comparison = compare(run((1, 10), (1, 2), (5, 5)), run((2, 10), (2, 2)))
    (change,) = comparison.changes
    assert change.corpus is not None
    assert (change.corpus.before, change.corpus.after) == pytest.approx((2 / 12, 4 / 12)), "the third case is gone"
    assert change.corpus.interval == pytest.approx((0.1, 0.5)), "that of either case alone"
    (note,) = [note for note in comparison.notes() if "corpus" in note]
    assert note.startswith(
        "capitals.micro: the corpus-level metric of the compared cases was 0.1667, and is 0.3333: +0.1667 "
        "(+0.1000 .. +0.5000, p = "
    )
    assert (change.to_row()["corpus_interval"], change.to_row()["corpus_verdict"]) == (
        pytest.approx([0.1, 0.5]),
        change.corpus.verdict,
    )
    (plain,) = compare(run_of("11"), run_of("11")).changes
    assert (plain.corpus, plain.to_row()["corpus_before"]) == (None, None)


def test_means_and_corpus_level_metrics_are_adjusted_together() -> None:
    generator = random.Random(0)  # noqa: S311 - made up counts

    def run(gain: int) -> list[CaseRecord]:
        counts = [(generator.randint(2, 5) + gain, 10) for _ in range(60)]
        grades = [GradeRecord("micro", hits / n, None, "graded", CorpusPart("ratio", (hits, n))) for hits, n in counts]
        return [case_record(grade, case_id=str(index)) for index, grade in enumerate(grades)]

    (change,) = compare(run(3), run(0)).changes
    assert change.difference is not None
    assert change.corpus is not None
    assert change.p == pytest.approx(2 * change.difference.p)
    assert (change.corpus.verdict, change.worse) == ("worse", True)
    # No draw was as far off: one of 2,001, and the mean's, which is smaller, came first.
    assert change.corpus.p == pytest.approx(1 / 2001)


def test_what_is_unclear_says_how_many_cases_would_tell() -> None:
    before, after = run_of("1" * 60 + "0" * 40), run_of("1" * 50 + "0" * 10 + "0" * 34 + "1" * 6)
    comparison = compare(before, after)
    (change,) = comparison.changes
    assert change.verdict == "unclear"
    deviation = statistics.stdev([-1] * 10 + [1] * 6 + [0] * 84)
    needed = TTestPower().solve_power(effect_size=0.05 / deviation, alpha=0.05, power=0.8)
    least = deviation * TTestPower().solve_power(nobs=100, alpha=0.05, power=0.8)
    expected = f"100 cases like these show a change of {least:.2g} or more; for one of 0.05 it takes about"
    assert comparison.hints() == [f"capitals.exact: {expected} {math.ceil(needed / 10) * 10}"]
    assert compare(before, before).hints() == []


def test_the_lines_fit_the_terminal() -> None:
    comparison = compare(
        run_of("1" * 20, [0.5] * 20, suite="a_suite_of_a_rather_long_name"),
        run_of("0" * 20, [5.0] * 20, suite="a_suite_of_a_rather_long_name", model="other"),
    )
    for width in (60, 80, 120, 200):
        lines = comparison_lines(comparison, width)
        assert max(map(len, lines)) <= width, lines
        assert any("worse" in line for line in lines)
    assert "before" in comparison_lines(comparison, 120)[0]
    flips = comparison.changes[0].flips
    assert len(flip_lines(flips, 80)) == len(flips) + 2
    assert [formatting.p_value(p) for p in (None, 0.0, 0.0494, 1)] == ["-", "<0.001", "0.049", "1.000"]


def test_a_table_shortens_texts_while_they_can_be_read_and_then_gives_up_the_least_needed_columns() -> None:
    columns = [
        Column("text", ["x" * 50, "a\x1b[31mb"]),
        Column("n", ["1", "22"], numeric=True),
        Column("extra", ["e", "e"], rank=2),
        Column("more", ["m", "m"], rank=1),
    ]
    wide = fitted_table(columns, 100)
    assert wide[0].split() == ["text", "n", "extra", "more"]
    assert wide[3].startswith("a\\x1b[31mb")
    shorter = fitted_table(columns, 40)
    assert shorter[0].split() == ["text", "n", "extra", "more"]
    assert shorter[2] == f"{'x' * 21}..   1  e      m"
    narrow = fitted_table(columns, 30)
    assert narrow[0].split() == ["text", "n", "more"]
    assert narrow[2:] == [f"{'x' * 18}..   1  m", "a\\x1b[31mb            22  m", "no room for: extra"]
    assert fitted_table(columns, 20)[4:] == ["no room for: extra,", "    more"]


def test_what_the_runs_were_made_with_is_compared_as_far_as_both_recorded_it() -> None:
    suite = {"name": "capitals", "dataset_key": "a.jsonl", "dataset_hash": "f" * 16, "n": 2}
    before = {
        "seed": 0,
        "packages": {"torch": "2.11"},
        "options": {"limit": None},
        "models": [{"model": "m"}],
        "suites": [suite],
    }
    assert run_differences([before], [before]) == []
    after = {
        "seed": 1,
        "options": {"limit": 5},
        "models": [{"model": "m", "dtype": "bf16"}],
        "suites": [{**suite, "dataset_hash": "e" * 16}],
        "platform": "Linux",
    }
    assert run_differences([before], [after]) == [
        "seed: 0 then, 1 now",
        "option limit: null then, 5 now",
        "dataset of capitals: a.jsonl (2 cases, ffffffff) then, a.jsonl (2 cases, eeeeeeee) now",
    ]
