"""What a run prints: the score card in several widths and verbosities, and the ledger."""

from __future__ import annotations

import pytest

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


def card(result: pytest.RunResult) -> list[str]:
    lines = [line.rstrip() for line in result.outlines]
    start = next(number for number, line in enumerate(lines) if " score card " in line)
    end = next(number for number, line in enumerate(lines[start + 1 :], start + 1) if line.startswith("====="))
    return lines[start + 1 : end]


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


def test_in_a_narrow_terminal_columns_leave_and_lines_wrap(evals: Evals, monkeypatch: pytest.MonkeyPatch) -> None:
    evals.write(SUITE)
    monkeypatch.setenv("COLUMNS", "48")
    lines = card(evals.run())
    assert lines[:4] == [
        "suite          grader    n   mean",
        "-------------  ------  ---  -----",
        "test_capitals  named   2/2  0.500",
        "               words   2/2  2.500",
    ]
    assert all(len(line) <= 48 or line.startswith("next: ") for line in lines)
    monkeypatch.setenv("COLUMNS", "41")
    assert all(len(line) <= 41 or line.startswith(("artifact: ", "next: ")) for line in card(evals.run()))


def test_quiet_is_compact_and_very_quiet_is_verdicts_only(evals: Evals) -> None:
    evals.write(SUITE)
    assert card(evals.run("-q")) == [*WIDE[:9], "artifact: run.jsonl"]
    assert card(evals.run("-qq")) == ["gate FAILED     test_capitals: named.mean >= 0.75: 0.5, not >= 0.75 (n=2)"]


def test_verbose_adds_a_line_a_case(evals: Evals) -> None:
    evals.write(SUITE)
    assert card(evals.run("-v"))[:3] == [
        "passed   test_capitals[fr] answer named=1, words=1",
        "missed   test_capitals[td] answer named=0, words=4",
        "",
    ]


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
