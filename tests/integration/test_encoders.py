"""Classifiers and reward models as graders in whole runs, with a script in their place."""

from __future__ import annotations

import json
import random

import pytest

from .conftest import Evals

SCRIPT = '''
def answer(messages):
    return "rude words" if "2" in messages[-1]["content"] else "kind words"


def classify(messages):
    """A classifier of texts, pairs and conversations."""
    if messages[-1]["role"] == "assistant":
        return {"scores": {"LABEL_0": 2.5 if "kind" in messages[-1]["content"] else -1.5}}
    if len(messages) == 2:
        return {"scores": {"entailment": float(messages[1]["content"].split()[0] in messages[0]["content"]), "neutral": 0.1}}
    rude = "rude" in messages[0]["content"]
    return {"scores": {"toxic": 0.9 if rude else 0.1, "fine": 0.1 if rude else 0.9}}
'''
SUITE = """
from pytest_evals import cases, graders

MODEL = "scripted:script:classify"
toxic = graders.classifier(MODEL, label="toxic", threshold=0.5, passes="below")
liked = graders.reward(MODEL)
faithful = graders.faithfulness(by="nli", model=MODEL)
asked = graders.classifier(MODEL, label="fine", text="{{item.q}}", threshold=0.5, run_if="item.q != 'q1'")
both = graders.all_of("toxic", "asked")
ROWS = [{"id": f"c{n}", "q": f"q{n}", "documents": ["kind it is"], "people": n != 2} for n in range(4)]

@cases(ROWS, id="id", prompt="{{item.q}}", gates=["toxic.pass_rate >= 0.7", "liked.mean >= 1"], label={"asked": "people"})
def test_it(toxic, liked, faithful, asked, both):
    assert toxic
"""


def test_classifiers_grade_a_suite_are_recorded_replayed_and_planned(evals: Evals) -> None:
    evals.write(SUITE, SCRIPT)
    result = evals.run()
    result.assert_outcomes(passed=3, xfailed=1)
    samples = {sample.case_id: sample for sample in evals.artifact.samples}
    values = {grade.grader_key: grade.value for grade in samples["c2"].grades}
    assert values == {"toxic": 0.9, "liked": -1.5, "faithful": 0.0, "asked": 0.9, "both": 0.0}
    calls = {call.by: call for call in samples["c2"].calls}
    assert calls["toxic"].scores == {"toxic": 0.9, "fine": 0.1}
    assert (calls["toxic"].handle, calls["toxic"].model) == ("encoder", "scripted:script:classify")
    assert {grade.grader_key for grade in samples["c1"].grades if grade.status == "not_applicable"} == {"asked"}
    result.stdout.fnmatch_lines(["*Brier score*", "gate PASSED*toxic.pass_rate*"])
    # Without the script nothing can be computed: all comes from the run that is replayed.
    evals.write(SUITE, "def answer(messages):\n    raise RuntimeError\n\n\nclassify = answer\n")
    again = evals.run("--evals-replay", "run.jsonl", "--evals-artifact", "again.jsonl", model=None)
    again.assert_outcomes(passed=3, xfailed=1)


def test_a_plan_counts_what_classifiers_are_asked(evals: Evals) -> None:
    evals.write(SUITE, SCRIPT)
    result = evals.run("--evals-plan")
    result.stdout.fnmatch_lines(["model scripted:script:classify: 15 requests of graders*"])


def test_a_script_that_gives_no_such_label_is_an_error_that_names_the_labels(evals: Evals) -> None:
    suite = SUITE.replace('label="toxic"', 'label="polite"')
    evals.write(suite, SCRIPT)
    result = evals.run("-k", "c0")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*has no label 'polite' (labels: toxic, fine)*"])


def test_a_folder_that_holds_no_classifier_is_a_collection_error(evals: Evals) -> None:
    evals.write(SUITE.replace('MODEL = "scripted:script:classify"', 'MODEL = "./nowhere"'), SCRIPT)
    result = evals.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*grader toxic: model 'encoder:./nowhere': no such folder*"])


def test_an_encoder_writes_no_texts(evals: Evals) -> None:
    evals.write(SUITE, SCRIPT)
    result = evals.run("--evals-model", "encoder:org/toxic", model=None)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--evals-model: model 'encoder:org/toxic': an encoder writes no texts*"])
    judged = SUITE.replace("both =", 'right = graders.judge.binary("is kind", model="encoder:org/toxic")\nboth =')
    evals.write(judged.replace("asked, both)", "asked, both, right)"), SCRIPT)
    evals.run().stdout.fnmatch_lines(["*grader right: model*an encoder writes no texts*"])


FITTED = """
import json
from pytest_evals import cases, graders

good = graders.classifier("./fitted", label="GOOD", text="{{item.text}}", threshold=0.5)
ROWS = [json.loads(line) for line in open("moods.jsonl")]


@cases(ROWS, prompt="{{item.text}}", label={"good": "good"})
def test_it(good):
    pass
"""


def test_a_fitted_classifier_is_as_accurate_as_in_transformers_pipeline(
    evals: Evals,
) -> None:
    from tests.models.classifiers import save_fitted, told_moods
    from tests.models.test_encoders import pipeline

    told = told_moods()
    random.Random(1).shuffle(told)  # noqa: S311 - an order, the same each time
    folder = save_fitted(evals.pytester.path / "fitted", told[:28])
    theirs = pipeline(folder)
    expected = [{each["label"]: each["score"] for each in theirs(text, top_k=None)} for text, _ in told]
    right = sum((scores["good"] >= 0.5) == (mood == "good") for scores, (_, mood) in zip(expected, told, strict=True))
    assert len(told) * 0.75 < right < len(told), "it has learned something, and not everything"
    rows = [{"id": f"c{place}", "text": text, "good": mood == "good"} for place, (text, mood) in enumerate(told)]
    (evals.pytester.path / "moods.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    evals.write(FITTED, SCRIPT)
    evals.run().assert_outcomes(passed=len(told))
    samples = evals.artifact.samples
    grades = {sample.case_id: sample.grades[0] for sample in samples}
    for row, scores in zip(rows, expected, strict=True):
        assert grades[row["id"]].value == pytest.approx(scores["good"], abs=1e-5)
    assert sum(grades[row["id"]].passed == row["good"] for row in rows) == right
    # The labels of a folder are known before anything is loaded.
    evals.write(FITTED.replace('"GOOD"', '"great"'), SCRIPT)
    evals.run().stdout.fnmatch_lines(["*has no label 'great' (labels: good, bad)*"])
