"""Text checks, and the mistakes that a suite's author is told of where the grader is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_evals import graders
from pytest_evals.errors import SuiteError
from pytest_evals.graders import text


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(SuiteError) as caught:
        call()
    return str(caught.value)


# -- normalisation


@pytest.mark.parametrize(
    ("steps", "before", "after"),
    [
        ((), "  Paris.\n", "Paris."),
        (("case",), "Straße PARIS", "strasse paris"),
        (("punctuation",), "It's 5 o'clock, «now»—¡yes!", "Its 5 oclock nowyes"),
        (("articles",), "The  cat and a theme", "cat and theme"),
        (("unicode",), "\ufb01ne\u00a0\uff21", "fine A"),
        (("whitespace",), "a \n\t b", "a b"),
        (("case", "punctuation", "articles", "whitespace"), "The Answer: An apple!", "answer apple"),
    ],
)
def test_normalisation_does_what_its_steps_say(steps: tuple[str, ...], before: str, after: str) -> None:
    assert text.normalize(before, steps) == after


def test_an_unknown_step_lists_the_known_ones_and_suggests() -> None:
    message = refusal(lambda: graders.exact_match("x", normalize=["punctuaton"]))
    assert (
        "normalize: unknown step 'punctuaton' (known: case, punctuation, articles, unicode, whitespace, squad)"
        in message
    )
    assert "did you mean 'punctuation'?" in message


def test_one_step_needs_no_list() -> None:
    assert text.check_normalizers("case") == ("case",)


# -- exact_match


@pytest.mark.parametrize(
    ("given", "expected", "passed"),
    [
        (" Paris\n", "Paris", True),
        ("Paris", " Paris ", True),
        ("paris", "Paris", False),
        ("Paris.", "Paris", False),
        ("", "", True),
        ("42", 42, True),
        ("1.5", 1.5, True),
        ("42.0", 42, False),
    ],
)
def test_exact_match_compares_stripped_text(given: str, expected: object, passed: bool) -> None:
    assert text.exact_match(given, expected).passed is passed


def test_normalisation_is_applied_to_both_sides() -> None:
    assert text.exact_match("the paris!", "Paris.", ("case", "punctuation", "articles")).passed


def test_a_verdict_shows_what_was_expected_and_what_was_there() -> None:
    assert text.exact_match("paris\n", "Paris").reason == "expected 'Paris', got 'paris'"


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (text.exact_match(" Paris", "Paris"), "got ' Paris', as expected"),
        (text.exact_match("paris.", "Paris", ("case", "punctuation")), "got 'paris.', the same as 'Paris'"),
        (text.exact_match("a\nb", "a b"), r"expected 'a b', got 'a\nb'"),
        (text.one_of("B", ["A", "B"]), "got 'B', one of 'A', 'B'"),
        (text.contains("b, a", ["a", "b"]), "found 'a', 'b' in 'b, a'"),
        (text.contains("It's b", ["a", "b"], require="any"), "found 'b' in \"It's b\""),
        (text.matches("I have\n12", r"\d+"), r"'12' matches '\d+'"),
        (text.matches("I have\nnone", r"\d+$"), r"expected a match of '\d+$' in 'I have none'"),
    ],
)
def test_reasons_are_sentences_for_a_reader(verdict: text.TextVerdict, reason: str) -> None:
    assert verdict.reason == reason


@pytest.mark.parametrize("expected", [None, True, ["Paris"], {"a": 1}])
def test_exact_match_never_formats_what_is_no_text(expected: object) -> None:
    message = refusal(lambda: graders.exact_match(expected))
    assert f"exact_match compares text, and was given {type(expected).__name__} ({expected!r})" in message


# -- one_of


@pytest.mark.parametrize(("given", "passed"), [("B", True), (" C ", True), ("b", False), ("AB", False), ("", False)])
def test_one_of_compares_whole_texts(given: str, passed: bool) -> None:
    assert text.one_of(given, ["A", "B", "C"]).passed is passed


def test_one_of_normalises_every_choice() -> None:
    assert text.one_of("yes", ["YES!", "NO!"], ("case", "punctuation")).passed


def test_one_of_takes_numbers() -> None:
    assert text.one_of("2", (1, 2)).passed


def test_one_of_shows_the_first_choices() -> None:
    reason = text.one_of("x", list("ABCDEFGHIJ")).reason
    assert reason == "expected one of 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', ..., got 'x'"


# -- contains


@pytest.mark.parametrize(
    ("needles", "options", "passed"),
    [
        ("Paris", {}, True),
        ("paris", {}, False),
        ("PARIS", {"ignore_case": True}, True),
        (["Paris", "Rome"], {}, False),
        (["Paris", "Rome"], {"require": "any"}, True),
        (["Oslo", "Rome"], {"require": "any"}, False),
        (["Paris", "France"], {}, True),
        (7, {}, True),
    ],
)
def test_contains_looks_for_all_or_any(needles: object, options: dict[str, Any], passed: bool) -> None:
    assert text.contains("Paris in France has 7 letters? No: 5.", needles, **options).passed is passed


def test_ignoring_case_folds_it() -> None:
    assert text.contains("STRASSE", "straße", ignore_case=True).passed


def test_contains_says_what_it_looked_for() -> None:
    assert text.contains("x", ["a", "b"], require="any").reason == "expected any of 'a', 'b' in 'x'"


@pytest.mark.parametrize("needles", ["", "  ", [], ["a", ""]])
def test_an_empty_needle_would_be_found_everywhere_and_is_refused(needles: object) -> None:
    assert "contains needs at least one text, and none may be empty" in refusal(lambda: graders.contains(needles))


def test_contains_requires_all_or_any() -> None:
    message = refusal(lambda: graders.contains("a", require="some"))  # type: ignore[arg-type]  # the mistake is what is tested
    assert message == "contains: require must be 'all' or 'any', not 'some'"


# -- matches


@pytest.mark.parametrize(
    ("pattern", "options", "passed"),
    [
        (r"\d+", {}, True),
        (r"^\d+$", {}, False),
        (r"total", {}, False),
        (r"total", {"ignore_case": True}, True),
        (r"\d+", {"full": True}, False),
        (r"Total: \d+", {"full": True}, True),
    ],
)
def test_matches_searches_or_covers_the_stripped_text(pattern: str, options: dict[str, Any], passed: bool) -> None:
    assert text.matches(" Total: 42\n", pattern, **options).passed is passed


def test_a_bad_pattern_is_shown_where_it_is_written() -> None:
    assert refusal(lambda: graders.matches("(a")).startswith("matches: '(a' is not a regular expression: ")


@pytest.mark.parametrize("pattern", [None, ["a"], True])
def test_a_pattern_is_text(pattern: Any) -> None:
    assert "matches compares text, and was given" in refusal(lambda: graders.matches(pattern))


# -- templates


@pytest.mark.parametrize("expected", ["{{item.answer}}", "item.answer", ["item.a", "b"], "{{item.a}} or {{item.b}}"])
def test_what_depends_on_the_case_is_not_checked_before(expected: object) -> None:
    for make in (graders.exact_match, graders.one_of, graders.contains, graders.number):
        if make is not graders.exact_match or isinstance(expected, str):
            assert make(expected) is not None
