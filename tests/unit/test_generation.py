"""Generation parameters, checked before any model loads."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from pytest_evals.errors import SuiteError
from pytest_evals.generation import GenerationParams, parse_generation


def test_what_a_suite_does_not_say_is_greedy() -> None:
    params = parse_generation({})
    assert params == GenerationParams()
    assert params.greedy
    assert params.seed is None


@pytest.mark.parametrize(
    ("name", "value", "parsed"),
    [
        ("max_new_tokens", 1, 1),
        ("temperature", 0, 0.0),
        ("temperature", 0.7, 0.7),
        ("temperature", 100, 100.0),
        ("top_k", 0, 0),
        ("top_p", 1, 1.0),
        ("top_p", 0.01, 0.01),
        ("stop", "\n", ("\n",)),
        ("stop", ["a", "b"], ("a", "b")),
        ("stop", [], ()),
        ("seed", None, None),
        ("seed", 0, 0),
        ("logprobs", True, True),
        ("template", {"enable_thinking": False}, {"enable_thinking": False}),
    ],
)
def test_a_good_value_is_taken(name: str, value: Any, parsed: Any) -> None:
    assert getattr(parse_generation({name: value}), name) == parsed


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("max_new_tokens", 0, "a whole number of at least 1"),
        ("max_new_tokens", "16", "a whole number of at least 1"),
        ("max_new_tokens", True, "a whole number of at least 1"),
        ("max_new_tokens", 1.0, "a whole number of at least 1"),
        ("temperature", -0.1, "a number from 0 to 100"),
        ("temperature", 101, "a number from 0 to 100"),
        ("temperature", math.nan, "a number from 0 to 100"),
        ("temperature", False, "a number from 0 to 100"),
        ("temperature", None, "a number from 0 to 100"),
        ("top_k", -1, "a whole number of at least 0"),
        ("top_p", 0, "above 0"),
        ("top_p", 1.1, "a number from 0 to 1"),
        ("stop", "", "a non-empty string or a list of them"),
        ("stop", [""], "a non-empty string or a list of them"),
        ("stop", [1], "a non-empty string or a list of them"),
        ("stop", None, "a non-empty string or a list of them"),
        ("seed", -1, "a whole number of at least 0"),
        ("seed", 1.5, "a whole number of at least 0"),
        ("logprobs", 1, "true or false"),
        ("template", ["a"], "a mapping"),
    ],
)
def test_a_bad_value_names_parameter_and_what_it_may_be(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(SuiteError, match=f"generation: {name} must be {wanted}"):
        parse_generation({name: value})


def test_an_unknown_parameter_lists_the_known_ones_and_suggests() -> None:
    with pytest.raises(SuiteError) as caught:
        parse_generation({"max_tokens": 5})
    assert "generation: unknown parameter 'max_tokens' (known: max_new_tokens, temperature" in str(caught.value)
    assert "did you mean 'max_new_tokens'?" in str(caught.value)


def test_a_parameter_whose_name_is_no_text_is_unknown() -> None:
    with pytest.raises(SuiteError, match="unknown parameter 3"):
        parse_generation({3: 1})  # type: ignore[dict-item]  # the mistake is what is tested


def test_sampling_is_not_greedy() -> None:
    assert not parse_generation({"temperature": 0.1}).greedy


def test_parameters_survive_the_wire() -> None:
    params = parse_generation({"stop": ["a"], "temperature": 0.5, "seed": 3, "template": {"x": [1]}})
    assert GenerationParams.from_dict(json.loads(json.dumps(params.to_dict()))) == params
