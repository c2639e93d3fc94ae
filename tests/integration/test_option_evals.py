"""``--evals`` and its other forms switch evals on; without them they are skipped and cost nothing."""

from __future__ import annotations

import pytest

SUITE = """
from pytest_evals import cases, graders

named = graders.contains("{{item.capital}}")

@cases([{"country": "France", "capital": "Paris"}, {"country": "Chad", "capital": "N'Djamena"}],
       prompt="Capital of {{item.country}}?", id="country", model="scripted:script:answer")
def test_capitals(named):
    assert named
"""
SCRIPT = 'def answer(messages):\n    return "Paris"\n'


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(test_suite=SUITE, script=SCRIPT)
    return pytester


def test_without_the_option_a_suite_is_one_skipped_test_that_says_how_to_run_it(suite: pytest.Pytester) -> None:
    result = suite.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*run it with --evals*evals = true*PYTEST_EVALS=1*"])
    assert result.ret == 0


def test_a_single_case_named_without_the_option_is_found_and_skipped_with_the_reason(suite: pytest.Pytester) -> None:
    result = suite.runpytest_subprocess("-rs", "test_suite.py::test_capitals[France]")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*--evals*"])


def test_a_broken_dataset_does_not_disturb_a_run_without_evals(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        from pytest_evals import cases
        @cases("missing.jsonl", prompt="x")
        def test_it(completion): ...
        def test_ordinary(): ...
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1, skipped=1)


@pytest.mark.parametrize("configuration", ["[pytest]\nevals = true\n", "[pytest]\naddopts = --evals\n"])
def test_the_configuration_file_switches_evals_on(suite: pytest.Pytester, configuration: str) -> None:
    suite.makefile(".ini", pytest=configuration)
    suite.runpytest_subprocess().assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_the_environment_switches_evals_on(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PYTEST_EVALS", value)
    suite.runpytest_subprocess("-k", "France").assert_outcomes(passed=1, deselected=1)


def test_the_environment_can_say_no(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_EVALS", "0")
    suite.runpytest_subprocess().assert_outcomes(skipped=1)


def test_the_environment_undoes_the_configuration_file(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.makefile(".ini", pytest="[pytest]\nevals = true\n")
    monkeypatch.setenv("PYTEST_EVALS", "0")
    suite.runpytest_subprocess().assert_outcomes(skipped=1)


def test_a_misspelt_environment_value_is_a_usage_error(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_EVALS", "flase")
    result = suite.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*PYTEST_EVALS='flase' is neither true nor false*"])


def test_the_mark_is_registered_with_and_without_the_option(suite: pytest.Pytester) -> None:
    for arguments in ([], ["--evals"]):
        result = suite.runpytest_subprocess("--strict-markers", "--collect-only", *arguments)
        assert result.ret == 0


def test_the_mark_without_cases_is_a_collection_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.evals\ndef test_it(): ...")
    result = pytester.runpytest_subprocess("--evals")
    result.stdout.fnmatch_lines(["*use @cases(...) of pytest_evals*"])


def test_collect_only_lists_the_cases_and_starts_no_engine(suite: pytest.Pytester) -> None:
    suite.makepyfile(script="raise SystemExit('an engine was started')")
    result = suite.runpytest_subprocess("--evals", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["test_suite.py::test_capitals[[]France[]]", "test_suite.py::test_capitals[[]Chad[]]"])
    assert not (suite.path / ".evals").exists()


@pytest.mark.parametrize("option", ["--setup-plan", "--setup-only", "--setup-show"])
def test_setup_plan_and_setup_only_ask_no_model(suite: pytest.Pytester, option: str) -> None:
    result = suite.runpytest_subprocess("--evals", option)
    assert "INTERNALERROR" not in result.stdout.str()
    assert ("--setup-only asks no model" in result.stdout.str()) == (option == "--setup-only")
    assert bool(list((suite.path / ".evals").glob("*.jsonl"))) == (option == "--setup-show")


def test_the_fixtures_are_listed_with_their_documentation(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--fixtures")
    result.stdout.fnmatch_lines_random(["*case -- *", "*completion -- *", "*record -- *"])


def test_an_unrelated_distribution_of_the_same_package_name_is_refused(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = suite.mkdir("site") / "pytest_evals-0.3.4.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pytest-evals\nVersion: 0.3.4\n")
    monkeypatch.setenv("PYTHONPATH", str(suite.path / "site"))
    result = suite.runpytest_subprocess("--evals")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*pytest-evals 0.3.4 is installed beside pytest-evals-hf*pip uninstall*"])


def test_a_run_without_any_eval_is_as_it_was(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_ordinary(): ...")
    result = pytester.runpytest_subprocess("--evals")
    result.assert_outcomes(passed=1)
    assert "score card" not in result.stdout.str()
    assert not list((pytester.path / ".evals").glob("*.jsonl"))


def test_nothing_collected_stays_exit_5(pytester: pytest.Pytester) -> None:
    assert pytester.runpytest_subprocess("--evals").ret == pytest.ExitCode.NO_TESTS_COLLECTED
