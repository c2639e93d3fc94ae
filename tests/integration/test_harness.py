"""`pytest_evals.testing` as a plugin: what authors of graders test their graders with."""

from __future__ import annotations

import pytest

from pytest_evals.errors import ArtifactError
from pytest_evals.testing import Evals

SUITE = """
from pytest_evals import cases, grader, graders

named = graders.contains("{{item.capital}}")

@grader
def words(completion):
    return len(completion.text.split())

@cases("cities.jsonl", prompt="Capital of {{item.country}}?", id="id", gates=["named.mean >= 0.5"])
def test_cities(named, words):
    assert named
"""
ROWS = [{"id": "fr", "country": "France", "capital": "Paris"}, {"id": "jp", "country": "Japan", "capital": "Tokyo"}]


def test_a_run_has_outcomes_grades_and_an_artifact(evals_both: Evals) -> None:
    evals_both.write(SUITE, cities__jsonl=ROWS)
    result = evals_both.run()
    result.assert_outcomes(passed=1, xfailed=1)
    assert result.ret == 0
    assert evals_both.ledger() == {"collected": 2, "passed": 1, "missed": 1}
    assert evals_both.grades("named")["fr"].passed
    assert {case: grade.value for case, grade in evals_both.grades("words").items()} == {"fr": 1, "jp": 4}
    assert [line["type"] for line in evals_both.lines()] == ["run", "sample", "sample", "summary"]
    assert evals_both.artifact.complete


def test_files_may_be_texts_and_the_script_ones_own(evals: Evals) -> None:
    evals.write(
        SUITE.replace("cities.jsonl", "cities.csv"),
        script="def shout(messages):\n    return messages[-1]['content'].upper()\n",
        cities__csv="id,country,capital\nfr,France,CAPITAL OF FRANCE\n",
    )
    evals.run(model="scripted:script:shout").assert_outcomes(passed=1)


def test_arguments_reach_pytest(evals: Evals) -> None:
    evals.write(SUITE, cities__jsonl=ROWS)
    result = evals.run("-k", "fr", "--evals-gate", "words.max <= 2")
    result.stdout.fnmatch_lines(["gate NOT JUDGED test_cities: words.max <= 2*"])
    assert list(evals.grades("named")) == ["fr"]


def test_grades_that_are_not_there_or_not_one_a_case_are_told(evals: Evals) -> None:
    evals.write(SUITE, cities__jsonl=ROWS)
    with pytest.raises(ArtifactError):
        evals.grades("named")
    evals.run("--evals-repeat", "2")
    with pytest.raises(LookupError, match="no case has a grade 'name'; there are named, words"):
        evals.grades("name")
    with pytest.raises(LookupError, match="case 'fr' has several grades of 'named'"):
        evals.grades("named")


def test_a_run_that_was_killed_has_no_ledger(evals: Evals) -> None:
    evals.write(SUITE, cities__jsonl=ROWS)
    evals.run()
    lines = evals.path.read_text(encoding="utf-8").splitlines(keepends=True)
    evals.path.write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(LookupError, match="the run was killed"):
        evals.ledger()


def test_switches_of_the_environment_do_not_reach_a_run_and_what_a_test_sets_does(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("PYTEST_EVALS", "1")
    pytester.makeconftest("pytest_plugins = ['pytest_evals.testing']")
    pytester.makepyfile("""
        import os
        import pytest

        @pytest.fixture(autouse=True)
        def wide(isolated_environment, monkeypatch):
            monkeypatch.setenv("COLUMNS", "120")

        def test_it(evals):
            assert not {"GITHUB_ACTIONS", "PYTEST_EVALS"} & set(os.environ)
            evals.write("def test_suite(): ...")
            assert len(evals.run().outlines[0]) == 120
    """)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist")
    result.assert_outcomes(passed=1)


def test_another_project_uses_it_as_a_plugin(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("pytest_plugins = ['pytest_evals.testing']")
    pytester.makepyfile(f"SUITE = {SUITE!r}\nROWS = {ROWS!r}\n" + INNER)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-W", "error", "-v")
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(["*test_both?plain? PASSED*", "*test_both?xdist? SKIPPED*"])


INNER = """
import os
import sys

import pytest

def test_one(evals):
    evals.write(SUITE, cities__jsonl=ROWS)
    evals.run().assert_outcomes(passed=1, xfailed=1)

@pytest.fixture(autouse=True)
def without_xdist(monkeypatch):
    monkeypatch.setitem(sys.modules, "xdist", None)

def test_both(evals_both):
    evals_both.write(SUITE, cities__jsonl=ROWS)
    evals_both.run().assert_outcomes(passed=1, xfailed=1)
"""
