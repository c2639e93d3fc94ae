"""Hooks that a conftest implements: cases as they finish, and the score card of the run."""

from __future__ import annotations

import pytest

from pytest_evals.testing import Evals

SUITE = """
from pytest_evals import cases, graders

said = graders.contains("{{item.answer}}")

@cases([{"q": "one", "answer": "one"}, {"q": "two", "answer": "three"}], prompt="{{item.q}}", gates=["said.mean >= 0.5"])
def test_it(said):
    assert said
"""
CONFTEST = """
def pytest_evals_sample(config, sample):
    with open(config.rootpath / "seen.txt", "a") as file:
        print("sample", sample.suite, sample.outcome, sample.grades[0].value, file=file)

def pytest_evals_scorecard(config, card):
    with open(config.rootpath / "seen.txt", "a") as file:
        print("card", card.scores[0].mean, card.gates[0].verdict, card.ledger.passed, card.artifact, file=file)
"""


def test_a_conftest_takes_finished_cases_and_the_score_card(evals_both: Evals) -> None:
    evals_both.pytester.makeconftest(CONFTEST)
    evals_both.write(SUITE, script="def answer(messages):\n    return messages[-1]['content']\n")
    evals_both.run()
    seen = (evals_both.pytester.path / "seen.txt").read_text().splitlines()
    assert sorted(seen[:-1]) == ["sample test_it missed 0.0", "sample test_it passed 1.0"]
    assert seen[-1] == "card 0.5 passed 1 run.jsonl"


@pytest.mark.parametrize("hook", ["pytest_evals_sample(sample)", "pytest_evals_scorecard(card)"])
def test_what_a_hook_raises_is_said_and_fails_the_run_and_takes_nothing_away(evals_both: Evals, hook: str) -> None:
    evals_both.pytester.makeconftest(f"def {hook}:\n    raise OSError('no route to the dashboard')\n")
    evals_both.write(SUITE, script="def answer(messages):\n    return messages[-1]['content']\n")
    result = evals_both.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    name = hook.partition("(")[0]
    printed = " ".join(result.stdout.str().split())
    assert f"the hook {name} raised OSError (conftest.py:2): no route to the dashboard" in printed
    assert len(evals_both.artifact.samples) == 2
    assert printed.count("the hook") == 1


def test_a_hook_of_another_name_is_refused(evals: Evals) -> None:
    evals.pytester.makeconftest("def pytest_evals_scorecards(card):\n    pass\n")
    evals.write(SUITE)
    result = evals.run()
    assert "pytest_evals_scorecards" in result.stderr.str() + result.stdout.str()
    assert result.ret != pytest.ExitCode.OK
