"""``--evals-repeat`` and ``cases(repeat=...)``: each case several times, as items of their own."""

from __future__ import annotations

from .conftest import Evals

SUITE = """
from pytest_evals import cases, grader

@grader
def even(completion):
    return int(completion.text) % 2 == 0

@cases(
    [{"id": "a", "q": "x"}, {"id": "b", "q": "y"}, {"id": "c", "q": "z", "completion": "4"}],
    id="id", prompt="{{item.q}}", repeat=2, gates=["even.mean >= 0.5"], generation={"temperature": 1.0},
)
def test_it(even):
    assert even
"""
COUNTING = """
import itertools
numbers = itertools.count()

def answer(messages):
    return str(next(numbers))
"""


def test_repeats_are_items_with_ids_and_their_gates_see_them_all(evals_both: Evals) -> None:
    evals_both.write(SUITE, COUNTING)
    result = evals_both.run("--evals-repeat", "3")
    result.assert_outcomes(passed=4, xfailed=3)
    samples = evals_both.artifact.samples
    names = sorted(sample.nodeid.rpartition("[")[2] for sample in samples)
    assert names == ["a-r1]", "a-r2]", "a-r3]", "b-r1]", "b-r2]", "b-r3]", "c]"]
    assert sorted((sample.case_id, sample.repeat) for sample in samples)[:3] == [("a", 1), ("a", 2), ("a", 3)]
    assert len({sample.id for sample in samples}) == 7
    summary = evals_both.artifact.summary
    assert summary is not None
    assert [(gate["verdict"], gate["n"]) for gate in summary.gates] == [("passed", 1), ("passed", 6)]


def test_the_suite_says_how_often_and_one_repeat_leaves_a_gate_unjudged(evals: Evals) -> None:
    evals.write(SUITE, COUNTING)
    listed = evals.run("--collect-only", "-q").stdout
    listed.fnmatch_lines([f"test_suite.py::test_it[[]{name}[]]" for name in ("c", "a-r1", "a-r2", "b-r1", "b-r2")])
    evals.run("-k", "a-r2").stdout.fnmatch_lines(["*NOT JUDGED*3 of 4 cases did not run*"])


def test_a_number_of_repeats_that_makes_no_sense_is_refused(evals: Evals) -> None:
    evals.write(SUITE, COUNTING)
    result = evals.run("--evals-repeat", "0")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --evals-repeat: must be at least 1, not 0"])


VARIANTS = """
import pytest
from pytest_evals import cases, grader

@grader
def polite(completion, tone):
    return tone == "kind"

@pytest.mark.parametrize("tone", ["kind", "rude"])
@cases([{"id": "a"}, {"id": "b"}], id="id", prompt="Say {{item.id}}", gates=["polite.mean >= 0.5"])
def test_it(polite, tone):
    assert polite
"""


def test_what_parametrize_makes_of_a_row_are_cases_and_no_repeats(evals_both: Evals) -> None:
    evals_both.write(VARIANTS, "def answer(messages):\n    return 'yes'\n")
    evals_both.run("--evals-repeat", "2")
    evals_both.path.rename(evals_both.path.with_name("before.jsonl"))
    result = evals_both.run(
        "--evals-baseline", "before.jsonl", "--evals-repeat", "2", "--evals-gate", "polite.mean >= baseline"
    )
    result.assert_outcomes(passed=4, xfailed=4)
    samples = evals_both.artifact.samples
    names = [f"{row}-{tone}" for row in "ab" for tone in ("kind", "rude")]
    assert sorted((sample.case_id, sample.repeat) for sample in samples) == [
        (name, n) for name in names for n in (1, 2)
    ]
    assert {(sample.case_id[0], sample.cluster) for sample in samples} == {("a", "a"), ("b", "b")}
    (score,) = evals_both.artifact.scores()
    # Both rows have the same mean: between them, which is what repeats and variants of rows are not, nothing differs.
    assert (score["n"], score["cases"], score["repeats"], score["mean"], score["stderr"]) == (8, 4, 2, 0.5, 0)
    result.stdout.fnmatch_lines(["*2 of each of 4 cases*none flaky*", "gate PASSED *baseline: 0.5 against 0.5*"])
    assert "flaky:" not in result.stdout.str()
