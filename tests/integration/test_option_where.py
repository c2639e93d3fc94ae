"""``--evals-where`` and ``skip=``: which rows run."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Evals

ROWS: list[dict[str, Any]] = [
    {"id": "a", "level": "easy", "skip": None},
    {"id": "b", "level": "hard", "skip": None},
    {"id": "c", "level": "hard", "skip": "the answer is disputed"},
]
ECHO = "def answer(messages):\n    return messages[-1]['content']\n"
SUITE = """
from pytest_evals import cases, graders

named = graders.contains("{{item.id}}")

@cases("rows.jsonl", prompt="{{item.id}}", id="id", gates=["named.mean >= 0.5"], skip="item.skip")
def test_rows(named):
    assert named

def test_plain():
    pass
"""


def test_only_the_rows_for_which_the_expression_is_true_run(evals_both: Evals) -> None:
    evals_both.write(SUITE, script=ECHO, rows__jsonl=ROWS)
    result = evals_both.run("--evals-where=item.level == 'hard'")
    assert result.parseoutcomes()["passed"] == 2
    assert evals_both.ledger() == {"collected": 3, "passed": 1, "not_applicable": 1, "not_run": 1}


def test_a_skipped_row_shows_its_reason_and_asks_no_model(evals: Evals) -> None:
    evals.write(SUITE, script=ECHO, rows__jsonl=ROWS)
    result = evals.run("-rs")
    result.stdout.fnmatch_lines(["*the answer is disputed*"])
    assert evals.ledger() == {"collected": 3, "passed": 2, "not_applicable": 1}


@pytest.mark.parametrize(
    ("where", "said"),
    [("item.lvl == 'hard'", "no row of the 3 cases has what it names (fields: id, level, skip)"), ("item.x = 1", "==")],
)
def test_an_expression_that_chooses_nothing_by_mistake_is_a_usage_error(evals: Evals, where: str, said: str) -> None:
    evals.write(SUITE, script=ECHO, rows__jsonl=ROWS)
    result = evals.run(f"--evals-where={where}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in result.stderr.str()
