"""Subtests (pytest's ``subtests``) count: the ledger says of a case what pytest says of its test."""

from __future__ import annotations

import pytest

from .conftest import Evals

SUITE = """
import pytest
from pytest_evals import cases, grader, graders

named = graders.contains("{{{{item.capital}}}}")

@grader
def applies(case):
    return True if case["id"] == "fr" else None

@grader
def fails():
    raise ValueError("broken")

@cases([{{"id": "fr", "country": "France", "capital": "Paris"}}, {{"id": "td", "country": "Chad", "capital": "N'Djamena"}}],
       prompt="Capital of {{{{item.country}}}}?", id="id"{gates})
def test_it(named, subtests{more}):
{body}
"""
GATES = ', gates=["named.mean >= 0"]'
NAMED = """
    with subtests.test("named"):
        assert named
    with subtests.test("other"):
        pass
"""


def run(evals: Evals, body: str, gates: str = "", more: str = "", *arguments: str) -> pytest.RunResult:
    evals.write(SUITE.format(body=body, gates=gates, more=more))
    return evals.run(*arguments)


def test_a_case_whose_subtest_fails_has_failed(evals_both: Evals) -> None:
    result = run(evals_both, NAMED)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert evals_both.ledger() == {"collected": 2, "passed": 1, "failed": 1}
    result.stdout.fnmatch_lines(["2 cases: 1 passed, 0 missed, 1 failed, 0 errored"])
    result.stdout.re_match_lines([r"=+ 2 failed, 1 passed.* in .*"])
    assert sorted(sample.outcome for sample in evals_both.artifact.samples) == ["failed", "passed"]


def test_under_a_gate_it_is_a_miss_in_the_ledger_and_for_pytest(evals_both: Evals) -> None:
    result = run(evals_both, NAMED, GATES, "", "-rx")
    assert result.ret == pytest.ExitCode.OK
    assert evals_both.ledger() == {"collected": 2, "passed": 1, "missed": 1}
    result.stdout.fnmatch_lines(["XFAIL *test_it[[]td[]]*missed: contains 1 failed subtest*"])
    result.stdout.re_match_lines([r"=+ 1 passed, 1 xfailed in .*"])


def test_strict_cases_keep_it_a_failure_under_a_gate(evals: Evals) -> None:
    result = run(evals, NAMED, GATES, "", "-o", "evals_strict_cases=true")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert evals.ledger() == {"collected": 2, "passed": 1, "failed": 1}


@pytest.mark.parametrize("gates", ["", GATES], ids=["plain", "gated"])
@pytest.mark.parametrize(
    ("body", "more", "ledger"),
    [
        # An error in a subtest is no miss.
        (
            "    with subtests.test():\n        assert named\n    with subtests.test():\n        {}['x']\n",
            "",
            {"errored": 2},
        ),
        # What a later subtest passes takes nothing back, and neither does an earlier one.
        (
            "    for number in range(3):\n        with subtests.test(number=number):\n            assert named or number != 1\n",
            "",
            None,
        ),
        # The test itself fails after a subtest passed.
        ("    with subtests.test():\n        pass\n    assert named\n", "", None),
        # A skip in a subtest is no failure, and one after a failed subtest does not hide it.
        ("    with subtests.test():\n        pytest.skip('not here')\n", "", {"passed": 2}),
        ("    with subtests.test():\n        assert named\n    pytest.skip('enough')\n", "", "skipped"),
        # A grade that does not apply skips the subtest.
        ("    with subtests.test():\n        assert applies\n", ", applies", {"passed": 2}),
        # What the author expects to fail may fail; what the author calls a failure is one.
        ("    with subtests.test():\n        pytest.xfail('known')\n", "", {"passed": 2}),
        ("    with subtests.test():\n        pytest.fail('no')\n", "", "all"),
        # Nested ones.
        ("    with subtests.test():\n        with subtests.test():\n            assert named\n", "", None),
        ("    with subtests.test():\n        pass\n", ", fails", {"errored": 2}),
    ],
)
def test_a_case_is_as_bad_as_the_worst_of_its_test_and_subtests(
    evals: Evals, body: str, more: str, ledger: dict[str, int] | str | None, gates: str
) -> None:
    word = "missed" if gates else "failed"
    expected = {None: {"passed": 1, word: 1}, "skipped": {"not_applicable": 1, word: 1}, "all": {word: 2}}
    run(evals, body, gates, more)
    found = {name: number for name, number in evals.ledger().items() if name != "collected"}
    assert found == (ledger if isinstance(ledger, dict) else expected[ledger])


def test_a_failed_subtest_shows_the_conversation_and_the_grades(evals: Evals) -> None:
    run(evals, NAMED).stdout.fnmatch_lines(["*Eval*", "[[]user[]] Capital of Chad?*", "*<named 0*"])
