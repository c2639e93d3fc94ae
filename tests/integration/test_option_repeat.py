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
