"""The score card's ledger and notes."""

from __future__ import annotations

from typing import get_args

import pytest

from pytest_evals.scorecard import Ledger, ModelUse, cut_note, make_ledger
from pytest_evals.scores import Outcome
from tests.unit.building import case_record


def test_an_empty_run_has_an_empty_ledger() -> None:
    assert make_ledger(0, []) == Ledger()


@pytest.mark.parametrize("collected", [15, 20])
def test_the_ledger_adds_up(collected: int) -> None:
    records = [
        case_record(outcome=outcome) for number, outcome in enumerate(get_args(Outcome), 1) for _ in range(number)
    ]
    counts = make_ledger(collected, records).to_dict()
    assert counts.pop("collected") == collected == sum(counts.values())


@pytest.mark.parametrize(
    ("outcome", "name"),
    [("passed",) * 2, ("missed",) * 2, ("failed",) * 2, ("errored",) * 2, ("skipped", "not_applicable")],
)
def test_every_outcome_has_its_place(outcome: Outcome, name: str) -> None:
    counts = make_ledger(1, [case_record(outcome=outcome)]).to_dict()
    assert {key for key, number in counts.items() if number} == {"collected", name}


def test_cases_without_a_record_did_not_run() -> None:
    assert make_ledger(3, [case_record()]).not_run == 2


def test_cut_completions_are_counted() -> None:
    records = [case_record(finish_reason=reason) for reason in ("stop", "length", "length", None, "recorded")]
    assert cut_note(records) == "2 of 5 completions were cut at max_new_tokens"


def test_without_cut_completions_there_is_no_note() -> None:
    assert cut_note([case_record()]) is None


def test_the_use_of_a_model_has_rates() -> None:
    data = ModelUse("m", "m", "cpu", "fp32", 10, 100, 50, 2.0).to_dict()
    assert (data["tokens_per_second"], data["completions_per_second"]) == (25.0, 5.0)


def test_without_time_there_are_no_rates() -> None:
    assert "tokens_per_second" not in ModelUse("m", "m", None, None, 1, 1, 1, 0.0).to_dict()
