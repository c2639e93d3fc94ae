"""The score card's ledger and notes."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from pytest_evals.scorecard import Ledger, ModelUse, cut_note, make_ledger
from pytest_evals.scores.records import Outcome
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


def use_of(**usage: float) -> ModelUse:
    return ModelUse("m", "m", "cpu", "fp32", 1, 10, 10, 1.0, usage=usage)


@pytest.mark.parametrize(
    ("usage", "occupancy"),
    [
        ({"decode_rows": 30, "decodes": 10, "most_rows": 4}, 0.75),
        ({"decode_rows": 40, "decodes": 10, "most_rows": 4}, 1.0),
        ({"decodes": 0, "most_rows": 0, "decode_rows": 0}, None),
        ({}, None),
    ],
)
def test_occupancy_is_the_mean_of_rows_over_the_fullest_batch(usage: dict[str, float], occupancy: float | None) -> None:
    use = use_of(**usage)
    assert use.occupancy == occupancy
    assert use.to_dict().get("occupancy") == occupancy


@pytest.mark.parametrize(
    ("usage", "share"),
    [
        ({"shared_tokens": 25, "prompt_tokens": 75}, 0.25),
        ({"shared_tokens": 25, "prompt_tokens": 25, "reused_tokens": 50}, 0.25),
        ({"shared_tokens": 0, "prompt_tokens": 75}, 0.0),
        ({"shared_tokens": 5, "prompt_tokens": 0}, 1.0),
        ({}, None),
    ],
)
def test_the_shared_prompt_is_a_share_of_all_prompt_tokens(usage: dict[str, float], share: float | None) -> None:
    use = use_of(**usage)
    assert use.shared_prompt == share
    assert use.to_dict().get("shared_prompt") == share


@pytest.mark.parametrize(
    ("usage", "share"),
    [
        ({"padding_tokens": 25, "prompt_tokens": 75}, 0.25),
        ({"padding_tokens": 0, "prompt_tokens": 75}, 0.0),
        ({}, None),
    ],
)
def test_padding_is_a_share_of_what_went_through_the_model(usage: dict[str, float], share: float | None) -> None:
    use = use_of(**usage)
    assert use.padding == share
    assert use.to_dict().get("padding") == share


def test_an_engine_that_accounts_for_nothing_has_no_shares() -> None:
    assert not {"occupancy", "shared_prompt", "padding"} & use_of().to_dict().keys()


def test_the_use_of_a_model_is_plain_data() -> None:
    use = ModelUse(
        "m", "s", "cpu", "fp32", 10, 100, 50, 2.0, duplicates=3, replicas=2, loading_seconds=1.5, rows=8,
        usage={"decode_rows": 1, "decodes": 1, "most_rows": 3},
    )  # fmt: skip
    assert json.loads(json.dumps(use.to_dict())) == {
        "model": "m",
        "short": "s",
        "device": "cpu",
        "dtype": "fp32",
        "completions": 10,
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "seconds": 2.0,
        "duplicates": 3,
        "replicas": 2,
        "loading_seconds": 1.5,
        "rows": 8,
        "recalled": 0,
        "cost": None,
        "usage": {"decode_rows": 1, "decodes": 1, "most_rows": 3},
        "tokens_per_second": 25.0,
        "completions_per_second": 5.0,
        "occupancy": 0.3333,
    }


def test_without_time_there_are_no_rates() -> None:
    assert "tokens_per_second" not in ModelUse("m", "m", None, None, 1, 1, 1, 0.0).to_dict()
