"""From log-likelihoods to a choice."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pytest_evals.completion import MEASURES, By, Chosen, Likelihood, check_choices, check_measure, likeliest, measured
from pytest_evals.errors import SuiteError
from pytest_evals.graders.multiple_choice import check_expected, details, reason

# The shortest, the one of the best tokens, and the one of the best bytes.
SHORT = Likelihood(" no", -4.0, 1, 3)
FLUENT = Likelihood(" certainly not", -6.0, 4, 14)
LONG = Likelihood(" by no means at all ever", -7.0, 3, 24)
ALL = (SHORT, FLUENT, LONG)


# -- which


@pytest.mark.parametrize(("by", "index"), [("sum", 0), ("token", 1), ("byte", 2)])
def test_each_measure_has_its_likeliest(by: By, index: int) -> None:
    chosen = likeliest(ALL, by)
    assert (chosen.index, chosen.text) == (index, ALL[index].text)


def test_sums_are_compared_unless_another_measure_is_named() -> None:
    assert likeliest(ALL).index == 0


@pytest.mark.parametrize(("by", "value"), [("sum", -6.0), ("token", -1.5), ("byte", -6 / 14)])
def test_a_measure_is_the_sum_or_a_mean(by: By, value: float) -> None:
    assert measured(FLUENT, by) == pytest.approx(value)


@pytest.mark.parametrize(
    ("choices", "logprobs", "acc", "acc_norm"),
    [
        ([" yes", " certainly not"], [-2.0, -3.0], 0, 1),
        ([" a", " bb", " ccc"], [-1.0, -1.9, -2.9], 0, 1),
        ([" zwölf", " 十二"], [-5.0, -2.2], 1, 0),
        (["no space", " one"], [-4.0, -1.6], 1, 0),
    ],
)
def test_sums_and_means_of_characters_choose_as_lm_evaluation_harness_does(
    choices: list[str], logprobs: list[float], acc: int, acc_norm: int
) -> None:
    found = [Likelihood(text, value, 1, len(text.encode())) for text, value in zip(choices, logprobs, strict=True)]
    # lm_eval.api.task: acc is argmax(lls), acc_norm is argmax(lls / len(choice)), where a choice has no delimiter before it.
    lengths = [len(text.removeprefix(" ")) for text in choices]
    normed = [value / length for value, length in zip(logprobs, lengths, strict=True)]
    assert (likeliest(found, "sum").index, likeliest(found, "char").index) == (acc, acc_norm)
    assert likeliest(found, "char").index == normed.index(max(normed))


def test_the_first_of_equals_is_chosen() -> None:
    equals = [Likelihood(text, -2.0, 1, 1) for text in "cab"]
    chosen = likeliest(equals)
    assert (chosen.index, chosen.text) == (0, "c")
    assert chosen.probabilities == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_probabilities_are_those_of_the_choices_among_themselves() -> None:
    chosen = likeliest([Likelihood("a", math.log(0.03), 1, 1), Likelihood("b", math.log(0.01), 1, 1)])
    assert chosen.probabilities == pytest.approx((0.75, 0.25))


@pytest.mark.parametrize("by", MEASURES)
def test_probabilities_follow_the_measure(by: By) -> None:
    weights = [math.exp(measured(each, by)) for each in ALL]
    assert likeliest(ALL, by).probabilities == pytest.approx([weight / sum(weights) for weight in weights])


@pytest.mark.parametrize("base", [-1e4, 0.0, 700.0])
def test_very_unlikely_and_very_likely_texts_have_probabilities_too(base: float) -> None:
    chosen = likeliest([Likelihood("a", base, 1, 1), Likelihood("b", base + math.log(3), 1, 1)])
    assert chosen.index == 1
    assert chosen.probabilities == pytest.approx((0.25, 0.75))


def test_a_choice_that_is_out_of_the_question_has_probability_zero() -> None:
    assert likeliest([Likelihood("a", -5000.0, 1, 1), Likelihood("b", -1.0, 1, 1)]).probabilities == (0.0, 1.0)


def test_a_single_text_is_the_likeliest() -> None:
    assert likeliest([SHORT]) == Chosen(0, " no", (1.0,))


# -- why


def test_the_reason_of_a_right_choice_says_how_sure_the_model_was() -> None:
    found = [Likelihood(" yes", math.log(0.75), 1, 4), Likelihood(" no", math.log(0.25), 1, 3)]
    assert reason(found, likeliest(found), 0, "sum") == "chose ' yes' (75%)"


def test_the_reason_of_a_wrong_choice_says_what_would_have_been_right() -> None:
    found = [Likelihood(" yes", math.log(0.75), 1, 4), Likelihood(" no", math.log(0.25), 1, 3)]
    assert reason(found, likeliest(found), 1, "sum") == "chose ' yes' (75%), expected ' no' (25%)"


@pytest.mark.parametrize(
    ("by", "words"), [("token", " by log-likelihood a token"), ("byte", " by log-likelihood a byte")]
)
def test_the_reason_names_a_measure_that_is_not_the_sum(by: By, words: str) -> None:
    assert words in reason(ALL, likeliest(ALL, by), 0, by)
    assert words not in reason(ALL, likeliest(ALL), 0, "sum")


def test_hostile_choices_stay_on_one_line() -> None:
    found = [Likelihood("\x1b[2Ja\nb", -1.0, 1, 1), Likelihood("\r" * 1000, -2.0, 1, 1)]
    text = reason(found, likeliest(found), 1, "sum")
    assert text.isprintable()
    assert len(text) < 1000


def test_a_grade_keeps_index_sums_and_tokens() -> None:
    assert details(ALL, likeliest(ALL, "byte")) == {"choice": 2, "logprobs": [-4.0, -6.0, -7.0], "tokens": [1, 4, 3]}


# -- settings


@pytest.mark.parametrize("choices", [["a", "b"], ("a", "b"), ["a", "A"], [" a", "a"]])
def test_different_texts_are_choices(choices: Any) -> None:
    assert check_choices(choices) == tuple(choices)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ([], "two or more different strings, not []"),
        (["a"], "two or more different strings, not ['a']"),
        (["a", "b", "a"], "two or more different strings, not ['a', 'b', 'a']"),
        (["a", ""], "a list of non-empty strings, not ['a', '']"),
        (["a", 1], "a list of non-empty strings, not ['a', 1]"),
        (["a", None], "a list of non-empty strings, not ['a', None]"),
        ("ab", "a list of non-empty strings, not 'ab'"),
        ({"a": 1, "b": 2}, "a list of non-empty strings, not {'a': 1, 'b': 2}"),
        (None, "a list of non-empty strings, not None"),
        (5, "a list of non-empty strings, not 5"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(choices: object, words: str) -> None:
    with pytest.raises(SuiteError) as caught:
        check_choices(choices)
    assert str(caught.value) == f"choices must be {words}"


@pytest.mark.parametrize(
    ("expected", "index"), [(0, 0), (2, 2), (" yes", 0), ("yes", 0), ("no", 1), ("no ", 1), ("3", 2), ("0", 3)]
)
def test_the_right_choice_is_given_as_text_or_index(expected: object, index: int) -> None:
    assert check_expected(expected, [" yes", "no", "3", "0"]) == index


@pytest.mark.parametrize("expected", [-1, 2, True, False, 1.0, "maybe", "", None, ["yes"], "YES"])
def test_an_expectation_that_is_no_choice_is_refused(expected: object) -> None:
    with pytest.raises(SuiteError) as caught:
        check_expected(expected, ["yes", "no"])
    assert str(caught.value) == (
        f"expected {expected!r} is neither one of the choices nor the index of one: ['yes', 'no']"
    )


@pytest.mark.parametrize("by", MEASURES)
def test_the_measures_are_known(by: By) -> None:
    assert check_measure(by) == by


@pytest.mark.parametrize("by", ["mean", "SUM", "", "tokens"])
def test_an_unknown_measure_is_refused(by: str) -> None:
    with pytest.raises(SuiteError) as caught:
        check_measure(by)
    assert str(caught.value) == f"choice: by must be one of sum, token, byte, char, not {by!r}"
