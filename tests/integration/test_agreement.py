"""People and judges answer one question: how far they agree, in score card, artifact, summary and page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_evals.artifacts.artifact import EvaluationArtifact
from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.cli import main
from pytest_evals.cli.annotate import make_desk

from .conftest import Evals

SCRIPT = """
def said(messages, polite):
    asked = messages[-1]["content"]
    assert "Is the answer polite?" in asked and "Tone only." in asked
    return ("PASS" if polite(asked) else "FAIL") if "PASS: the answer to the question is 'yes'" in asked else (
        "yes" if polite(asked) else "no")


def answer_in(asked):
    return asked.split("[BEGIN ANSWER")[1].split("[END ANSWER")[0]


def strict(messages):
    return said(messages, lambda asked: "thanks" in answer_in(asked))


def mild(messages):
    return said(messages, lambda asked: "away" not in answer_in(asked))
"""
SUITE = """
from pytest_evals import cases, graders

POLITE = graders.question("Is the answer polite?", choices={"yes": True, "no": False}, guidance="Tone only.")

asked = graders.human(POLITE)
judged = graders.judge.binary(POLITE)
panel = graders.judge.labels(POLITE, model=["scripted:script:strict", "scripted:script:mild"])
brief = graders.matches(".{1,9}", full=True)

SAID = ["thanks a lot", "no way", "thanks", "go away", "please wait", "fine"]


@cases([{"id": name, "completion": text} for name, text in zip("abcdef", SAID)], prompt="Well?", id="id",
       gates=["judged.coverage >= 1"])
def test_tone(asked, judged, panel, brief): ...
"""
ANSWERS = {"ana": {"a": "yes", "b": "no", "c": "yes", "d": "no", "e": "yes", "f": "yes"}}
ANSWERS["ben"] = {"a": "yes", "b": "no", "c": "no", "d": "no", "e": "yes"}
JUDGE = ("--evals-judge", "scripted:script:strict")


def answer(path: Path, reviewer: str) -> None:
    desk = make_desk(ArtifactReader(path), path, None, reviewer, partial=False)[0]
    for case in desk.cases:
        for asked in case.asked:
            assert asked.to_data()["guidance"] == "Tone only."
            value = ANSWERS[reviewer].get(case.case_id)
            place = {"sample": asked.place[0], "grader": asked.place[1]}
            desk.take({**place, "value": value, "question": asked.question.digest, "shown": asked.shown})


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_who_answered_the_same_question_is_compared_everywhere(evals_both: Evals) -> None:
    evals_both.write(SUITE, SCRIPT)
    result = evals_both.run(*JUDGE, model=None)
    assert result.ret == 0, result.stdout.str()
    out = flat(result.stdout.str())
    about = "agreement on 'Is the answer polite?' in test_tone: "
    panel = "scripted:script:strict and scripted:script:mild (panel) agree on 50% (n=6); kappa 0.18 ["
    assert f"{about}{panel}" in out, "nobody has answered yet, and the models of the panel have"
    assert "judged and panel agree on 100% (n=6); kappa 1.00; alpha 1.00 gate" in out
    assert "people (asked)" not in out
    for reviewer in ANSWERS:
        answer(evals_both.path, reviewer)
    written = ("--evals-artifact", "again.jsonl", "--evals-summary", "summary.md", "--evals-html", "page.html")
    result = evals_both.run("--evals-replay", "run.jsonl", *JUDGE, *written, model=None)
    assert result.ret == 0, result.stdout.str()
    out = flat(result.stdout.str())
    of_people = "ana and ben (asked) agree on 80% (n=5); kappa 0.62 ["
    of_all = "people (asked), judged and panel agree on 75% of pairs (n=6); alpha "
    pair = "people (asked) and judged on 60% (n=5); kappa 0.29 ["
    for text in (f"{about}{of_people}", of_all, pair, panel):
        assert text in out
    assert "brief" not in out.split("agreement on")[1].split("gate ")[0], "it was asked nothing"
    again = evals_both.pytester.path
    artifact = EvaluationArtifact.load(again / "again.jsonl")
    assert artifact.summary is not None
    assert artifact.summary.agreements is not None
    found = {(each["grader"], *each["raters"]): each for each in artifact.summary.agreements}
    mine = found["asked", "ana", "ben"]
    assert (mine["question"], mine["measure"], mine["n"], mine["agreement"]) == (
        "Is the answer polite?",
        "nominal",
        5,
        0.8,
    )
    assert mine["pairs"][0]["kappa"]["value"] == pytest.approx((0.8 - 0.48) / 0.52)
    # By hand: 5 units of two; yes-yes 2, no-no 2, one of each: alpha = 1 - 9 * 2 / (2 * 5 * 5).
    assert mine["alpha"]["value"] == pytest.approx(1 - 9 * 2 / 50)
    assert found["", "people (asked)", "brief"]["question"] == ""
    markdown = flat((again / "summary.md").read_text(encoding="utf-8"))
    assert "ana and ben (asked) agree on 80% (n=5); kappa 0.62" in markdown
    page = (again / "page.html").read_text(encoding="utf-8")
    for text in (
        about.strip(": "),
        of_people,
        of_all,
        pair,
        "people (asked) and brief agree on 20% (n=5); kappa -0.67 [",
    ):
        assert text in page
    # The page of a run that was killed: what its samples tell, which is the same.
    lines = (again / "again.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (again / "killed.jsonl").write_text("".join(lines[:-1]), encoding="utf-8")
    assert main(["report", str(again / "killed.jsonl"), "-o", str(again / "killed.html")]) == 0
    assert of_all in (again / "killed.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("graders.judge.labels(Q(kind='text'))", "judge.labels: the question of test_suite.py:4 is of the kind 'text': no verdict"),
        ("graders.judge.scale(Q(kind='number'))", "judge.scale: *of test_suite.py:4 is of the kind 'number': make it a rating"),
        ("graders.human(Q(), choices=['a', 'b'])", "human: *of test_suite.py:4 says already what choices is; leave choices out"),
    ],
)  # fmt: skip
def test_a_question_that_cannot_be_answered_is_an_error_of_collection(evals: Evals, wrong: str, said: str) -> None:
    evals.write(
        "from functools import partial\nfrom pytest_evals import cases, graders\n"
        "def Q(**more):\n    return graders.question('Why?', **more)\n"
        f"asked = {wrong}\n\n@cases([{{'a': 1}}], prompt='x')\ndef test_it(asked):\n    pass\n"
    )
    result = evals.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"*{said}*"])
