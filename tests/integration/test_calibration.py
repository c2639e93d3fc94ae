"""People's labels beside a judge's grades: in the score card, in the artifact, and for other suites of the same judge."""

from __future__ import annotations

import json

import pytest

from pytest_evals import calibrate
from pytest_evals.errors import SuiteError

from .conftest import Evals

SCRIPT = '''
def answer(messages):
    return "good" if "good" in messages[-1]["content"] else "bad"


def judge(messages):
    """Takes "fine" for good, which people do not."""
    answer = messages[-1]["content"].split("[BEGIN ANSWER")[1].split("[END ANSWER")[0]
    return "PASS" if "good" in answer or "fine" in answer else "FAIL"
'''
SUITE = """
from pytest_evals import cases, graders

right = graders.judge.binary("is good")

@cases("golden.jsonl", label="human", id="id")
def test_golden(right): ...

@cases([{"q": f"{'good' if n < 6 else 'bad'} {n}"} for n in range(10)], prompt="{{item.q}}", gates=["right.mean >= 0.5"])
def test_new(right): ...
"""


def golden(**changes: object) -> str:
    rows: list[dict[str, object]] = [
        {"id": f"g{number}", "completion": f"{word} {number}", "human": human}
        for number, (word, human) in enumerate([("good", "PASS")] * 10 + [("bad", "FAIL")] * 8 + [("fine", "FAIL")] * 2)
    ]
    rows[-1] |= changes
    return "\n".join(json.dumps(row) for row in rows)


def test_a_labelled_suite_tells_how_far_its_judge_can_be_trusted(evals_both: Evals) -> None:
    evals_both.write(SUITE, SCRIPT, golden__jsonl=golden())
    result = evals_both.run("--evals-judge", "scripted:script:judge", "-v")
    assert result.ret == 0
    text = " ".join(line.strip() for line in result.outlines)
    assert "people and right in test_golden agree on 90% (n=20); kappa 0.80 [0.54, 1.00]; alpha 0.80 [" in text
    assert "right passes 100% of the good and fails 80% of the bad answers, as people see them: they pass 50%" in text
    assert "test_new[answer]: right passes 60%, corrected 50% [" in text
    result.stdout.fnmatch_lines(["people  right", "        0   1", "     0  8   2", "     1  0  10"])
    artifact = evals_both.artifact
    assert artifact.summary is not None
    (made,) = artifact.summary.calibrations
    assert (made["grader"], made["n"], made["agreement"]) == ("right", 20, 0.9)
    assert made["accuracy"] == {
        "true_passes": 10, "passes": 10, "true_fails": 8, "fails": 10, "sensitivity": 1.0, "specificity": 0.8
    }  # fmt: skip
    (rate,) = [rate for rate in made["rates"] if rate["suite"] == "test_new"]
    assert (rate["raw"], rate["corrected"]) == pytest.approx((0.6, 0.5))
    assert {sample.case_id: sample.label for sample in artifact.samples}["g0"] == {"right": 1.0}
    # From Python, with the artifact alone: by what the suite said, or by a field of the rows.
    (again,) = calibrate(artifact)
    assert (again.n, again.agreement) == (20, 0.9)
    with pytest.raises(SuiteError, match="the label 'PASS' is not a number"):
        calibrate(artifact, grader="right", label="human")
    with pytest.raises(SuiteError, match="no case has both a grade and a label"):
        calibrate(artifact, suite="test_new")


def test_labels_that_make_no_sense_are_collection_errors_with_their_line(evals: Evals) -> None:
    evals.write(SUITE, SCRIPT, golden__jsonl=golden(human="good"))
    result = evals.run("--evals-judge", "scripted:script:judge")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*golden.jsonl:20: grader right: the label 'good' is not on the scale (PASS, FAIL, NA)*"]
    )
    assert not evals.path.exists()
