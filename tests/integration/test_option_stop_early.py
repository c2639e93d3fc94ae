"""``--evals-stop-early``: a suite ends when its gates are settled."""

from __future__ import annotations

import pytest

from .conftest import Evals
from .test_option_replay import COUNTED, asked

SUITE = """
from pytest_evals import cases, grader

@grader
def right(completion, case):
    return case.right

ROWS = [{"id": f"c{number:03}", "right": number >= WRONG} for number in range(400)]

@cases(ROWS, id="id", prompt="{{item.id}}", gates=["right.mean >= 0.5"])
def test_it(right):
    assert right

def test_that_is_no_eval():
    pass
"""
GATHERING = """
import asyncio
waiting = []

async def together(case):
    waiting.append(case.id)
    await asyncio.sleep(0.05)
    open("most", "w").write(str(len(waiting)))
    return case.right

@grader
async def right"""


def suite(wrong: int) -> str:
    """Return a suite whose first cases are wrong."""
    return SUITE.replace("WRONG", str(wrong))


@pytest.mark.parametrize(("wrong", "verdict"), [(40, "passed"), (360, "failed")])
def test_a_clear_suite_is_stopped_and_says_how_many_cases_it_saved(evals: Evals, wrong: int, verdict: str) -> None:
    evals.write(suite(wrong), COUNTED)
    result = evals.run("--evals-stop-early")
    ledger = evals.ledger()
    ran = ledger["collected"] - ledger["not_run"]
    assert 5 < ran < 100
    text = " ".join(result.stdout.str().split())
    assert f"test_it: stopped early: its gates were settled after {ran} of 400 cases; {400 - ran} saved" in text
    (gate,) = evals.lines()[-1]["gates"]
    assert (gate["verdict"], gate["n"]) == (verdict, ran)
    assert gate["reason"].endswith(f"; stopped early, after {ran} of 400 cases")
    assert result.ret == (verdict == "failed")
    # The first cases of the file are wrong ones: those that ran are a fair sample of all.
    share = sum(grade.value or 0.0 for sample in evals.artifact.samples for grade in sample.grades) / ran
    assert abs(share - (400 - wrong) / 400) < 0.2
    # What was generated ahead is all that was generated without need.
    assert len(asked(evals)) <= ran + 65
    result.assert_outcomes(
        passed=ledger.get("passed", 0) + 1, xfailed=ledger.get("missed", 0), skipped=400 - ran, failed=result.ret
    )


def test_a_close_suite_runs_to_its_end_and_so_does_one_that_cannot_be_settled(evals: Evals) -> None:
    evals.write(suite(200).replace("range(400)", "range(60)").replace("200", "30"), COUNTED)
    result = evals.run("--evals-stop-early", "-v")
    assert evals.ledger() == {"collected": 60, "passed": 30, "missed": 30}
    result.stdout.no_fnmatch_line("*stopped early*")
    assert len(asked(evals)) == 60
    unsettled = suite(5).replace('["right.mean >= 0.5"]', '["right.mean >= 0.5", "right.ci_low >= 0.5"]')
    evals.write(unsettled.replace("range(400)", "range(60)"), COUNTED)
    result = evals.run("--evals-stop-early")
    assert "not_run" not in evals.ledger()
    assert "test_it: not stopped early: gate 'right.ci_low >= 0.5': ci_low is not a mean" in " ".join(
        result.stdout.str().split()
    )


def test_gates_on_other_statistics_and_budgets_stop_a_suite_too(evals: Evals) -> None:
    gates = ["right.median >= 0.5", "right.min >= 0", "right.min > 0.5", "tokens.p95 <= 9", "errors.rate <= 0.5"]
    met = [gate for gate in gates if "min" not in gate]
    for chosen, failed in ((met, 0), ([*met, gates[2]], 1)):
        evals.write(suite(40).replace('["right.mean >= 0.5"]', repr(chosen)), COUNTED)
        result = evals.run("--evals-stop-early")
        assert evals.ledger()["not_run"] > 250
        assert [gate["verdict"] for gate in evals.lines()[-1]["gates"]].count("failed") == failed
        assert result.ret == failed
    # That no case is below 0 is known when all of them ran.
    evals.write(suite(40).replace('["right.mean >= 0.5"]', repr([*met, gates[1]])).replace("400", "90"), COUNTED)
    evals.run("--evals-stop-early")
    assert "not_run" not in evals.ledger()


def test_a_part_of_the_cases_is_never_stopped_and_steps_are_dropped_too(evals: Evals) -> None:
    source = suite(10).replace("return case.right", "return await together(case)")
    source = source.replace("@grader\ndef right", GATHERING)
    evals.write(source, COUNTED)
    evals.run("--evals-stop-early", "-k", "not c000")
    assert evals.ledger()["not_run"] == 1
    asked(evals)
    (evals.pytester.path / "most").unlink()
    evals.run("--evals-stop-early")
    ledger = evals.ledger()
    assert 0 < ledger["not_run"] < 400
    assert len(asked(evals)) <= 400 - ledger["not_run"] + 65
    # The steps of a window begin together, so that their calls meet.
    assert int((evals.pytester.path / "most").read_text(encoding="utf-8")) >= 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "2"], "--evals-stop-early cannot be combined with -n: workers finish cases in no order*"),
        (["-p", "no:xdist", "--evals-plan"], "--evals-stop-early cannot be combined with --evals-plan*"),
    ],
)
def test_where_it_makes_no_sense_it_is_a_usage_error(
    pytester: pytest.Pytester, arguments: list[str], message: str
) -> None:
    evals = Evals(pytester, ())
    evals.write(suite(1))
    result = evals.run("--evals-stop-early", *arguments)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
