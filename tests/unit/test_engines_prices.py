"""What answers cost."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_evals.engines.prices import Price, parse_prices
from pytest_evals.errors import ModelError
from pytest_evals.reports.formatting import amount

HOSTED = "openai:gpt-5-mini@https://api.openai.com/v1?key_env=OPENAI_API_KEY&retries=3"


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("gpt-5-mini", HOSTED),
        ("gpt-5-mini@https://api.openai.com/v1", HOSTED),
        ("openai:gpt-5-mini@https://api.openai.com/v1", HOSTED),
        (HOSTED, HOSTED),
        ("mine", HOSTED),
        ("@cf/meta/llama", "openai:@cf/meta/llama@https://h/v1,https://i/v1"),
        ("llama3:8b", "openai:llama3:8b@http://127.0.0.1:11434/v1"),
        ("org/name", "hf:org/name?dtype=bf16"),
        ("org/name@main", "org/name@main"),
        ("scripted:m:f", "scripted:m:f"),
        ("models/gpt=4", "openai:models/gpt=4@http://h"),
    ],
)
def test_a_price_belongs_to_a_specification_or_to_the_name_in_it(name: str, model: str) -> None:
    prices = parse_prices([f"  {name} = 0.25   2 "], {"mine": HOSTED})
    assert prices.of(model) == Price(0.25, 2.0)
    assert prices.of("openai:other@https://api.openai.com/v1") is None


@pytest.mark.parametrize(
    ("answer", "cost"),
    [
        ({"prompt_tokens": 1000, "completion_tokens": 100}, 1000e-6 * 0.5 + 100e-6 * 4),
        ({"prompt_tokens": 0, "completion_tokens": 0}, 0.0),
        ({"prompt_tokens": None, "completion_tokens": 5}, None),
        ({"prompt_tokens": 5, "completion_tokens": None}, None),
        ({}, None),
        # Several samples are several requests.
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 3,
                "samples": [{"completion_tokens": 3}, {"completion_tokens": 7}],
            },
            20e-6 * 0.5 + 10e-6 * 4,
        ),
        ({"prompt_tokens": 10, "completion_tokens": 3, "samples": [{"completion_tokens": None}]}, None),
        ({"prompt_tokens": 10, "completion_tokens": 3, "samples": ["of an older version"]}, 10e-6 * 0.5 + 3e-6 * 4),
    ],
)
def test_an_answer_costs_what_its_tokens_do(answer: dict[str, Any], cost: float | None) -> None:
    found = parse_prices(["tiny = 0.5 4"], {}).cost("openai:tiny@http://h", answer)
    assert found == (None if cost is None else pytest.approx(cost, rel=1e-12))


def test_a_model_without_a_price_costs_nothing_that_is_known() -> None:
    prices = parse_prices(["tiny = 0.5 4"], {})
    counted = {"prompt_tokens": 1, "completion_tokens": 1}
    assert prices.cost("smollm2", counted) is None
    assert prices.cost(None, counted) is None
    assert not parse_prices([], {})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["gpt = 0.25"], "'gpt = 0.25' is not 'NAME = PROMPT COMPLETION'"),
        (["gpt 0.25 2"], "is not 'NAME = PROMPT COMPLETION'"),
        (["= 1 2"], "is not 'NAME = PROMPT COMPLETION'"),
        (["gpt = 1 2 3"], "is not 'NAME = PROMPT COMPLETION'"),
        (["gpt = $1 2"], "a price is a number of at least 0, not '$1'"),
        (["gpt = 1 -2"], "a price is a number of at least 0, not '-2'"),
        (["gpt = nan 2"], "a price is a number of at least 0, not 'nan'"),
        (["gpt = 1 inf"], "a price is a number of at least 0, not 'inf'"),
        (["gpt = 1 2", "gpt = 1 2"], "'gpt' has two prices"),
    ],
)
def test_a_line_that_is_no_price_is_refused(lines: list[str], message: str) -> None:
    with pytest.raises(ModelError, match=message.replace("$", r"\$")):
        parse_prices(lines, {})


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0.00"),
        (0.00001234, "0.00001234"),
        (0.5, "0.5000"),
        (1.0, "1.000"),
        (12.345, "12.35"),
        (1234.5, "1,234.50"),
    ],
)
def test_an_amount_has_four_digits_that_count(number: float, text: str) -> None:
    assert amount(number) == text
