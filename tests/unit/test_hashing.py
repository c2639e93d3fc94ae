"""Ids of rows: stable and safe everywhere."""

from __future__ import annotations

import datetime
import re

import pytest

from pytest_evals.hashing import MAX_LENGTH, canonical, content_hash, hash_of_texts, of_last, row_id, slug

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("france", "france"),
        (7, "7"),
        ("a b", "a-b"),
        ("a::b[c]", "a-b-c"),
        ("x.y@z", "x-y-z"),
        ("_private", "private"),
        ("-dash-", "dash"),
        ("_-a", "a"),
        ("-_-a", "a"),
        ("Ünal", "nal"),
        ("a/../b", "a-b"),
        ("tab\tnew\nline", "tab-new-line"),
    ],
)
def test_other_characters_become_dashes(value: object, expected: str) -> None:
    assert slug(value) == expected


@pytest.mark.parametrize("value", ["", "東京", "---", "___", "  ", "\ud800", "x" * 500, "_-" * 50 + "y" * 100])
def test_every_value_gives_a_safe_id(value: str) -> None:
    assert SAFE.fullmatch(slug(value))
    assert len(slug(value)) <= MAX_LENGTH


def test_long_values_that_differ_at_their_end_get_different_ids() -> None:
    assert slug("x" * 100 + "a") != slug("x" * 100 + "b")


def test_a_value_of_the_greatest_length_is_kept() -> None:
    assert slug("x" * MAX_LENGTH) == "x" * MAX_LENGTH


def test_values_without_a_usable_character_get_different_ids() -> None:
    assert slug("東京") != slug("大阪")


def test_the_hash_is_the_same_on_every_machine() -> None:
    # Pinned: ids in artifacts and in --lf's cache depend on it.
    assert content_hash({"question": "1+1?", "answer": 2}) == "e0d556a618"


def test_the_order_of_fields_does_not_change_the_hash() -> None:
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})


@pytest.mark.parametrize(("one", "other"), [(1, "1"), (1, 1.5), (None, ""), ([1, 2], [2, 1]), (True, "True")])
def test_different_values_hash_differently(one: object, other: object) -> None:
    assert content_hash({"a": one}) != content_hash({"a": other})


@pytest.mark.parametrize(
    "value",
    [datetime.date(2024, 1, 2), b"bytes", float("nan"), "\ud800", {1: "a", "b": 2}, {datetime.date(2024, 1, 2): 1}],
)
def test_values_that_json_does_not_know_have_a_hash_too(value: object) -> None:
    assert content_hash({"a": value}) == content_hash({"a": value})


def test_the_length_of_a_hash_can_be_chosen() -> None:
    assert content_hash("a", length=16).startswith(content_hash("a", length=8))


def test_a_row_is_identified_by_its_field() -> None:
    assert row_id({"name": "New York"}, "name") == "New-York"


def test_a_row_without_a_field_is_identified_by_its_content() -> None:
    assert row_id({"name": "x"}, None) == content_hash({"name": "x"})


def test_a_result_is_remembered_for_the_same_object_and_not_for_an_equal_one() -> None:
    asked = []

    @of_last
    def length(value: list[int]) -> int:
        asked.append(value)
        return len(value)

    first, second = [1], [1]
    assert [length(first), length(first), length(second), length(first)] == [1, 1, 1, 1]
    assert [id(value) for value in asked] == [id(first), id(second), id(first)]


def test_the_hash_of_written_entries_is_that_of_their_list() -> None:
    entries = [{"b": [1, 2.5, None], "a": "ü"}, [], "text", {1: "x", "y": datetime.date(2026, 1, 2)}]
    assert hash_of_texts(map(canonical, entries[:3]), 24) == content_hash(entries[:3], 24)
    # Keys of several types are told by their text.
    assert hash_of_texts(map(canonical, entries), 24) == content_hash(entries, 24)
