"""Text from models and data, made harmless."""

from __future__ import annotations

import pytest

from pytest_evals.text import one_line, quotation, quoted, read_duration, sanitize, shown_duration

PARTS_OF_WRITING = (
    "👨\u200d👩\u200d👧 ❤\ufe0f\u200d🔥 1\ufe0f\u20e3 👩🏽\u200d💻 🏳\ufe0f\u200d🌈",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 क्\u200dष",  # Persian, Hindi
    "葛\U000e0100 ᠠ\u180b ©\ufe0e",
)


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\x00b", "a\\x00b"),
        ("over\rwritten", "over\\x0dwritten"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202eabc", "\\u202eabc"),
        ("\u2066abc", "\\u2066abc"),
        ("two\u2028lines", "two\\u2028lines"),
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
        ("\ufeffmark", "\\ufeffmark"),
        ("\uffff", "\\uffff"),
        ("\u061cabc", "\\u061cabc"),
        ("a\u200bb", "a\\u200bb"),
        ("a\u200db", "a\\u200db"),
        ("soft\xadhyphen", "soft\\xadhyphen"),
        ("\u2060\u2063", "\\u2060\\u2063"),
        ("tags \U000e0041\U000e007f", "tags \\U000e0041\\U000e007f"),
        ("no flag 🏴\U000e0068\U000e0069", "no flag 🏴\\U000e0068\\U000e0069"),
        ("e\ufe0f\U000e0100", "e\\ufe0f\\U000e0100"),
        ("two selectors ❤\ufe0f\ufe0f", "two selectors ❤\ufe0f\\ufe0f"),
        ("filler \u3164", "filler \\u3164"),
        ("\ufdd0", "\\ufdd0"),
    ],
)
def test_unsafe_characters_are_written_as_escapes(hostile: str, shown: str) -> None:
    assert sanitize(hostile) == shown


@pytest.mark.parametrize("text", ["", "a\tb\nc", "Zürich 東京 🎉 مرحبا", "a\\x1b stays", *PARTS_OF_WRITING])
def test_ordinary_text_newlines_and_tabs_stay_as_they_are(text: str) -> None:
    assert sanitize(text) == text


def test_harmless_text_can_always_be_encoded() -> None:
    assert sanitize("".join(map(chr, range(0xD7FF, 0xE001)))).encode()


def test_a_long_text_is_cut_and_says_how_much_is_missing() -> None:
    assert sanitize("x" * 1005, limit=5) == "xxxxx... (1,000 more characters)"


def test_a_text_at_the_limit_is_whole() -> None:
    assert sanitize("abcde", limit=5) == "abcde"


def test_one_line_joins_lines_and_strips() -> None:
    assert one_line("  a\n\n\tb\n") == "a b"


@pytest.mark.parametrize("length", [10, 11, 12, 500])
def test_one_line_is_never_longer_than_its_limit(length: int) -> None:
    line = one_line("x" * length, limit=10)
    assert len(line) == 10
    assert line.endswith("...") is (length > 10)


def test_one_line_says_that_something_is_missing_even_when_white_space_hid_it() -> None:
    assert one_line("a" + "\n" * 50 + "b", limit=10).endswith("...")


def test_one_line_escapes_before_it_measures() -> None:
    assert len(one_line("\x1b" * 20, limit=10)) == 10


def test_quoted_shows_white_space_and_quotes() -> None:
    assert quoted(' a\n"b"\x1b') == "' a\\n\"b\"\\x1b'"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("one\r\ntwo\n", "'one two'"),
        (r"\frac{1}{2}", r"'\frac{1}{2}'"),
        ("It's", '"It\'s"'),
        ("\x1b[2J", r"'\x1b[2J'"),
        ("x" * 200, f"'{'x' * 157}...'"),
        ("", "''"),
    ],
)
def test_a_quotation_is_one_line_without_codes_for_what_can_be_read(given: str, shown: str) -> None:
    assert quotation(given) == shown


def test_quoted_cuts_what_is_too_long() -> None:
    assert quoted("x" * 20, limit=10) == "'xxxxxxx...'"


@pytest.mark.parametrize(
    ("written", "seconds", "shown"),
    [
        ("90", 90, "1m30s"),
        ("90s", 90, "1m30s"),
        ("30m", 1800, "30m"),
        ("2h", 7200, "2h"),
        ("1h30m", 5400, "1h30m"),
        (" 1H 30M 5s ", 5405, "1h30m5s"),
        ("1.5h", 5400, "1h30m"),
        ("0.5", 0.5, "0.5s"),
        ("90m", 5400, "1h30m"),
        ("0", 0, "0s"),
        ("2h0.5s", 7200.5, "2h0.5s"),
    ],
)
def test_lengths_of_time_are_read_and_shown(written: str, seconds: float, shown: str) -> None:
    assert read_duration(written) == seconds
    assert shown_duration(seconds) == shown
    assert read_duration(shown) == seconds


@pytest.mark.parametrize(
    "written",
    ["", " ", "soon", "-1", "1h30", "30m2h", "2 days", "1e3", "h", "nan", "inf", "1:30", "2h 30", "\u0663m", "1,5h"],
)
def test_what_is_no_length_of_time_is_none(written: str) -> None:
    assert read_duration(written) is None
