"""Readers take time that grows as the text does: each of these took minutes, or never ended, for texts of this size."""

from __future__ import annotations

import unicodedata

import pytest

from campaigns.hostile_sizes import readers, run, texts
from pytest_evals.text import unicode_form

LONG = 200_000
SLOW = [
    ("faithfulness: sentences", "e.g. "),
    ("verdict PASS, FAIL", "| "),
    ("verdict PASS, FAIL", "scores of something"),
    ("verdict PASS, FAIL", "somebody says"),
    ("verdict 1 to 5", "underscores in a word"),
    ("verdict 1 to 5", "<a>...</a>"),
    ("verdict PASS, FAIL", "<|"),
    ("faithfulness: claims", "thoughts"),
    ("thoughts, quoted", "thoughts"),
    ("fences", "blocks closed in a line"),
    ("fences", "blocks in a list"),
    ("fences", "blocks in quotes"),
    ("sink terminal", "colours between marks"),
    ("exact_match", "marks of two classes"),
    ("quotations", "marks of two classes"),
    ("ifeval: placeholders", "["),
    ("ifeval: bullets", "\\n"),
    ("ifeval: title", "<"),
    ("format idn-hostname", "names of a domain"),
    ("python_tests", "\\u202f"),
    ("python_tests", "x\\n\\n"),
    ("exact_match", "\\ufdfa"),
    ("format uri-template", "{"),
    ("format uri-template", "{...}"),
    ("format uri-template", "{ .. !"),
    ("thoughts, quoted", "\\ufdfa"),
    ("verdict on this answer", "\\ufdfa"),
    ("template, text", "item.a"),
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("reader", "text"), SLOW, ids=ascii)
def test_a_long_text_is_read(reader: str, text: str) -> None:
    run(readers()[reader], dict(texts())[text](LONG))


def test_combining_characters_are_put_in_order_as_unicode_says_where_languages_have_them() -> None:
    ordinary = "a\u0301\u0327e\u0327\u0301 \u0f71\u0f72\u0f74 \u1100\u1161 ﬁ Å " * 50
    for form in ("NFC", "NFKC"):
        assert unicode_form(form, ordinary) == unicodedata.normalize(form, ordinary)
    many = "a" + "\u0301\u0327" * 100
    assert sorted(unicodedata.normalize("NFD", unicode_form("NFC", many))) == sorted(unicodedata.normalize("NFD", many))
