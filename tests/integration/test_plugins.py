"""Beside other plugins: what they do to items, reports, terminal and workers costs evals nothing, and they see gates.

The plugins themselves are run by ``campaigns/matrix.py``; here a conftest does what they do.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from .conftest import Evals

SUITE = """
import pytest
from pytest_evals import cases, graders

named = graders.contains("Paris")
ROWS = [{"id": "fr", "country": "France"}, {"id": "pe", "country": "Peru"}, {"id": "to", "country": "France or Tonga"}]

@cases(ROWS, prompt="Capital of {{item.country}}?", id="id", gates=["named.mean >= 0.9", "named.min >= 0"])
def test_it(named):
    assert named
"""
UNGATED = SUITE.replace(', gates=["named.mean >= 0.9", "named.min >= 0"]', "")
FAILED_GATE = "evals.gates::test_it.named.mean >= 0.9"


# -- Ids of items.

RENAME = """
import pytest

def renamed(item, name):
    item.__class__ = type("Renamed", (type(item),), {"nodeid": property(lambda self: name)})
"""
HOOKS = {
    "itemcollected": 'def pytest_itemcollected(item): renamed(item, "ci/" + item.nodeid)',
    "modifyitems": """
def pytest_collection_modifyitems(items):
    for item in items: renamed(item, item.nodeid + "@group")
""",
}  # fmt: skip


@pytest.mark.parametrize("hook", HOOKS)
def test_items_that_others_renamed_count(evals: Evals, hook: str) -> None:
    evals.write(SUITE)
    evals.pytester.makeconftest(RENAME + HOOKS[hook])
    result = evals.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert evals.ledger() == {"collected": 3, "passed": 2, "missed": 1}
    result.stdout.fnmatch_lines([f"FAILED {FAILED_GATE}*", "*1 failed, 2 passed, 1 xfailed*"])


@pytest.mark.parametrize("workers", [("-p", "no:xdist"), ("-n", "2")])
def test_cases_that_get_one_id_are_refused(evals: Evals, workers: tuple[str, str]) -> None:
    evals.write(SUITE)
    evals.pytester.makeconftest(RENAME + 'def pytest_itemcollected(item): renamed(item, "The capital of a country")')
    result = evals.pytester.runpytest_subprocess("--evals", "--evals-model=scripted:script:answer", *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*several cases have one id*The capital of a country: test_suite.py::test_it[[]fr] (case fr of test_it); *[[]pe]*[[]to]*",
        ]
    )
    assert "INTERNALERROR" not in result.stdout.str()


def test_another_case_that_has_the_id_of_one_from_the_start_is_not_left_out(evals: Evals) -> None:
    evals.write(SUITE)
    same = "items[1].stash[EVAL].nodeid = items[0].nodeid; renamed(items[1], items[0].nodeid)"
    evals.pytester.makeconftest(
        f"{RENAME}from pytest_evals.collection.item import EVAL\n@pytest.hookimpl(tryfirst=True)\ndef pytest_collection_modifyitems(items):\n    {same}"
    )
    assert evals.run().ret == pytest.ExitCode.USAGE_ERROR


def test_results_that_belong_to_no_case_fail_the_run(evals: Evals) -> None:
    evals.write(SUITE)
    late = '@pytest.hookimpl(tryfirst=True)\ndef pytest_runtest_setup(item): renamed(item, "late/" + item.nodeid) if "[pe]" in item.nodeid else None'
    evals.pytester.makeconftest(RENAME + late)
    result = evals.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["evals: 1 of 3 cases that were to run did not; 1 result came with an id that no case has, as late/*"]
    )
    summary = evals.artifact.summary
    assert summary is not None
    assert not summary.complete


def test_a_file_that_is_named_twice_runs_once(evals_both: Evals) -> None:
    evals_both.write(UNGATED)
    result = evals_both.run("--keep-duplicates", "test_suite.py", "test_suite.py")
    assert evals_both.ledger() == {"collected": 3, "passed": 2, "failed": 1}
    result.stdout.fnmatch_lines(["*1 failed, 2 passed*"])


def test_workers_that_each_run_everything_are_refused(evals: Evals) -> None:
    evals.write(SUITE)
    result = evals.pytester.runpytest_subprocess("--evals", "-n", "2", "--dist", "each")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--dist each runs every test once in each worker*"])


def test_workers_that_are_forks_are_refused(evals: Evals) -> None:
    evals.write(SUITE)
    evals.pytester.makeconftest(
        "def pytest_addoption(parser, pluginmanager):\n"
        "    parser.addoption('--workers')\n"
        "    parser.addoption('--tests-per-worker')\n"
        "    pluginmanager.register(object(), 'parallel')\n"
    )
    for option in ("--workers=2", "--tests-per-worker=4"):
        result = evals.run(option)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*(pytest-parallel) fork pytest's process*"])
    assert evals.run().ret == pytest.ExitCode.TESTS_FAILED


def test_a_run_whose_workers_are_gone_is_not_complete(evals: Evals) -> None:
    crash = "import os\n" + UNGATED.replace(
        "    assert named", '    os.kill(os.getpid(), 9) if completion.text == "Paris" else None'
    )
    evals.write(crash.replace("def test_it(named)", "def test_it(named, completion)"))
    result = evals.pytester.runpytest_subprocess(
        *(
            "--evals",
            "--evals-artifact=run.jsonl",
            "--evals-model=scripted:script:answer",
            "-n",
            "1",
            "--max-worker-restart=0",
        )
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    summary = evals.artifact.summary
    assert summary is not None
    assert (summary.complete, evals.ledger()["not_run"]) == (False, 2)
    result.stdout.fnmatch_lines(["interrupted: 2 of 3 cases that were to run did not"])


# -- Reports of gates.

LISTEN = """
import pytest

def pytest_runtest_logreport(report):
    if report.nodeid.startswith("evals.gates"):
        print("\\nHEARD", report.when, report.outcome, report.nodeid)
"""


def test_a_gate_is_reported_as_a_test_is_and_is_not_to_be_run_again(evals: Evals) -> None:
    evals.write(SUITE)
    evals.pytester.makeconftest(LISTEN)
    options = ("--evals", "--evals-model=scripted:script:answer", "-p", "no:xdist", "-s")
    for extra in (("--sw",), ("--lf",), ("--lf",)):
        result = evals.pytester.runpytest_subprocess(*options, *extra)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.no_fnmatch_line("*known failure*")
        result.stdout.fnmatch_lines(
            [
                f"HEARD setup passed {FAILED_GATE}",
                f"HEARD call failed {FAILED_GATE}",
                f"HEARD teardown passed {FAILED_GATE}",
                "HEARD call passed evals.gates::test_it.named.min >= 0",
                "*1 failed, 2 passed, 1 xfailed*",
            ]
        )


def test_a_gate_is_shown_without_a_folder_and_on_one_line(evals: Evals) -> None:
    evals.write(SUITE)
    below = evals.pytester.mkdir("below")
    evals.pytester.makeini("[pytest]\nevals_models = scripted:script:answer")
    os.chdir(below)
    result = evals.pytester.runpytest_subprocess("--evals", "-p", "no:xdist", "--tb=line", "..", "-v")
    text = result.stdout.str()
    assert text.count(f"\nFAILED {FAILED_GATE}") == 1
    assert text.count("test_suite.py:7: test_it.named.mean >= 0.9: 0.6667, not >= 0.9 (n=3)\n") == 1
    assert "../evals.gates" not in text


ALLURE = {
    "allure_commons/__init__.py": "",
    "allure_commons/utils.py": "def md5(text): return 'm' + text\ndef now(): return 1\ndef uuid4(): return 'u'\ndef platform_label(): return 'cpython3'\n",
    "allure_commons/model2.py": "from types import SimpleNamespace as TestResult, SimpleNamespace as StatusDetails, SimpleNamespace as Label\n"
    "class Status: PASSED, FAILED, SKIPPED = 'passed', 'failed', 'skipped'\n",
    "conftest.py": """
class Reporter:
    def schedule_test(self, uuid, result): print("\\nALLURE", result.status, result.fullName, getattr(result.statusDetails, "message", ""))
    def close_test(self, uuid): pass

class Listener:
    allure_logger = Reporter()

def pytest_configure(config):
    config.pluginmanager.register(Listener(), "allure_listener")

def pytest_collection_modifyitems(items):
    print("\\nPARAMETERS", [repr(value) for item in items for value in item.callspec.params.values()])
""",
}  # fmt: skip


def test_allure_has_gates_and_readable_parameters(evals: Evals) -> None:
    evals.write(SUITE)
    for name, text in ALLURE.items():
        path = evals.pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    result = evals.run("-s")
    result.stdout.fnmatch_lines(
        [
            "PARAMETERS *'fr', 'pe', 'to'*",
            f"ALLURE failed {FAILED_GATE} 0.6667, not >= 0.9 (n=3)",
            "ALLURE passed evals.gates::test_it.named.min >= 0*",
        ]
    )


BROKEN = """
def answer(messages):
    asked = messages[-1]["content"]
    if "Broken" in asked and "Peru" in asked:
        raise OSError("away")
    return "no" if "Peru" in asked or "Broken" in asked and "Tonga" in asked else "Paris"
"""


@pytest.mark.parametrize(("written", "cases", "gates"), [("auto", 1, 0), ("on", 2, 1), ("off", 0, 0)])
def test_annotations_are_not_made_twice(
    evals: Evals, monkeypatch: pytest.MonkeyPatch, written: str, cases: int, gates: int
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    both = UNGATED.partition("@cases")[2].replace("def test_it", "def test_bare").replace("Capital", "Broken capital")
    evals.write(f"{SUITE}\n@cases{both}", BROKEN)
    evals.pytester.makeconftest(
        "def pytest_addoption(pluginmanager): pluginmanager.register(object(), 'pytest_github_actions_annotate_failures')"
    )
    lines = evals.run("-o", f"evals_annotations={written}").stdout.str().splitlines()
    commands = [line for line in lines if line.startswith("::error")]
    assert sum("title=Gate" in line for line in commands) == gates
    assert sum("title=Case" in line for line in commands) == cases


# -- Plugins that run a test again, or end it.


def test_reruns_get_the_same_completions_and_count_once(evals_both: Evals) -> None:
    evals_both.write(UNGATED)
    result = evals_both.run("--reruns", "2")
    assert evals_both.ledger() == {"collected": 3, "passed": 2, "failed": 1}
    result.stdout.fnmatch_lines(["answer (*): 3 completions, *", "*1 failed, 2 passed, 2 rerun*"])


RETRY = """
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call" and report.failed:
        hook = item.ihook
        hook.pytest_runtest_teardown(item=item, nextitem=pytest.Class.from_parent(item.session, name="None"))
        item._initrequest()
        pytest.CallInfo.from_call(lambda: hook.pytest_runtest_setup(item=item), when="setup")
        again = pytest.TestReport.from_item_and_call(item, pytest.CallInfo.from_call(lambda: hook.pytest_runtest_call(item=item), when="call"))
        report.outcome, report.longrepr = again.outcome, again.longrepr
    return report
"""
FLAKY = """
    import pathlib
    seen = pathlib.Path(f"{case.id}.seen")
    if not seen.exists():
        seen.touch()
        raise OSError("away")
    if case.id == "to":
        raise OSError("still away")
    assert named
"""


def test_the_last_try_of_a_plugin_that_runs_tests_by_itself_counts(evals: Evals) -> None:
    evals.write(UNGATED.replace("(named):\n    assert named", f"(named, case):{FLAKY}"))
    evals.pytester.makeconftest(RETRY)
    result = evals.run()
    result.stdout.fnmatch_lines(["*2 failed, 1 passed*"])
    assert evals.ledger() == {"collected": 3, "passed": 1, "failed": 1, "errored": 1}
    found = {sample.case_id: (sample.outcome, sample.error) for sample in evals.artifact.samples}
    assert found["fr"] == ("passed", None)
    assert found["to"][1] is not None
    assert found["to"][1].message == "OSError: still away"


def test_a_test_that_runs_out_of_time_is_errored_also_under_a_gate(evals: Evals) -> None:
    slow = SUITE.replace("(named):", "(named, case):\n    import time\n    time.sleep(30 * (case.id == 'fr'))")
    evals.write(slow)
    evals.run("--timeout=1")
    assert evals.ledger() == {"collected": 3, "passed": 1, "missed": 1, "errored": 1}


def test_limits_rest_once_somebody_is_at_a_prompt(evals: Evals) -> None:
    evals.write(
        """
        import time
        import pytest
        from conftest import CONFIG
        from pytest_evals import cases, graders, task

        @task
        def slow(case):
            CONFIG.hook.pytest_enter_pdb(config=CONFIG, pdb=None)  # as breakpoint() does
            time.sleep(1.2)
            return "Paris"

        named = graders.contains("Paris", of="slow")

        @cases([{"id": "fr"}], id="id")
        def test_it(named):
            assert named
        """
    )
    evals.pytester.makeconftest("class CONFIG: pass\ndef pytest_configure(config): CONFIG.hook = config.hook")
    evals.run("-o", "evals_step_timeout=0.3")
    assert evals.ledger() == {"collected": 1, "passed": 1}


# -- The terminal.

REPLACED = """
import pytest

@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.pluginmanager.unregister(config.pluginmanager.get_plugin("terminalreporter"))
"""


def test_the_score_card_is_printed_also_where_the_terminal_is_another(evals: Evals) -> None:
    evals.write(SUITE)
    evals.pytester.makeconftest(REPLACED)
    evals.run().stdout.fnmatch_lines(["=* score card =*", "gate FAILED *", "artifact: run.jsonl"])
    evals.pytester.makeconftest("")
    assert evals.run("-p", "no:terminal").stdout.str() == ""


def test_a_card_without_lines_has_no_heading(evals: Evals) -> None:
    evals.write(UNGATED)
    evals.run("-qq").stdout.no_fnmatch_line("*score card*")


def test_evals_that_are_off_are_said_to_be_skipped(evals: Evals) -> None:
    evals.write(SUITE)
    for workers in (("-p", "no:xdist"), ("-n", "1")):
        result = evals.pytester.runpytest_subprocess(*workers)
        result.stdout.fnmatch_lines(["evals are off: 1 eval skipped; --evals runs it"])
    evals.pytester.runpytest_subprocess("-q").stdout.no_fnmatch_line("*evals are off*")


# -- A case that somebody chose.


@pytest.mark.parametrize("prefix", ["", "/"], ids=["as pytest writes it", "as IDEs write it"])
def test_a_single_case_that_misses_fails_and_shows_why(evals_both: Evals, prefix: str) -> None:
    evals_both.write(SUITE)
    evals_both.pytester.makeconftest(LISTEN)
    path = evals_both.pytester.path / "test_suite.py" if prefix else Path("test_suite.py")
    result = evals_both.run(f"{path}::test_it[pe]", f"{path}::test_it[fr]")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*assert <named 0 missed*", "*Eval*", "*Capital of Peru?", "*I do not know.", "gate NOT JUDGED*"]
    )
    result.stdout.no_fnmatch_line("HEARD*")
    assert evals_both.ledger() == {"collected": 3, "passed": 1, "failed": 1, "not_run": 1}


def test_all_cases_by_their_ids_are_a_whole_run(evals_both: Evals) -> None:
    evals_both.write(SUITE)
    result = evals_both.run(*(f"test_suite.py::test_it[{case}]" for case in ("fr", "pe", "to")))
    result.stdout.fnmatch_lines(["gate FAILED *", "*1 failed, 2 passed, 1 xfailed*"])


def test_misses_that_no_gate_judges_are_shown(evals_both: Evals) -> None:
    evals_both.write(SUITE)
    result = evals_both.run("-k", "pe or fr")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "=* misses that no gate judges =*",
            "-- test_it[[]pe]*",
            "*Capital of Peru?",
            "*I do not know.",
            "*named 0*",
            "=* score card*",
        ]
    )
    evals_both.run("-k", "pe or fr", "-q").stdout.no_fnmatch_line("*misses that no gate judges*")
    evals_both.run().stdout.no_fnmatch_line("*misses that no gate judges*")


def test_runxfail_makes_misses_failures(evals: Evals) -> None:
    evals.write(SUITE)
    evals.run("--runxfail").stdout.fnmatch_lines(["*2 failed, 2 passed*"])
    # Their options are gone with the plugins of pytest that have them.
    evals.run("-p", "no:skipping", "-p", "no:terminal")
    assert evals.ledger() == {"collected": 3, "passed": 2, "missed": 1}


# -- Mistakes.


def test_an_async_test_is_refused_before_anything_is_generated(evals_both: Evals) -> None:
    evals_both.write(UNGATED.replace("def test_it", "async def test_it"))
    result = evals_both.run()
    assert result.ret in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.TESTS_FAILED)  # without and with workers
    result.stdout.fnmatch_lines(
        ["*test_it: the test is async, and no plugin that runs such tests is in charge of it;*"]
    )
    assert not evals_both.path.exists()


def test_an_exception_of_collection_names_file_and_line(evals: Evals) -> None:
    evals.write("from pytest_evals import cases\n\n\n@cases\ndef test_it(completion): ...\n")
    evals.pytester.makeconftest("def pytest_exception_interact(call): print('\\nHEARD', call.excinfo.exconly())")
    evals.run("-s", "--collect-only").stdout.fnmatch_lines(["HEARD pytest_evals.errors.SuiteError: test_suite.py:4: *"])


def test_junit_has_a_property_for_each_grader_also_of_a_case_that_broke(evals: Evals) -> None:
    evals.write(SUITE, 'def answer(messages):\n    raise OSError("away")')
    evals.run("--junitxml=junit.xml")
    xml = (evals.pytester.path / "junit.xml").read_text(encoding="utf-8")
    assert xml.count('<property name="evals.named" value="error"') == 3


def test_the_first_line_says_what_suites_declare(evals: Evals) -> None:
    evals.write(SUITE)
    evals.run("-k", "pe")
    run = json.loads(evals.path.read_text(encoding="utf-8").splitlines()[0])
    (suite,) = run["suites"]
    assert suite["gates"] == ["named.mean >= 0.9", "named.min >= 0"]
    assert (suite["graders"], suite["declared"]) == (["named"], {"scripted:script:answer": 3})
