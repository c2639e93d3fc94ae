"""What a run prints: the score card in several widths and verbosities, and the ledger."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

from pytest_evals.cli import main

from .conftest import Evals

SUITE = """
import pytest
from pytest_evals import cases, grader, graders

named = graders.contains("Paris")

@grader
def words(completion):
    return len(completion.text.split())

@cases([{"id": "fr", "q": "France"}, {"id": "td", "q": "Chad"}], prompt="Capital of {{item.q}}?", id="id", gates=["named.mean >= 0.75"])
def test_capitals(named, words):
    assert named
"""


AGAIN = "next: pytest "


def card(result: pytest.RunResult) -> list[str]:
    lines = [line.rstrip() for line in result.outlines]
    start = next(number for number, line in enumerate(lines) if " score card " in line)
    end = next(number for number, line in enumerate(lines[start + 1 :], start + 1) if line.startswith("====="))
    # The command that runs the misses again repeats pytester's own options.
    return [line for line in lines[start + 1 : end] if not line.startswith(AGAIN)]


WIDE = [
    "suite          grader    n   mean       95% interval  passed    min    max",
    "-------------  ------  ---  -----  -----------------  ------  -----  -----",
    "test_capitals  named   2/2  0.500     0.095 .. 0.905     50%  0.000  1.000",
    "               words   2/2  2.500  -16.559 .. 21.559       -  1.000  4.000",
    "95% interval of words: Student's t, since its values have no bounds",
    "",
    "gate FAILED     test_capitals: named.mean >= 0.75: 0.5, not >= 0.75 (n=2)",
    "",
    "2 cases: 1 passed, 1 missed, 0 failed, 0 errored",
    "answer (python): 2 completions, 5 tokens",
    "artifact: run.jsonl",
    "next: pytest-evals cases run.jsonl -v --where \"outcome == 'missed'\"",
]


def test_the_card_is_the_same_with_and_without_workers(evals_both: Evals) -> None:
    evals_both.write(SUITE)
    assert card(evals_both.run()) == WIDE


def test_in_a_narrow_terminal_suites_are_headings_columns_leave_and_lines_wrap(
    evals: Evals, monkeypatch: pytest.MonkeyPatch
) -> None:
    evals.write(SUITE)
    monkeypatch.setenv("COLUMNS", "48")
    lines = card(evals.run())
    assert lines[:6] == [
        "  grader    n   mean       95% interval  passed",
        "  ------  ---  -----  -----------------  ------",
        "test_capitals",
        "  named   2/2  0.500     0.095 .. 0.905     50%",
        "  words   2/2  2.500  -16.559 .. 21.559       -",
        "no room for: min, max",
    ]
    assert all(len(line) <= 48 or line.startswith("next: ") for line in lines)
    monkeypatch.setenv("COLUMNS", "41")
    assert all(len(line) <= 41 or line.startswith(("artifact: ", "next: ")) for line in card(evals.run()))


def test_quiet_is_compact_and_very_quiet_is_verdicts_only(evals: Evals) -> None:
    evals.write(SUITE)
    assert card(evals.run("-q")) == [*WIDE[:9], "artifact: run.jsonl", WIDE[-1]]
    assert card(evals.run("-qq")) == ["gate FAILED     test_capitals: named.mean >= 0.75: 0.5, not >= 0.75 (n=2)"]


def test_verbose_adds_each_case_with_its_answer_and_so_does_a_run_of_one(evals: Evals) -> None:
    evals.write(SUITE)
    first = [
        "passed   test_capitals[fr] answer",
        "  asked     Capital of France?",
        "  answered  Paris",
        "  grades    named 1; words 1",
    ]
    lines = card(evals.run("-v"))
    assert lines[:4] == first
    assert lines[4:6] == ["missed   test_capitals[td] answer", "  asked     Capital of Chad?"]
    assert lines[7].startswith("  grades    named 0 (expected 'Paris' in ")
    assert card(evals.run("test_suite.py::test_capitals[fr]"))[:5] == [*first, ""]


SEVERAL = """
def large(messages): return "Paris"
def small(messages): return "I do not know"
def broken(messages): raise RuntimeError("out of memory")
"""


def test_several_models_stand_beside_each_other_below_which_is_better(
    evals: Evals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    evals.write(SUITE.replace("@cases([", "@cases([*({'id': f'n{n}', 'q': 'x'} for n in range(8)), "), SEVERAL)
    models = [f"--evals-model=scripted:script:{name}" for name in ("small", "large")]
    result = evals.run(*models, "--evals-summary=summary.md", model=None)
    lines = card(result)
    assert lines[0].startswith("named: large is better than small by 1.000 (95% interval ")
    assert " over the same 10 cases" in " ".join(" ".join(lines[:2]).split())
    assert ["mean,", "95%", "interval", "n", "small", "large"] in [line.split() for line in lines]
    assert "gate FAILED     test_capitals[small]: named.mean >= 0.75: 0, not >= 0.75 (n=10)" in lines
    result.stdout.fnmatch_lines(["FAILED evals.gates::test_capitals.named.mean >= 0.75?small? - 0, not >= 0.75*"])
    summary = (evals.pytester.path / "summary.md").read_text(encoding="utf-8")
    assert summary.split("\n\n")[1].startswith("**named: large is better than small by 1.000")
    assert "| mean, 95% interval | n | small | large |" in summary


def test_equal_errors_are_shown_once_with_their_number_and_all_are_counted(evals: Evals) -> None:
    evals.write(SUITE, SEVERAL)
    result = evals.run("--evals-model=scripted:script:broken", "--junitxml=junit.xml", model=None)
    result.assert_outcomes(errors=2, failed=1)
    text = result.stdout.str()
    assert text.count("ERROR at setup of") == 1
    assert "The same error of 1 more" in text
    result.stdout.fnmatch_lines(["ERROR test_suite.py::test_capitals?fr? - (2 cases) no completion*"])
    assert (evals.pytester.path / "junit.xml").read_text(encoding="utf-8").count("<error ") == 2


def test_the_short_summary_begins_with_the_reason(evals: Evals) -> None:
    evals.write(SUITE.replace(', gates=["named.mean >= 0.75"]', ""))
    result = evals.run()
    result.stdout.fnmatch_lines(["FAILED test_suite.py::test_capitals?td? - named: expected 'Paris'*"])


def test_colour_carries_no_meaning_of_its_own(evals: Evals) -> None:
    evals.write(SUITE)
    coloured = evals.run("--color=yes").stdout.str()
    assert "\x1b[31m" in coloured
    assert "\x1b[" not in evals.run("--color=no").stdout.str()


@pytest.mark.parametrize("arguments", [("-p", "no:terminal"), ("-s",), ("--capture=sys",), ("-p", "no:capture")])
def test_the_artifact_does_not_depend_on_terminal_or_capture(evals: Evals, arguments: tuple[str, ...]) -> None:
    evals.write(SUITE)
    result = evals.run(*arguments)
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    assert len(evals.artifact.samples) == 2


def test_the_header_says_that_the_embedded_default_is_used_when_no_model_is_named(evals: Evals) -> None:
    evals.write("def test_ordinary(): ...\n")
    evals.run(model=None).stdout.fnmatch_lines(["evals: smollm2 unless a suite names another*device auto, dtype auto"])


def test_every_collected_case_is_in_the_ledger_once(evals_both: Evals) -> None:
    evals_both.write(
        """
import pytest
from pytest_evals import cases, grader

@grader
def right(case, completion):
    if case["do"] == "grader breaks":
        raise ValueError("x")
    return None if case["do"] == "does not apply" else case["do"] == "pass"

ROWS = [{"id": str(n), "do": do} for n, do in enumerate(
    ["pass", "miss", "model breaks", "grader breaks", "does not apply", "test breaks", "skip", "deselected"])]

@cases(ROWS, prompt="{{item.do}}", id="id", gates=["right.mean >= 0"])
def test_it(right, case):
    if case["do"] == "test breaks":
        raise KeyError("x")
    if case["do"] == "skip":
        pytest.skip("not today")
    assert right
""",
        script="def answer(messages):\n    assert 'model breaks' not in messages[-1]['content']\n    return 'x'\n",
    )
    evals_both.run("--deselect", "test_suite.py::test_it[7]")
    assert evals_both.ledger() == {
        "collected": 8, "passed": 1, "missed": 1, "errored": 3, "not_applicable": 2, "not_run": 1,
    }  # fmt: skip
    row = evals_both.artifact.scores()[0]
    assert (row["n"], row["errors"], row["not_applicable"]) == (4, 2, 1)


CUT = """
from pytest_evals import Completion

def answer(messages):
    return Completion("It is Par", tuple(messages), "length") if "Chad" in messages[-1]["content"] else "Paris"
"""


@pytest.mark.parametrize("verbosity", ["-q", "-v"])
def test_completions_that_were_cut_are_counted_at_any_verbosity(evals: Evals, verbosity: str) -> None:
    evals.write(SUITE, CUT)
    evals.run(verbosity).stdout.fnmatch_lines(["1 of 2 completions were cut at max_new_tokens"])


def hints_of(result: pytest.RunResult) -> list[str]:
    return [line.partition(": ")[2] for line in result.outlines if line.startswith(("next: ", "to go on: "))]


def test_each_command_that_a_run_prints_does_what_it_says(
    evals: Evals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evals.write(SUITE.replace('gates=["named.mean >= 0.75"]', 'gates=["named.mean >= baseline"]'), SEVERAL)
    monkeypatch.chdir(evals.pytester.path)
    asked = ("--evals-model=scripted:script:small", "--evals-judge", "scripted:script:large", "test_suite.py")
    seen: dict[str, int] = {}

    def follow(words: list[str]) -> pytest.RunResult | None:
        """Do what a hint says; hold that it ends well, and repeats what the run was asked."""
        if words[0] == "pytest-evals":
            seen[words[1]] = main(words[1:])
            return None
        assert set(asked) - {"--evals-judge"} <= set(words)
        seen["pytest"] = 1
        # pytester's own folder is none of the run's options.
        return evals.pytester.runpytest_subprocess(*(word for word in words[1:] if not word.startswith("--basetemp")))

    first = evals.run(*asked, "--evals-baseline", "main", model=None)
    hints = hints_of(first)
    assert [hint.split()[0] for hint in hints] == ["pytest-evals", "pytest-evals", "pytest"]
    results = [follow(shlex.split(hint)) for hint in hints]
    compared = results[-1]
    assert compared is not None
    compared.stdout.fnmatch_lines(["gate PASSED*named.mean >= baseline: 0 against 0*"])
    assert seen == {"cases": 0, "baseline": 0, "pytest": 1}
    shown = capsys.readouterr().out
    assert "2 of 2 cases" in shown
    # What the command prints is a command, too.
    printed = next(line.partition(": ")[2] for line in shown.splitlines() if line.startswith("commit it"))
    again = follow(shlex.split(printed))
    assert again is not None
    again.stdout.fnmatch_lines(["gate PASSED*named.mean >= baseline: 0 against 0*"])


def test_what_a_failed_gate_missed_is_run_again_by_the_command_below_it(
    evals: Evals, monkeypatch: pytest.MonkeyPatch
) -> None:
    evals.write(SUITE)
    folder = evals.pytester.path
    (folder / "bin").mkdir()
    for name, module in (("pytest", "pytest"), ("pytest-evals", "pytest_evals")):
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n', encoding="utf-8")
        (folder / "bin" / name).chmod(0o755)
    lines = [line.rstrip() for line in evals.run("test_suite.py").outlines]
    number = next(number for number, line in enumerate(lines) if line.startswith(AGAIN))
    assert lines[number - 1].startswith("gate FAILED")
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=os.pathsep)
    done = subprocess.run(
        ["/bin/sh", "-c", lines[number].removeprefix("next: ")], cwd=folder, capture_output=True, text=True, check=False
    )
    # The one that missed, and for one case its failure is shown: no gate can be judged by it.
    assert "1 failed in" in done.stdout, done.stdout + done.stderr
    assert "FAILED test_suite.py::test_capitals[" in done.stdout
