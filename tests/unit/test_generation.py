"""Generation parameters, checked before any model loads."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest

from pytest_evals.errors import SuiteError
from pytest_evals.generation import GenerationParams, changed_params, params_by_use, parse_generation

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


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
        ("min_p", 0, 0.0),
        ("min_p", 1, 1.0),
        ("repetition_penalty", 1, 1.0),
        ("repetition_penalty", 0.5, 0.5),
        ("repetition_penalty", 100, 100.0),
        ("n", 1, 1),
        ("stop", "\n", ("\n",)),
        ("stop", ["a", "b"], ("a", "b")),
        ("stop", [], ()),
        ("seed", None, None),
        ("seed", 0, 0),
        ("logprobs", True, True),
        ("chat_template_kwargs", {"enable_thinking": False}, {"enable_thinking": False}),
        ("max_thinking_tokens", None, None),
        ("max_thinking_tokens", 0, 0),
        ("max_thinking_tokens", 64, 64),
        ("thinking_allowance", 64, 64),
        ("sampling", "model", "model"),
        ("tools", [{"name": "f"}], (TOOL,)),
        ("tools", [TOOL], (TOOL,)),
        ("tool_choice", "none", "none"),
        ("json_schema", None, None),
        ("json_schema", {"type": "object"}, {"type": "object"}),
        ("json_schema", {}, {}),
        ("regex", None, None),
        ("regex", r"[a-z]+\d{3}", r"[a-z]+\d{3}"),
        ("choice", ["yes", "no"], ("yes", "no")),
        ("choice", ("yes", "no", "yes"), ("yes", "no")),
        ("choice", ["only"], ("only",)),
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
        ("min_p", -0.1, "a number from 0 to 1"),
        ("min_p", 1.1, "a number from 0 to 1"),
        ("min_p", "0.1", "a number from 0 to 1"),
        ("repetition_penalty", 0, "above 0"),
        ("repetition_penalty", -1, "a number from 0 to 100"),
        ("repetition_penalty", math.inf, "a number from 0 to 100"),
        ("n", 0, "a whole number of at least 1"),
        ("n", 2.0, "a whole number of at least 1"),
        ("n", True, "a whole number of at least 1"),
        ("stop", "", "a non-empty string or a list of them"),
        ("stop", [""], "a non-empty string or a list of them"),
        ("stop", [1], "a non-empty string or a list of them"),
        ("stop", None, "a non-empty string or a list of them"),
        ("seed", -1, "a whole number of at least 0"),
        ("seed", 1.5, "a whole number of at least 0"),
        ("logprobs", 1, "true or false"),
        ("chat_template_kwargs", ["a"], "a mapping"),
        ("max_thinking_tokens", -1, "a whole number of at least 0"),
        ("max_thinking_tokens", True, "a whole number of at least 0"),
        ("max_thinking_tokens", "64", "a whole number of at least 0"),
        ("sampling", "own", "default or model"),
        ("sampling", True, "default or model"),
        ("tools", {"name": "f"}, "a list of JSON schemas or Python functions"),
        ("tool_choice", "any", "auto or none or required"),
        ("json_schema", ["a"], "a mapping"),
        ("json_schema", '{"type": "object"}', "a mapping"),
        ("regex", "", "a regular expression"),
        ("regex", 5, "a regular expression"),
        ("choice", "yes", "a list of non-empty strings"),
        ("choice", [], "a list of non-empty strings"),
        ("choice", ["yes", ""], "a list of non-empty strings"),
        ("choice", ["yes", 1], "a list of non-empty strings"),
        ("choice", None, "a list of non-empty strings"),
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


# -- structured output


@pytest.mark.parametrize("schema", [{"type": "objekt"}, {"properties": 5}, {"minimum": "a"}])
def test_a_schema_that_is_none_says_what_is_wrong_with_it(schema: Any) -> None:
    with pytest.raises(SuiteError, match="generation: json_schema is not a valid JSON schema: "):
        parse_generation({"json_schema": schema})


def test_a_regular_expression_that_is_none_says_what_is_wrong_with_it() -> None:
    with pytest.raises(SuiteError, match=r"generation: regex '\(a' is not a regular expression: missing \)"):
        parse_generation({"regex": "(a"})


GUIDES: dict[str, Any] = {"json_schema": {"type": "object"}, "regex": "a+", "choice": ["a", "b"]}


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(GUIDES, 2)])
def test_what_guides_a_completion_is_given_once(one: str, other: str) -> None:
    with pytest.raises(SuiteError, match=f"generation: {one} and {other} exclude each other; give one"):
        parse_generation({other: GUIDES[other], one: GUIDES[one]})


def test_a_schema_that_allows_everything_is_a_guide_too() -> None:
    assert parse_generation({"json_schema": {}}).guided
    with pytest.raises(SuiteError, match="json_schema and regex exclude each other"):
        parse_generation({"json_schema": {}, "regex": "a"})


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_beside_what_guides_nothing_is_fine(name: str) -> None:
    nothing = {"json_schema": None, "regex": None}
    params = parse_generation({**nothing, name: GUIDES[name]})
    assert params.guided
    assert not parse_generation(nothing).guided


# -- samples


def test_several_samples_of_a_greedy_completion_are_refused() -> None:
    with pytest.raises(SuiteError, match="n samples of a greedy completion are all the same; give a temperature"):
        parse_generation({"n": 2})
    with pytest.raises(SuiteError, match="give a temperature above 0"):
        parse_generation({"n": 2, "temperature": 0, "top_k": 5})
    assert parse_generation({"n": 2, "temperature": 0.1}).n == 2
    assert parse_generation({"n": 1}).n == 1


def test_the_first_samples_seed_is_that_of_the_request() -> None:
    assert GenerationParams(seed=7).sample_seed(0) == 7
    assert GenerationParams().sample_seed(0) == 0


def test_seeds_of_samples_do_not_meet_those_of_other_seeds() -> None:
    """Seeds that users choose are small and stand side by side."""
    seeds = [GenerationParams(seed=seed).sample_seed(sample) for seed in range(200) for sample in range(64)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


# -- the wire


def test_parameters_survive_the_wire() -> None:
    params = parse_generation({"stop": ["a"], "temperature": 0.5, "seed": 3, "chat_template_kwargs": {"x": [1]}})
    assert GenerationParams.from_dict(json.loads(json.dumps(params.to_dict()))) == params


@pytest.mark.parametrize("name", GUIDES)
def test_structured_output_survives_the_wire(name: str) -> None:
    params = parse_generation({name: GUIDES[name], "min_p": 0.1, "repetition_penalty": 1.2, "n": 3, "temperature": 1})
    found = GenerationParams.from_dict(json.loads(json.dumps(params.to_dict())))
    assert found == params
    assert (found.n, found.min_p, found.repetition_penalty) == (3, 0.1, 1.2)


def test_every_parameter_declares_how_it_uses_logits() -> None:
    assert params_by_use("no", "device", "host") == set(GenerationParams.__slots__)
    assert params_by_use("host") == {
        *("repetition_penalty", "logprobs", "json_schema", "regex", "choice", "max_thinking_tokens", "tool_choice"),
    }


def test_what_is_not_at_its_default_is_known() -> None:
    assert changed_params(GenerationParams()) == set()
    changed = parse_generation({"temperature": 0.5, "chat_template_kwargs": {"thinking": False}, "max_new_tokens": 256})
    assert changed_params(changed) == {"temperature", "chat_template_kwargs"}


@pytest.mark.parametrize(
    "values",
    [
        {"max_thinking_tokens": 0},
        {"thinking_allowance": 64, "sampling": "model"},
        {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"},
    ],
)
def test_what_a_model_of_today_takes_survives_the_wire(values: dict[str, Any]) -> None:
    params = parse_generation(values)
    assert GenerationParams.from_dict(json.loads(json.dumps(params.to_dict()))) == params


def test_the_digest_of_a_request_knows_no_parameter_of_a_later_version_at_its_default() -> None:
    first = ("max_new_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "n", "stop", "seed")
    written = parse_generation({"chat_template_kwargs": {"a": 1}}).to_dict()
    assert set(written) == {*first, "logprobs", "template", "json_schema", "regex", "choice"}
    assert written["template"] == {"a": 1}


def test_a_call_is_required_of_a_model_that_has_tools_and_no_other_grammar() -> None:
    with pytest.raises(SuiteError, match="tool_choice 'required' needs tools"):
        parse_generation({"tool_choice": "required"})
    with pytest.raises(SuiteError, match="regex and tool_choice 'required' exclude each other"):
        parse_generation({"tool_choice": "required", "tools": [TOOL], "regex": "a"})
    with pytest.raises(SuiteError, match="generation: tool 1 must be a JSON schema of a function or a Python function"):
        parse_generation({"tools": ["f"]})


def test_template_is_the_older_name_of_its_variables() -> None:
    assert parse_generation({"template": {"a": 1}}).chat_template_kwargs == {"a": 1}
    with pytest.raises(SuiteError, match="template is an older name of chat_template_kwargs; give one of them"):
        parse_generation({"template": {"a": 1}, "chat_template_kwargs": {"a": 2}})


def test_cases_with_the_same_parameters_share_one_object() -> None:
    assert parse_generation({"max_new_tokens": 7}) is parse_generation({"max_new_tokens": 7})
    sent = json.dumps(parse_generation({"stop": ["a"]}).to_dict())
    assert GenerationParams.from_dict(json.loads(sent)) is GenerationParams.from_dict(json.loads(sent))
    assert GenerationParams.from_dict(json.loads(sent)) == parse_generation({"stop": ["a"]})


def test_values_that_are_equal_and_of_other_types_are_not_the_same_parameters() -> None:
    variables = [parse_generation({"chat_template_kwargs": {"x": value}}) for value in (1, 1.0, True)]
    assert [type(each.chat_template_kwargs["x"]) for each in variables] == [int, float, bool]


def test_what_a_caller_changes_in_described_parameters_changes_no_others() -> None:
    params = parse_generation({"max_new_tokens": 9})
    params.to_dict()["max_new_tokens"] = 1
    assert params.to_dict()["max_new_tokens"] == 9
