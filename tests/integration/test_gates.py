"""Gates decide over the build; misses under a gate do not fail their test."""

from __future__ import annotations

import pytest

from .conftest import Evals

SUITE = """
from pytest_evals import cases, graders

named = graders.contains("Paris")

@cases([{"id": "fr", "q": "France", "level": "easy"}, {"id": "td", "q": "Chad", "level": "hard"}],
       prompt="Capital of {{item.q}}?", id="id", GATES)
def test_capitals(named):
    assert named
"""


def suite(*gates: str) -> str:
    return SUITE.replace("GATES", f"gates={list(gates)!r}")


def verdicts(evals: Evals) -> list[str]:
    summary = evals.artifact.summary
    assert summary is not None
    return [gate["verdict"] for gate in summary.gates]


def test_a_gate_that_is_met_passes_the_build_although_a_case_missed(evals_both: Evals) -> None:
    evals_both.write(suite("named.mean >= 0.5", "named[level=easy].pass_rate == 1", "named.coverage >= 100%"))
    result = evals_both.run("-rx")
    result.assert_outcomes(passed=1, xfailed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["XFAIL *td* - missed: assert <named 0 missed: expected 'Paris' in 'I do not know.'>"])
    assert verdicts(evals_both) == ["passed", "passed", "passed"]
    assert evals_both.ledger() == {"collected": 2, "passed": 1, "missed": 1}


def test_a_gate_that_is_not_met_fails_the_build_in_red_and_with_the_reason(evals_both: Evals) -> None:
    evals_both.write(suite("named.mean >= 0.75", "named.min >= 0", "named.max <= 1", "named.median > 0.4"))
    result = evals_both.run()
    result.assert_outcomes(passed=1, xfailed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "gate FAILED *named.mean >= 0.75: 0.5, not >= 0.75 (n=2)",
            "FAILED evals.gates::test_capitals.named.mean >= 0.75*",
        ]
    )
    assert "[133%]" not in result.stdout.str()
    assert verdicts(evals_both) == ["failed", "passed", "passed", "passed"]


def test_without_gates_a_failed_assert_is_a_failed_test(evals: Evals) -> None:
    evals.write(suite())
    evals.run().assert_outcomes(passed=1, failed=1)
    assert evals.ledger() == {"collected": 2, "passed": 1, "failed": 1}


def test_strict_cases_keep_a_miss_a_failure(evals: Evals) -> None:
    evals.write(suite("named.mean >= 0.5"))
    evals.run("-o", "evals_strict_cases=true").assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize(
    "selection",
    [["-k", "fr"], ["test_suite.py::test_capitals[fr]"], ["--deselect", "test_suite.py::test_capitals[td]"]],
)
def test_a_gate_whose_cases_did_not_all_run_is_not_judged(evals_both: Evals, selection: list[str]) -> None:
    evals_both.write(suite("named.mean >= 0.75"))
    result = evals_both.run(*selection)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["gate NOT JUDGED *1 of 2 cases did not run*"])
    assert evals_both.ledger() == {"collected": 2, "passed": 1, "not_run": 1}


def test_the_gates_of_a_suite_of_which_nothing_ran_are_not_judged_either(evals: Evals) -> None:
    evals.write(
        suite("named.mean >= 0.5"), test_other__py=suite("named.mean >= 0.9").replace("test_capitals", "test_other")
    )
    result = evals.run("-k", "test_capitals")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines_random(["gate PASSED*", "gate NOT JUDGED test_other: *2 of 2 cases did not run"])


def test_errors_shorten_the_coverage_and_fail_the_gate(evals: Evals) -> None:
    script = "def answer(messages):\n    if 'Chad' in messages[-1]['content']:\n        raise RuntimeError('x')\n    return 'Paris'\n"
    evals.write(suite("named.mean >= 0.5"), script=script)
    result = evals.run()
    result.assert_outcomes(passed=1, errors=1, failed=1)
    result.stdout.fnmatch_lines(["1 of 2 cases have no grade (1 error, 0 pending); over the rest it is 1"])


def test_a_coverage_gate_sets_how_many_errors_are_tolerable(evals: Evals) -> None:
    script = "def answer(messages):\n    if 'Chad' in messages[-1]['content']:\n        raise RuntimeError('x')\n    return 'Paris'\n"
    evals.write(suite("named.mean >= 0.5", "named.coverage >= 0.5"), script=script)
    evals.run().assert_outcomes(passed=1, errors=1)
    assert verdicts(evals) == ["passed", "passed"]


def test_gates_come_from_the_command_line_and_the_configuration_file(evals: Evals) -> None:
    evals.write(suite())
    evals.pytester.makeini("[pytest]\nevals_gates =\n    test_capitals.named.mean >= 0.5\n")
    evals.run("--evals-gate", "named.max >= 1").assert_outcomes(passed=1, xfailed=1)
    assert verdicts(evals) == ["passed", "passed"]


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("named.mean", "*--evals-gate: gate 'named.mean' is not well formed*exact.mean >= 0.8*"),
        ("named.men > 0", "*--evals-gate:*unknown statistic 'men'*did you mean 'mean'*"),
        ("named.mean > big", "*--evals-gate:*'big' is not a number*"),
        ("named.mean > nan", "*not a finite number*"),
    ],
)
def test_a_gate_with_a_typo_on_the_command_line_is_a_usage_error(evals: Evals, gate: str, message: str) -> None:
    evals.write(suite())
    result = evals.run("--evals-gate", gate)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_a_gate_that_no_suite_answers_to_is_a_usage_error_before_anything_is_generated(evals_both: Evals) -> None:
    evals_both.write(suite(), script="raise SystemExit('an engine was started')")
    result = evals_both.run("--evals-gate", "nmaed.mean > 0")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert (
        "no suite has a grader 'nmaed' (graders of test_capitals: named)" in result.stderr.str() + result.stdout.str()
    )


def test_a_gate_of_the_session_concerns_the_suites_that_have_its_slice(evals: Evals) -> None:
    other = (
        suite()
        .replace('"level": "easy"', '"x": 1')
        .replace('"level": "hard"', '"x": 2')
        .replace("test_capitals", "test_other")
    )
    evals.write(suite(), test_other__py=other)
    evals.run("--evals-gate", "named[level=easy].mean >= 1").assert_outcomes(passed=2, xfailed=1, failed=1)
    assert verdicts(evals) == ["passed"]
    result = evals.run("--evals-gate", "named[level=esay].mean >= 1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no suite with this grader has rows with level=esay*"])


def test_slice_and_model_stand_in_brackets_at_the_end_of_a_gates_name(evals: Evals) -> None:
    evals.write(suite("named[level=hard].mean >= 1"))
    result = evals.run("--evals-model", "scripted:pytest_evals.testing:echo", "--junitxml=junit.xml")
    name = "test_capitals.named.mean >= 1[level=hard, answer]"
    result.stdout.fnmatch_lines([f"FAILED evals.gates::{name.replace('[', '[[]')}*"])
    xml = (evals.pytester.path / "junit.xml").read_text(encoding="utf-8")
    assert f'<testcase classname="evals.gates" name="{name.replace(">", "&gt;")}"' in xml


def test_the_exit_status_does_not_depend_on_the_terminal(evals: Evals) -> None:
    evals.write(suite("named.mean >= 0.75"))
    for arguments in (["-p", "no:terminal"], ["--no-header", "--no-summary", "-q"], ["-qq"], ["--tb=no"]):
        assert evals.run(*arguments).ret == pytest.ExitCode.TESTS_FAILED


def test_junit_has_a_property_a_grade_and_a_test_case_a_gate(evals_both: Evals) -> None:
    evals_both.write(suite("named.mean >= 0.75", "named.min >= 0"))
    evals_both.run("--junitxml=junit.xml")
    xml = (evals_both.pytester.path / "junit.xml").read_text(encoding="utf-8")
    assert '<property name="evals.named" value="1.0"' in xml
    assert '<property name="evals.named" value="0.0"' in xml
    assert '<testcase classname="evals.gates" name="test_capitals.named.mean &gt;= 0.75"' in xml
    assert '<testcase classname="evals.gates" name="test_capitals.named.min &gt;= 0"' in xml
    assert xml.count("<failure") == 1
    assert 'failures="1"' in xml


def test_a_failed_gate_stays_a_failure_under_warnings_as_errors(evals: Evals) -> None:
    evals.write(suite("named.mean >= 0.75"))
    evals.run("-W", "error", "--junitxml=junit.xml").assert_outcomes(passed=1, xfailed=1, failed=1)


def test_last_failed_reruns_nothing_and_leaves_the_gate_unjudged(evals: Evals) -> None:
    evals.write(suite("named.mean >= 0.75") + "\n\ndef test_ordinary():\n    assert False\n")
    evals.run("-p", "cacheprovider")
    result = evals.run("-p", "cacheprovider", "--lf")
    assert "INTERNALERROR" not in result.stdout.str()
    result.assert_outcomes(failed=1)
