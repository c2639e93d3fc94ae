"""Grades that people give: pending, answered beside the artifact, merged when the run is graded again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.cli import main
from pytest_evals.cli.annotate import make_desk
from pytest_evals.review.answers import answers_path
from pytest_evals.review.reviewer import ReviewSession

from .conftest import Evals

SUITE = """
from pytest_evals import cases, grader, graders

polite = graders.human("Is the answer about {{item.country}} polite?", queue="tone", layout={
    "direction": "row", "children": [{"data": "item.country"}, {"data": "completion", "label": "What it said"}]})
form = graders.human("Quality", kind="form", fields={
    "good": {"question": "How good?", "kind": "rating", "threshold": 3},
    "why": {"question": "Why?", "kind": "text"}})

named = graders.contains("Paris")

@grader
def trusted(polite):
    return 1.0 if polite else 0.0

@cases([{"country": "France"}, {"country": "Peru"}], prompt="Capital of {{item.country}}?", id="country",
       gates=["polite.mean >= 0.5", "form.good.mean >= 3"])
def test_capitals(polite, form, trusted, named):
    assert polite
"""


def desk_of(path: Path, reviewer: str = "ana", queue: str | None = None) -> ReviewSession:
    return make_desk(ArtifactReader(path), path, queue, reviewer, partial=False)[0]


def take(desk: ReviewSession, case_id: str, grader: str, value: Any) -> None:
    for case in desk.cases:
        for asked in case.asked:
            if (case.case_id, asked.place[1]) == (case_id, grader):
                place = {"sample": asked.place[0], "grader": grader}
                desk.take({**place, "value": value, "question": asked.question.digest, "shown": asked.shown})


def test_grades_are_pending_until_people_answered_and_then_count(evals_both: Evals) -> None:
    evals_both.write(SUITE)
    result = evals_both.run()
    assert result.ret == 0, "nothing was wrong: nobody has answered yet"
    out = result.stdout.str()
    assert "2 pending" in out
    assert "polite.mean >= 0.5: 2 of 2 cases wait for an answer" in re.sub(r"\s+", " ", out)
    artifact = evals_both.artifact
    assert evals_both.ledger() == {"collected": 2, "pending": 2}
    assert {grade.grader_key: grade.status for grade in artifact.samples[0].grades} == {
        "polite": "pending", "form.good": "pending", "form.why": "pending", "trusted": "pending", "named": "graded",
    }  # fmt: skip
    desk = desk_of(evals_both.path)
    asked = sorted(desk.cases, key=lambda case: (case.case_id, case.asked[0].place[1] != "polite"))
    assert [case.case_id for case in asked] == ["France", "France", "Peru", "Peru"], "two layouts"
    assert asked[0].layout["children"] == [
        {"label": "country", "text": "France"},
        {"label": "What it said", "text": "Paris"},
    ]
    assert asked[0].asked[0].question.text == "Is the answer about France polite?"
    for case_id, polite, good in (("France", "yes", 5), ("Peru", "no", 2)):
        take(desk, case_id, "polite", polite)
        take(desk, case_id, "form", {"good": good, "why": "So it is."})
    replayed = evals_both.pytester.path / "replayed.jsonl"
    result = evals_both.run("--evals-replay", "run.jsonl", "--evals-artifact", "replayed.jsonl", model=None)
    assert result.ret == 0, result.stdout.str()
    result.assert_outcomes(passed=1, xfailed=1)
    artifact = type(artifact).load(replayed)
    rows = {row["grader"]: (row["n"], row["mean"], row["pass_rate"]) for row in artifact.scores()}
    assert rows["polite"] == (2, 0.5, 0.5)
    assert rows["form.good"] == (2, 3.5, 0.5)
    assert rows["trusted"] == (2, 0.5, 0.5)
    assert artifact.summary is not None
    assert [gate["verdict"] for gate in artifact.summary.gates] == ["passed", "passed"]
    whys = [grade.reasoning for sample in artifact.samples for grade in sample.grades if grade.grader_key == "form.why"]
    assert whys == ["ana: So it is."] * 2
    assert main(["report", str(replayed), "-o", "people.html"]) == 0
    page = Path("people.html").read_text(encoding="utf-8")
    assert "people (polite) and named agree on 100% (n=2); kappa 1.00" in page
    # What was taken in stays when that run is graded again, and a second opinion may be added to it.
    take(desk_of(replayed, "ben"), "France", "polite", "no")
    evals_both.run("--evals-replay", "replayed.jsonl", model=None)
    again = {sample.case_id: sample.grades[0] for sample in evals_both.artifact.samples}
    assert (again["France"].status, again["Peru"].value) == ("pending", 0.0)
    assert again["France"].reasoning == "the reviewers disagree: ana: yes; ben: no"


def test_answers_to_a_suite_that_changed_do_not_count(evals: Evals) -> None:
    evals.write(SUITE)
    evals.run()
    desk = desk_of(evals.path, queue="tone")
    take(desk, "France", "polite", "yes")
    evals.write(SUITE.replace("polite?", "courteous?"))
    evals.run("--evals-replay", "run.jsonl", "--evals-artifact", "replayed.jsonl", model=None)
    grade = type(evals.artifact).load(evals.pytester.path / "replayed.jsonl").samples[0].grades[0]
    assert grade.status == "pending"
    assert grade.reasoning == "answered by ana, but the question changed since; ask again with pytest-evals annotate"


def test_what_cannot_be_annotated_is_said(evals: Evals, capsys: pytest.CaptureFixture[str]) -> None:
    evals.write(SUITE)
    evals.run()
    path = evals.path
    take(desk_of(path), "France", "polite", "yes")
    whole, answers = path.read_bytes(), answers_path(path)
    capsys.readouterr()

    def said(*arguments: str) -> str:
        assert main(["annotate", str(path), *arguments]) == 2
        return capsys.readouterr().err

    assert "there is no queue 'other' (queues: tone (2), default (2))" in said("--queue", "other")
    assert "--reviewer: '' is not a name" in said("--reviewer", " ")
    assert "argument --port: must be a whole number from 0 to 65535, not '99999'" in said("--port", "99999")
    path.write_bytes(whole.replace(b"polite?", b"courteous?"))
    assert "answers are to questions that this run asks otherwise ('polite'" in said()
    path.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    assert "the run did not come to its end" in said()
    path.write_bytes(whole.replace(b'"question"', b'"riddle"'))
    assert "no case has a question for people" in said()
    path.write_bytes(whole)
    kept = answers.read_bytes()
    answers.write_bytes(kept.replace(b'"run_id": "', b'"run_id": "x'))
    assert "holds answers to the run 'x" in said()
    answers.unlink()
    answers.mkdir()
    assert "run.answers.jsonl" in said()
    answers.rmdir()
    result = evals.run("--evals-replay", "run.jsonl", "--evals-artifact", "other.jsonl", model=None)
    assert result.ret == 0
    answers.write_bytes(kept.replace(b'"run_id": "', b'"run_id": "x'))
    result = evals.run("--evals-replay", "run.jsonl", "--evals-artifact", "other.jsonl", model=None)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*holds answers to the run 'x*"])


def test_a_port_in_use_is_said(evals: Evals, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    evals.write(SUITE)
    evals.run()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["annotate", str(evals.path), "--port", str(port)]) == 2
    assert f"port {port} of this machine cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("'Well?', kind='riddle'", "kind is one of choice, rating, number, text, form"),
        ("'Well?', layout={'children': [{'data': 'item.nothing'}]}", "*nothing*"),
        ("'{{item.nothing}}?'", "*nothing*"),
        ("'Well?', reviewers=0", "reviewers is how many people must answer"),
        ("'Well?', queue=''", "queue is the name of a queue"),
    ],
)
def test_a_wrong_question_is_an_error_of_collection(evals: Evals, arguments: str, said: str) -> None:
    evals.write(
        f"from pytest_evals import cases, graders\nasked = graders.human({arguments})\n\n"
        "@cases([{'a': 1}], prompt='x')\ndef test_it(asked):\n    pass\n"
    )
    result = evals.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"*{said}*"])
