"""Judges by probability in whole runs: abstentions, corrected means, gates, replays, and judges behind a server."""

from __future__ import annotations

import math

import pytest

from pytest_evals import calibrate
from pytest_evals.errors import SuiteError
from tests.openai_server import Body, Reply, ScriptedServer, said

from .conftest import Evals

SCRIPT = '''
import math


def answer(messages):
    return "unused"


def score(messages, text):
    """Finds an answer as good as its number says, from 0 to 9."""
    judged = messages[-1]["content"].split("[BEGIN ANSWER")[1].split("[END ANSWER")[0]
    good = (int(judged.strip().split()[-1]) + 0.5) / 10
    if text.isdigit():
        return math.log(good if text == "1" else 1 - good)
    return math.log({"PASS": 0.9 * good, "FAIL": 0.9 * (1 - good), "NA": 0.1}[text])
'''
# People pass answers from 6 on, and have seen every second one.
SUITE = """
from pytest_evals import cases, graders

right = graders.judge.binary("is good", by="probability", abstain=(0.5, 0.6))
quality = graders.judge.rubric({"is good": 1}, by="probability")
fine = graders.judge.scale("is fine", low=0, high=1, by="probability")
ROWS = [
    {"id": f"c{n}", "completion": f"{n // 10} {n % 10}", **({"human": int(n % 10 > 5)} if n % 4 < 2 else {})}
    for n in range(40)
]

@cases(ROWS, prompt="How?", id="id", label={"right": "human", "fine": "human"},
       gates=["right.corrected >= 0.3", "right.corrected_low >= 0.1", "quality.corrected >= 0.5"])
def test_it(right, quality, fine):
    assert quality == quality["is_good"]
"""


def test_probabilities_are_graded_abstained_from_calibrated_and_corrected(evals: Evals) -> None:
    evals.write(SUITE, SCRIPT)
    result = evals.run("--evals-judge", "scripted:script:answer", "-v")
    artifact = evals.artifact
    grades = {sample.case_id: {grade.grader_key: grade for grade in sample.grades} for sample in artifact.samples}
    right = grades["c7"]["right"]
    assert right.value == pytest.approx(0.75)
    assert right.passed
    assert right.metadata["probabilities"] == {"PASS": 0.675, "FAIL": 0.225, "NA": 0.1}
    assert grades["c5"]["right"].status == "not_applicable"
    assert grades["c5"]["right"].metadata["abstained"] == pytest.approx(0.55)
    assert grades["c5"]["quality"].value == pytest.approx(0.55)
    assert grades["c5"]["fine"].value == pytest.approx(0.55)
    text = " ".join(line.strip() for line in result.outlines)
    assert "test_it: right abstained on 4 of 40 cases, which count as not applicable" in text
    assert "probabilities of right in test_it: Brier score 0." in text
    assert "mean of fine 0.500, corrected 0.4" in text
    assert (
        "by 20 labels of 40 cases (prediction-powered inference); with so few labels the interval is too narrow" in text
    )
    result.stdout.fnmatch_lines(["*range  n  right  people", "gate PASSED*right.corrected >= 0.3*"])
    assert "it takes labels of two cases or more, and cases without one, and 0 of 40 have one" in text
    assert artifact.summary is not None
    # What a judge computes is part of the throughput, also where it writes nothing: three questions about each case.
    (use,) = artifact.summary.throughput["models"]
    assert (use["model"], use["completions"], use["completion_tokens"]) == ("scripted:script:answer", 120, 0)
    made = {entry["grader"]: entry for entry in artifact.summary.calibrations}
    assert made["right"]["n"] == 18
    assert made["right"]["reliability"]["n"] == 18
    assert made["fine"]["corrected"]["labelled"] == 20
    (row,) = [row for row in artifact.scores() if row["grader"] == "fine"]
    assert row["corrected"] == pytest.approx(made["fine"]["corrected"]["mean"])
    assert row["corrected_low"] < row["corrected"] < row["corrected_high"]
    (fitted,) = calibrate(artifact, grader="fine", fit="accuracy")
    assert fitted.fitted is not None
    assert fitted.fitted.threshold == pytest.approx(0.6)
    assert fitted.fitted.value == 1.0
    with pytest.raises(SuiteError, match="fitted by accuracy, f1, youden, not by 'auc'"):
        calibrate(artifact, fit="auc")  # type: ignore[arg-type]  # what it refuses
    replayed = evals.run(
        "--evals-replay",
        "run.jsonl",
        "--evals-artifact",
        "again.jsonl",
        "--evals-judge",
        "scripted:script:answer",
        model=None,
    )
    assert "right abstained on 4 of 40 cases" in replayed.stdout.str()


def test_a_served_judge_is_asked_for_log_probabilities(evals: Evals) -> None:
    def echo(body: Body, _asked: int) -> Reply:
        text, likely = said(body), {"PASS": math.log(0.6), "FAIL": math.log(0.2)}
        choice = next((each for each in likely if text.endswith(each)), "")
        before = text.removesuffix(choice).split(" ")
        words = [*(f"{' ' * (place > 0)}{word}" for place, word in enumerate(before)), *([choice] if choice else [])]
        values = [None, *(likely.get(word, -3.0) for word in words[1:])]
        return Reply("x", logprobs={"tokens": words, "token_logprobs": values})

    server = ScriptedServer(echo).start()
    try:
        evals.write(
            """
from pytest_evals import cases, graders

right = graders.judge.binary("is good", by="probability", not_applicable=False, system="")

@cases([{"id": "a", "completion": "Paris"}], prompt="Capital?", id="id")
def test_it(right):
    assert right
"""
        )
        evals.run("--evals-judge", f"openai:tiny@{server.url}?template=none").assert_outcomes(passed=1)
    finally:
        server.stop()
    (grade,) = evals.artifact.samples[0].grades
    assert grade.value == pytest.approx(0.75)
    assert grade.metadata["mass"] == pytest.approx(0.8)


def test_a_judge_without_likelihoods_is_an_error_that_says_so(evals: Evals) -> None:
    script = 'def answer(messages):\n    return "PASS"\n'
    evals.write(SUITE, script)
    result = evals.run("--evals-judge", "scripted:script:answer", "-k", "c39")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*judge.binary: by='probability' needs a judge that tells how likely its replies are*"]
    )
