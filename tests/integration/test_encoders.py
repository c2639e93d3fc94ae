"""Classifiers and reward models as graders in whole runs, with a script in their place."""

from __future__ import annotations

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
