"""``--evals-audit N``: what was computed in batches is computed again one at a time, and compared."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .conftest import Evals

SUITE = """
from pytest_evals import cases, grader, graders

exact = graders.exact_match("item.id")

@grader
def brief(completion):
    return len(completion.text) < 100

@cases([{"id": f"c{n}"} for n in range(8)], id="id", prompt="{{item.id}}", gates=["exact.mean >= 0.5"])
def test_it(exact, brief):
    assert exact
    assert brief
"""
# Each prompt has a file that grows each time it is seen.
COUNTING = """
import pathlib

def answer(messages):
    text = messages[-1]["content"]
    seen = pathlib.Path(f"seen-{text}")
    with seen.open("a") as file:
        file.write("x")
    return answered(text, again=seen.stat().st_size > 1)

def answered(text, again):
    BODY
"""
STEADY = "return text"
# Two other texts, of which one gets another grade.
FICKLE = """if again and text in ("c1", "c2"):
        return "wrong" if text == "c1" else f" {text} "
    return text"""


def script(body: str) -> str:
    return COUNTING.replace("BODY", body)


def audit(evals: Evals) -> dict[str, Any]:
    summary = evals.lines()[-1]
    assert summary["type"] == "summary"
    found: dict[str, Any] = summary["audit"]
    return found


def seen(evals: Evals) -> dict[str, int]:
    """Return how often each prompt was answered."""
    return {path.name[5:]: path.stat().st_size for path in sorted(evals.pytester.path.glob("seen-*"))}


def names(nodeids: list[str]) -> list[str]:
    return sorted(re.findall(r"\[(.*?)\]", " ".join(nodeids)))


def test_cases_are_asked_again_and_what_changed_is_counted(evals_both: Evals) -> None:
    evals_both.write(SUITE, script=script(FICKLE))
    result = evals_both.run("--evals-audit", "8", "-v")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=8)
    assert seen(evals_both) == {f"c{number}": 2 for number in range(8)}
    found = audit(evals_both)
    assert found["checked"] == 8
    assert found["failed"] == {}
    assert names(found["texts"]) == ["c1", "c2"]
    assert names(found["grades"]) == ["c1"]
    note = "audit: 8 cases computed again one at a time: 2 texts, grades of 1 case changed (test_it[c1])"
    assert note in " ".join(line.strip() for line in result.stdout.lines)


def test_an_audit_changes_nothing_of_what_was_recorded(evals_both: Evals) -> None:
    evals_both.write(SUITE, script=script("return 'wrong' if again else text"))
    result = evals_both.run("--evals-audit", "5")
    result.assert_outcomes(passed=8)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["gate PASSED*exact.mean >= 0.5: 1 (n=8)", "8 cases: 8 passed, *"])
    assert [line["type"] for line in evals_both.lines()] == ["run", *["sample"] * 8, "summary"]
    for sample in evals_both.artifact.samples:
        assert sample.interaction.completion is not None
        assert sample.interaction.completion.text == sample.case_id
        assert [grade.value for grade in sample.grades] == [1, 1]
    assert (len(audit(evals_both)["texts"]), len(audit(evals_both)["grades"])) == (5, 5)


def test_an_audit_of_a_model_that_repeats_itself_finds_nothing(evals_both: Evals) -> None:
    evals_both.write(SUITE, script=script(STEADY))
    result = evals_both.run("--evals-audit", "3")
    result.stdout.fnmatch_lines(["audit: 3 cases computed again one at a time: 0 texts, grades of 0 cases changed"])
    assert audit(evals_both) == {"checked": 3, "texts": [], "grades": [], "failed": {}}
    assert sorted(seen(evals_both).values()) == [1] * 5 + [2] * 3


def test_the_seed_draws_the_cases_and_workers_draw_the_same(evals: Evals) -> None:
    def drawn(*arguments: str) -> list[str]:
        for path in evals.pytester.path.glob("seen-*"):
            path.unlink()
        evals.run("--evals-audit", "3", *arguments)
        return [name for name, times in seen(evals).items() if times == 2]

    evals.write(SUITE, script=script(STEADY))
    first = drawn()
    assert len(first) == 3
    assert drawn() == first
    assert drawn("-p", "xdist", "-n", "2") == first
    assert any(drawn("--evals-seed", str(seed)) != first for seed in (1, 2, 3))


def test_more_cases_than_there_are_is_all_of_them(evals: Evals) -> None:
    evals.write(SUITE, script=script(STEADY))
    evals.run("--evals-audit", "100", "-k", "c1 or c2")
    assert audit(evals)["checked"] == 2
    assert seen(evals) == {"c1": 2, "c2": 2}


def test_without_the_option_nothing_is_asked_twice(evals: Evals) -> None:
    evals.write(SUITE, script=script(FICKLE))
    result = evals.run()
    assert "audit" not in evals.lines()[-1]
    assert "audit" not in result.stdout.str()
    assert set(seen(evals).values()) == {1}


def test_what_cannot_be_computed_again_is_counted_and_named(evals_both: Evals) -> None:
    body = "if again and text == 'c3':\n        raise ValueError('once is enough')\n    return text"
    evals_both.write(SUITE, script=script(body))
    result = evals_both.run("--evals-audit", "8")
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["audit: 7 cases computed again*", "*1 could not be computed"])
    (failed,) = audit(evals_both)["failed"].items()
    assert names([failed[0]]) == ["c3"]
    assert failed[1] == "scripted:script:answer raised ValueError: once is enough"
    assert (audit(evals_both)["checked"], audit(evals_both)["texts"]) == (7, [])


def test_an_engine_that_dies_in_the_audit_fails_no_case(evals: Evals) -> None:
    evals.write(SUITE, script=script("if again and text == 'c3':\n        import os; os._exit(3)\n    return text"))
    result = evals.run("--evals-audit", "8")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=8)
    assert names(list(audit(evals)["failed"])) == ["c3"]
    assert "ended the engine's process 2 times" in str(audit(evals)["failed"])
    assert audit(evals)["checked"] == 7


def test_a_grader_that_fails_on_the_second_text_is_a_changed_grade(evals: Evals) -> None:
    source = SUITE.replace("return len(completion.text) < 100", "return 1 / len(completion.text)")
    evals.write(source, script=script("return '' if again and text == 'c4' else text"))
    result = evals.run("--evals-audit", "8")
    assert result.ret == pytest.ExitCode.OK
    assert (names(audit(evals)["texts"]), names(audit(evals)["grades"])) == (["c4"], ["c4"])
    assert evals.ledger() == {"collected": 8, "passed": 8}


def test_a_miss_that_stays_a_miss_is_no_change(evals_both: Evals) -> None:
    evals_both.write(SUITE, script=script("return f'{text}?' if again else f'{text}!'"))
    result = evals_both.run("--evals-audit", "8")
    result.assert_outcomes(xfailed=8, failed=1)
    assert (len(audit(evals_both)["texts"]), audit(evals_both)["grades"]) == (8, [])


# -- what is not audited


def test_a_run_that_was_cut_short_is_not_audited(evals_both: Evals) -> None:
    evals_both.write(
        SUITE.replace(', gates=["exact.mean >= 0.5"]', ""), script=script("return 'x' if text == 'c2' else text")
    )
    result = evals_both.run("--evals-audit", "8", "-x")
    assert result.ret in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    assert not evals_both.artifact.complete
    assert "audit" not in evals_both.lines()[-1]
    assert "computed again" not in result.stdout.str()
    if "no:xdist" in evals_both.workers:
        assert set(seen(evals_both).values()) == {1}


@pytest.mark.parametrize(
    "stop", ["pytest.exit('enough')", "request.session.shouldstop = 'enough'", "raise KeyboardInterrupt"]
)
def test_an_interrupted_run_is_not_audited(evals: Evals, stop: str) -> None:
    source = SUITE.replace("(exact, brief):", "(exact, brief, case, request):").replace(
        "    assert brief", f"    if case.id == 'c3':\n        {stop}"
    )
    evals.write(f"import pytest\n{source}", script=script(STEADY))
    assert evals.run("--evals-audit", "8").ret == pytest.ExitCode.INTERRUPTED
    assert not evals.artifact.complete
    assert "audit" not in evals.lines()[-1]
    assert set(seen(evals).values()) == {1}


def test_cases_without_a_completion_of_the_model_are_not_drawn(evals: Evals) -> None:
    source = """
from pytest_evals import cases, graders

exact = graders.exact_match("item.id")
ROWS = [{"id": "c0", "completion": "c0"}, {"id": "c1"}, {"id": "c2"}]

@cases(ROWS, id="id", prompt="{{item.id}}")
def test_it(exact): ...

@cases(ROWS, id="id", prompt="{{item.id}}")
def test_data(case): ...

@cases([{"id": "bad"}], id="id", prompt="{{item.id}}")
def test_bad(completion): ...
"""
    evals.write(source, script=script("if text == 'bad':\n        raise ValueError('bad')\n    return text"))
    evals.run("--evals-audit", "10").assert_outcomes(passed=6, errors=1)
    assert audit(evals) == {"checked": 2, "texts": [], "grades": [], "failed": {}}
    assert seen(evals) == {"bad": 1, "c1": 2, "c2": 2}


def test_likelihoods_are_asked_for_again_only_to_grade_another_text(evals: Evals) -> None:
    source = SUITE.replace(
        "def brief(completion):\n    return len(completion.text) < 100",
        "def brief(right):\n    return right.value == 1",
    )
    source = source.replace("@grader", "right = graders.choice(['a', 'bb'], expected='a')\n\n@grader")
    scoring = "\ndef score(messages, text):\n    open('scored', 'a').write('x')\n    return -float(len(text))\n"
    evals.write(source, script=script(FICKLE) + scoring)
    evals.run("--evals-audit", "8").assert_outcomes(passed=8)
    assert (names(audit(evals)["texts"]), names(audit(evals)["grades"])) == (["c1", "c2"], ["c1"])
    # Two choices for each of eight cases, and for the two that were graded again.
    assert (evals.pytester.path / "scored").stat().st_size == 2 * (8 + 2)


def test_fixtures_and_calls_of_a_case_work_in_the_audit_too(evals_both: Evals) -> None:
    source = """
import pytest

from pytest_evals import cases, grader

@pytest.fixture(scope="module")
def shout():
    return str.upper

@grader
def echoed(completion, model, shout):
    return shout(model.generate(f"{completion.text}!").result().text) == f"{completion.text.upper()}!"

@cases([{"id": "a"}, {"id": "b"}], id="id", prompt="{{item.id}}")
def test_it(echoed, record, tmp_path):
    record(path=str(tmp_path))
    assert echoed
"""
    evals_both.write(source, script=script("return f'{text}?' if again else text"))
    evals_both.run("--evals-audit", "2").assert_outcomes(passed=2)
    assert (names(audit(evals_both)["texts"]), audit(evals_both)["grades"]) == (["a", "b"], [])
    assert audit(evals_both)["failed"] == {}


def test_a_case_that_ran_again_is_compared_with_what_counts(evals: Evals) -> None:
    source = SUITE.replace("return len(completion.text) < 100", "return flaky(completion)").replace(
        "@grader", "tries = []\n\ndef flaky(completion):\n    tries.append(1)\n    return len(tries) != 1\n\n@grader"
    )
    evals.write(
        source.replace(', gates=["exact.mean >= 0.5"]', ""), script=script("return f' {text}' if again else text")
    )
    evals.run("--evals-audit", "8", "--reruns", "1").assert_outcomes(passed=8)
    assert (len(audit(evals)["texts"]), audit(evals)["grades"]) == (8, [])
