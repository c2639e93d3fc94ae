"""``--evals-baseline``: gates that compare with an earlier run."""

from __future__ import annotations

import pytest

from .conftest import Evals

SUITE = """
from pytest_evals import cases, graders

right = graders.exact_match("yes")

@cases([{"id": f"c{n:02}", "q": f"question {n}"} for n in range(20)], prompt="{{item.q}}", id="id", GATES)
def test_questions(right):
    assert right
"""
SCRIPT = "def answer(messages):\n    return 'yes' if int(messages[-1]['content'].split()[1]) >= WRONG else 'no'\n"


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def suite(*gates: str) -> str:
    return SUITE.replace("GATES", f"gates={list(gates)!r}")


def make_baseline(evals: Evals, wrong: int = 2) -> None:
    """Run once with so many wrong answers, and keep the artifact."""
    evals.write(suite(), script=SCRIPT.replace("WRONG", str(wrong)))
    evals.run()
    evals.path.rename(evals.path.with_name("before.jsonl"))


def rerun(evals: Evals, wrong: int, *arguments: str, gates: tuple[str, ...]) -> pytest.RunResult:
    evals.write(suite(*gates), script=SCRIPT.replace("WRONG", str(wrong)))
    return evals.run("--evals-baseline", "before.jsonl", *arguments)


def test_a_clear_fall_fails_and_a_small_one_warns_unless_it_is_told_to_fail(evals_both: Evals) -> None:
    make_baseline(evals_both)
    gates = ("right.mean >= baseline", "right.mean >= baseline - 0.5", "latency.mean <= baseline * 1000")
    result = rerun(evals_both, 10, gates=gates)
    result.assert_outcomes(passed=10, xfailed=10, failed=1)
    result.stdout.fnmatch_lines(
        [
            "gate REGRESSED *right.mean >= baseline: 0.5 against 0.9: -0.4, not >=*",
            "gate PASSED *right.mean >= baseline - 0.5: 0.5 against 0.9*",
            "FAILED evals.gates::test_questions.right.mean >= baseline - regressed: 0.5*",
        ]
    )
    result = rerun(evals_both, 4, "-W", "error", "--junitxml=junit.xml", gates=gates[:1])
    result.assert_outcomes(passed=16, xfailed=4, warnings=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "*warnings summary*",
            "*gate test_questions.right.mean >= baseline* is inconclusive: 0.8 against 0.9*",
            "gate INCONCLUSIVE *0.8 against 0.9: -0.1, not >= baseline (n=20); p=0.25, about 41 more cases would tell",
        ]
    )
    summary = evals_both.artifact.summary
    assert summary is not None
    (gate,) = summary.gates
    assert (gate["verdict"], gate["baseline"], round(gate["p"], 6)) == ("inconclusive", 0.9, 0.25)
    strict = rerun(evals_both, 4, "-o", "evals_inconclusive=fail", gates=gates[:1])
    strict.assert_outcomes(passed=16, xfailed=4, failed=1)
    strict.stdout.fnmatch_lines(["FAILED evals.gates::*right.mean >= baseline - inconclusive: 0.8*"])
    rerun(evals_both, 4, "-o", "evals_inconclusive=pass", gates=gates[:1]).assert_outcomes(passed=16, xfailed=4)


def test_a_partial_run_is_not_compared(evals: Evals) -> None:
    make_baseline(evals)
    result = rerun(evals, 20, "-k", "c0", gates=("right.mean >= baseline",))
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["gate NOT JUDGED *10 of 20 cases did not run*"])


def test_another_model_alone_is_compared_and_several_are_not_mixed_up(evals: Evals) -> None:
    make_baseline(evals)
    evals.write(suite("right.mean >= baseline"), script="def other(messages):\n    return 'no'\n")
    result = evals.run("--evals-baseline", "before.jsonl", model="scripted:script:other")
    result.stdout.fnmatch_lines(["gate REGRESSED*0 against 0.9*"])
    result = evals.run(
        "--evals-baseline",
        "before.jsonl",
        "--evals-model=scripted:pytest_evals.testing:echo",
        model="scripted:script:other",
    )
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["gate NOT JUDGED *", "*the baseline has other models of*"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--evals-baseline=absent.jsonl",), "--evals-baseline: there is no file 'absent.jsonl'"),
        (("--evals-baseline=script.py",), "--evals-baseline: script.py is not an artifact"),
        (("--evals-baseline=",), "--evals-baseline: the path is empty"),
        (
            ("--evals-baseline=other.jsonl",),
            "other.jsonl has none of the suites of this run (test_questions), only test_it",
        ),
        (("-o", "evals_inconclusive=maybe"), "evals_inconclusive: 'maybe' is unknown (known: warn, pass, fail)"),
    ],
)
def test_a_baseline_that_cannot_be_compared_with_is_a_usage_error_before_anything_is_generated(
    evals: Evals, arguments: tuple[str, ...], words: str
) -> None:
    if "--evals-baseline=other.jsonl" in arguments:
        evals.write(suite().replace("test_questions", "test_it"), script=SCRIPT.replace("WRONG", "0"))
        evals.run()
        evals.path.rename(evals.path.with_name("other.jsonl"))
    evals.write(suite("right.mean >= baseline"), script="raise SystemExit('an engine was started')")
    result = evals.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert words in result.stderr.str().replace("\n", " ")


@pytest.mark.parametrize(
    "named", [(), ("--evals-baseline=none",), ("--evals-baseline", "main"), ("--evals-baseline=latest",)]
)
def test_before_there_is_a_baseline_gates_are_not_judged_and_the_card_says_how_to_set_one(
    evals: Evals, named: tuple[str, ...]
) -> None:
    evals.write(suite("right.mean >= baseline", "right.mean >= 0.5"), script=SCRIPT.replace("WRONG", "2"))
    result = evals.run(*named)
    assert result.ret == pytest.ExitCode.OK
    asked = "--evals-baseline=main"
    result.stdout.fnmatch_lines(
        [
            "gate NOT JUDGED test_questions: right.mean >= baseline: no baseline to compare with yet, 0.9 now",
            "gate PASSED *right.mean >= 0.5*",
            "next: pytest-evals baseline set run.jsonl --name main",
            f"next: pytest *--evals-artifact=run-2.jsonl {asked}",
        ]
    )
    assert ("there is no 'main' yet" in result.stdout.str()) == ("main" in named)


def test_where_there_are_baselines_a_name_that_is_none_of_them_is_refused(evals: Evals) -> None:
    evals.write(suite("right.mean >= baseline"), script="raise SystemExit('an engine was started')")
    folder = evals.pytester.mkdir("evals_baselines")
    (folder / "main.jsonl").write_text("", encoding="utf-8")
    result = evals.run("--evals-baseline", "mian")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "baselines: main; did you mean 'main'?" in " ".join(result.stderr.str().split())


def test_the_baseline_may_stand_in_the_configuration_file(evals: Evals) -> None:
    make_baseline(evals)
    evals.write(suite("right.mean >= baseline"), script=SCRIPT.replace("WRONG", "10"))
    evals.pytester.makeini("[pytest]\nevals_baseline = before.jsonl\n")
    evals.run().assert_outcomes(passed=10, xfailed=10, failed=1)
