"""``graders.perplexity``: how well a model expects a text, for all cases in batches."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest

from .conftest import Evals

MODEL = """
def answer(messages):
    return "I do not know."

def score(messages, text):
    # A nat a letter, half of it behind a prompt.
    with open("asked.txt", "a") as file:
        file.write(text + "\\n")
    return -len(text.replace(" ", "")) * (0.5 if messages[-1]["content"] else 1.0)
"""
ROWS = [
    {"id": "short", "text": "ab cd", "kind": "small"},
    {"id": "long", "text": "a bc def ghij", "kind": "large"},
]
SUITE = """
from pytest_evals import cases, graders

ppl = graders.perplexity(SETTINGS)

@cases(ROWS, id="id", prompt=PROMPT, MORE)
def test_it(ppl): ASSERT
"""


def suite(
    settings: str = '"item.text"', prompt: str = '""', more: str = "", rows: object = ROWS, body: str = "..."
) -> str:
    text = SUITE.replace("SETTINGS", settings).replace("PROMPT", prompt).replace("MORE", more)
    return text.replace("ROWS", repr(rows)).replace("ASSERT", body)


def grades(evals: Evals) -> dict[str, Any]:
    return {sample.case_id: sample.grades[0] for sample in evals.artifact.samples}


def test_texts_are_graded_gated_and_recorded(evals_both: Evals) -> None:
    evals_both.write(
        suite(more="gates=['ppl.mean < 12', 'ppl.corpus <= 10.32', 'ppl[kind=small].corpus < 8']"), script=MODEL
    )
    result = evals_both.run("-v")
    result.assert_outcomes(passed=2)
    found = grades(evals_both)
    # Words are the scripted model's tokens.
    assert found["short"].value == pytest.approx(math.exp(4 / 2))
    assert found["long"].value == pytest.approx(math.exp(10 / 4))
    assert found["long"].passed is None
    assert found["long"].metadata["bytes"] == 13
    (score,) = evals_both.artifact.scores()
    assert score["corpus"] == pytest.approx(math.exp(14 / 6))
    assert score["mean"] == pytest.approx((math.exp(2) + math.exp(2.5)) / 2)
    for sample in evals_both.artifact.samples:
        assert sample.interaction.completion is None


def test_a_gate_on_the_corpus_fails_the_run(evals: Evals) -> None:
    evals.write(suite(more="gates=['ppl.corpus <= 10']"), script=MODEL)
    result = evals.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["gate FAILED*ppl.corpus <= 10: 10.31, not <= 10 (n=2)"])


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        ('"item.text", per="byte"', (math.exp(4 / 5), math.exp(10 / 13))),
        ('"{{item.text}}", per="word"', (math.exp(2), math.exp(2.5))),
        ('text="item.text", per="byte", bits=True', (4 / 5 / math.log(2), 10 / 13 / math.log(2))),
        ('"{{item.text}} {{item.kind}}", per="word"', (math.exp(9 / 3), math.exp(15 / 5))),
    ],
)
def test_each_unit_has_its_value(evals: Evals, settings: str, values: tuple[float, float]) -> None:
    evals.write(suite(settings), script=MODEL)
    evals.run().assert_outcomes(passed=2)
    found = grades(evals)
    assert [found["short"].value, found["long"].value] == pytest.approx(values)


def test_the_prompt_stands_before_the_text(evals: Evals) -> None:
    evals.write(suite(prompt='"Write."'), script=MODEL)
    evals.run().assert_outcomes(passed=2)
    assert grades(evals)["short"].value == pytest.approx(math.exp(1))


def test_a_value_passes_up_to_the_threshold(evals: Evals) -> None:
    evals.write(
        suite('"item.text", threshold=8', more="gates=['ppl.pass_rate >= 0.5']", body="assert ppl"), script=MODEL
    )
    evals.run().assert_outcomes(passed=1, xfailed=1)
    assert {key: grade.passed for key, grade in grades(evals).items()} == {"short": True, "long": False}


@pytest.mark.parametrize(
    ("settings", "rows", "words"),
    [
        ('"item.text"', [{"id": "a", "text": ""}], "text must be a text that is not empty, not ''"),
        ('"item.text"', [{"id": "a", "text": None}], "text must be a text that is not empty, not None"),
        ('"item.text"', [{"id": "a", "text": 5}], "text must be a text that is not empty, not 5"),
        ('"item.texts"', ROWS, "unknown field 'texts'*did you mean 'text'?"),
        ('"item.text", per="char"', ROWS, "per must be one of token, byte, word, not 'char'"),
    ],
)
def test_what_has_no_perplexity_is_an_error_of_collection(
    evals: Evals, settings: str, rows: object, words: str
) -> None:
    evals.write(suite(settings, rows=rows), script=MODEL)
    result = evals.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{words.replace('[', '[[]')}*"])
    assert not (evals.pytester.path / "asked.txt").exists()


def test_a_model_without_likelihoods_is_refused(evals: Evals) -> None:
    evals.write(suite())
    evals.run().assert_outcomes(errors=2)


def test_a_log_likelihood_above_0_is_an_error_and_no_value(evals: Evals) -> None:
    evals.write(suite(), script="def answer(messages): ...\n\ndef score(messages, text):\n    return 1.5\n")
    result = evals.run()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*a log-likelihood is at most 0, and the model gave 1.5*"])


def test_a_lower_perplexity_than_before_is_better(evals: Evals) -> None:
    rows = [{"id": f"r{number}", "text": "ab " * (number % 7 + 2) + "c" * (number % 3)} for number in range(24)]
    evals.write(suite(rows=rows), script=MODEL)
    evals.run().assert_outcomes(passed=24)
    evals.path.rename(evals.pytester.path / "before.jsonl")
    evals.write(suite(rows=rows), script=MODEL.replace("else 1.0", "else 0.7"))
    evals.run().assert_outcomes(passed=24)
    for runs, verdict, status in (
        (("before.jsonl", "run.jsonl"), "better", 0),
        (("run.jsonl", "before.jsonl"), "worse", 1),
    ):
        result = evals.pytester.run(sys.executable, "-m", "pytest_evals", "compare", "--check", *runs)
        assert result.ret == status
        result.stdout.fnmatch_lines(
            [f"test_it  ppl *  {verdict}", "test_it.ppl: the corpus-level metric*", f"*, {verdict})"]
        )


def test_a_replay_grades_the_recorded_likelihoods(evals: Evals) -> None:
    evals.write(suite(), script=MODEL)
    evals.run().assert_outcomes(passed=2)
    first = {key: grade.value for key, grade in grades(evals).items()}
    evals.path.rename(evals.pytester.path / "first.jsonl")
    evals.run("--evals-replay", "first.jsonl", model=None).assert_outcomes(passed=2)
    assert {key: grade.value for key, grade in grades(evals).items()} == first
    assert len((evals.pytester.path / "asked.txt").read_text().splitlines()) == 2
