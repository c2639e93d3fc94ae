"""Numbers in English words: how they are read, and where they count as the answer of a completion."""

from __future__ import annotations

import pytest

from pytest_evals.graders.number_words import number_word_at, number_words
from pytest_evals.graders.numbers import final_number, number


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("zero", 0),
        ("one", 1),
        ("Twelve", 12),
        ("nineteen", 19),
        ("FORTY-TWO", 42),
        ("forty two", 42),
        ("a hundred", 100),
        ("one hundred and five", 105),
        ("nine hundred ninety-nine", 999),
        ("nineteen hundred", 1900),
        ("a thousand", 1000),
        ("two thousand six hundred and two", 2602),
        ("forty-two thousand", 42000),
        ("one hundred twenty-three thousand, four hundred fifty-six", 123456),
        ("one million two thousand and three", 1002003),
        ("three hundred thousand", 300000),
        ("minus seven", -7),
        ("negative twenty-one", -21),
        ("half", 0.5),
        ("one half", 0.5),
        ("one-half", 0.5),
        ("a quarter", 0.25),
        ("one third", 1 / 3),
        ("two thirds", 2 / 3),
        ("two-thirds", 2 / 3),
        ("three quarters", 0.75),
        ("three halves", 1.5),
        ("two and a half", 2.5),
        ("three and three quarters", 3.75),
        ("three point one four", 3.14),
        ("zero point oh five", 0.05),
        ("minus one point five", -1.5),
    ],
)
def test_words_are_the_number(words: str, value: float) -> None:
    found = number_word_at(words, 0)
    assert found is not None
    assert found.value == pytest.approx(value)
    assert (found.end, found.factor) == (len(words), 1)


@pytest.mark.parametrize(
    ("words", "value", "factor"),
    [
        ("three dozen", 3, 12),
        ("a dozen", 1, 12),
        ("half a dozen", 0.5, 12),
        ("two million", 2, 10**6),
        ("one point five billion", 1.5, 10**9),
        ("two and a half million", 2.5, 10**6),
    ],
)
def test_whether_the_last_word_multiplies_is_left_to_the_question(words: str, value: float, factor: int) -> None:
    assert number_word_at(words, 0) == (value, 0, len(words), factor)
    assert number(f"The answer is {words}.", value).passed
    assert number(f"The answer is {words}.", value * factor).passed
    assert number(str(value * factor), words).passed


@pytest.mark.parametrize(
    "text",
    [
        *(
            "often",
            "someone",
            "tone",
            "weight",
            "sevens",
            "one's own",
            "twenty-first",
            "a three-digit number",
            "first",
            "the third",
        ),
        *("one of them", "one that holds", "one another", "one by one", "a number", "x-one"),
    ],
)
def test_other_words_are_none(text: str) -> None:
    assert [each.value for each in number_words(text)] == []


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("one hundred, two hundred and three hundred", [100, 200, 300]),
        ("two, three and four", [2, 3, 4]),
        ("two three", [2, 3]),
        ("five dollars and thirty cents", [5, 30]),
        ("twenty twenty", [20, 20]),
        ("two thousand, three thousand", [2000, 3000]),
        # What is to be computed with is no answer.
        ("two plus two is four", [2, 4]),
    ],
)
def test_a_list_is_several_numbers(text: str, values: list[int]) -> None:
    assert [each.value for each in number_words(text)] == values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Forty-two", 42),
        ("One.", 1),
        ("**Twelve**", 12),
        ("The answer is forty-two.", 42),
        ("The answer is one.", 1),
        ("The answer is: **one hundred and five** apples", 105),
        ("48 + 24 = 72. The answer is seventy-two.", 72),
        ("The answer is twelve, since 3 * 4 = 12.", 12),
        ("The answer is twelve apples, because 20 - 8 is that.", 12),
        ("Answer: nine", 9),
        ("#### eighteen", 18),
        (r"\boxed{\text{forty-two}}", 42),
        ("<answer>minus three</answer>", -3),
        ("A: thirty-six eggs", 36),
        ("So she has three pears and then buys two, which makes five pears.", 5),
        ("The answer is that forty-two people came.", 42),
        ("The answer is two plus three, so five.", 5),
        # What is written in digits counts first.
        ("The answer is seventy-two (72).", 72),
        ("There are two trains. They meet after 42 km.", 42),
        ("Answer: Two trains leave at noon and they meet.\nThey meet after 42 km.", 42),
        ("One of the 3 is right", 3),
        ("The answer is one of these: 3", 3),
        ("The answer is 3 dozen", 3),
    ],
)
def test_the_answer_in_words_is(text: str, value: float) -> None:
    assert final_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "I do not know which one.",
        "No one knows, and nobody asked.",
        "<answer>none of the three</answer>",
        "The answer is none of the two.",
        "The first is right.",
        "GPT4 says two",
    ],
)
def test_prose_without_an_answer_has_none(text: str) -> None:
    assert final_number(text) is None


def test_both_sides_may_be_words() -> None:
    assert number("It is 36.", "thirty-six").passed
    assert number("I count thirty-six.", "36").passed
    assert number("3 dozen", 36).passed
    assert number("3 dozen", 3).passed
    assert not number("I count thirty-six.", 37).passed
