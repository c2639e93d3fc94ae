"""A golden set that a judge must agree with before anything is generated."""

from __future__ import annotations

import json

import pytest

from .conftest import Evals

SCRIPT = """
from pathlib import Path


def answer(messages):
    Path("asked").write_text("yes")
    return "good"


def judge(messages):
    asked = "\\n".join(message["content"] for message in messages)
    answer = asked.split("[BEGIN ANSWER")[1].split("[END ANSWER")[0]
    return "no idea" if "odd" in answer else "PASS" if "good" in answer else "FAIL"
"""
SUITE = """
from pytest_evals import cases, graders

right = graders.judge.binary("is good", preflight=graders.Preflight("golden.jsonl", label="human", agreement=0.75))

@cases([{"q": "a"}, {"q": "b"}], prompt="{{item.q}}")
def test_it(right):
    assert right
"""


def golden(*rows: tuple[str, object]) -> str:
    return "\n".join(json.dumps({"prompt": "q?", "completion": text, "human": human}) for text, human in rows)


def test_a_judge_that_agrees_may_judge(evals_both: Evals) -> None:
    rows = [("good", "PASS"), ("bad", 0), ("very good", True), ("odd", "FAIL")]
    evals_both.write(SUITE, SCRIPT, golden__jsonl=golden(*rows))
    result = evals_both.run("--evals-judge", "scripted:script:judge")
    result.assert_outcomes(passed=2)
    text = " ".join(line.strip() for line in result.outlines)
    words = "preflight of the judge right: it agrees with people on 3 of 4 golden cases (at least 75% are asked for)"
    # Once, although each worker of pytest-xdist asks its judge.
    assert text.count(words) == 1


def test_a_judge_that_does_not_stops_the_run_before_anything_is_generated(evals_both: Evals) -> None:
    evals_both.write(SUITE, SCRIPT, golden__jsonl=golden(("good", "PASS"), ("good", "FAIL"), ("odd", "FAIL")))
    result = evals_both.run("--evals-judge", "scripted:script:judge")
    # Workers of pytest-xdist report a stopped run as an interrupted one.
    assert result.ret == (1 if "-n" not in evals_both.workers else 2)
    text = " ".join(result.stdout.str().split())
    assert "preflight of the judge right: it agrees with people on 1 of 3 golden cases" in text
    assert "golden.jsonl:2: people 0, the judge 1" in text
    assert not (evals_both.pytester.path / "asked").exists()
    assert {sample.outcome for sample in evals_both.artifact.samples} == {"errored"}
    assert not evals_both.artifact.complete


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            '{"completion": "x", "human": "MAYBE"}',
            "golden.jsonl:1: the label 'MAYBE' is not on the scale (PASS, FAIL, NA)",
        ),
        ('{"completion": "x"}', "golden.jsonl:1: no label in the field 'human'"),
        ('{"human": "PASS"}', "golden.jsonl:1: the field 'completion' must be the text"),
    ],
)
def test_a_golden_set_that_is_not_usable_is_a_collection_error(evals: Evals, rows: str, message: str) -> None:
    evals.write(SUITE, SCRIPT, golden__jsonl=rows)
    result = evals.run("--evals-judge", "scripted:script:judge")
    result.assert_outcomes(errors=1)
    assert message in result.stdout.str()
