"""JSON that Python's own reader gives up on."""

from __future__ import annotations

import json
import random

import pytest

from pytest_evals.graders.json_text import _NestedReader, json_value
from pytest_evals.graders.structured import json_valid

TEXTS = (
    *('{"a": [1, 2.5, -3e5, true, false, null, "x\\n\\u00e9"], "b": {}, "c": [], "d": {"e": [[]]}}', "[]", "{}", " 1 "),
    *('"a"', "[1,]", '{"a":}', '{"a" 1}', "[1 2]", "{,}", "[,]", "nul", "-", "01", "1.", ".5", "[1", '{"a":1', "[]]"),
    *("{} {}", '"abc', '["\\x"]', "NaN", "[Infinity]", "{1:2}", "\x0b1", '"\t"', '{"a":[1,{"b":[2,{"c":null}]}]}'),
)  # fmt: skip


def changed(text: str, chance: random.Random) -> str:
    for _ in range(chance.randint(0, 3)):
        place = chance.randint(0, len(text))
        added = chance.choice((chance.choice('[]{},:"0123-+.eE truefalsnl\\'), chance.choice(TEXTS), ""))
        text = text[:place] + added + text[place + (not added) :]
    return text


def test_reading_without_recursion_is_reading() -> None:
    chance = random.Random(1)  # noqa: S311 - texts to try
    valid = 0
    for text in (changed(chance.choice(TEXTS), chance) for _ in range(5000)):
        found: list[object] = []
        for read in (json_value, lambda text: _NestedReader(text).read()):
            try:
                found.append(read(text))
            except ValueError:
                found.append("no JSON")
        assert found[0] == found[1], text
        valid += found[0] != "no JSON"
    assert 300 < valid < 4700


@pytest.mark.parametrize("text", ["[" * 10_000 + "]" * 10_000, '{"a": ' * 10_000 + "1" + "}" * 10_000])
def test_ten_thousand_levels_are_json(text: str) -> None:
    assert json_valid(text).passed
    assert not json_valid(text[:-1]).passed
    assert not json_valid(f"{text}]").passed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1" + "0" * 5000, 10**5000),
        ("-" + "9" * 5000, 1 - 10**5000),
        ("[" + "9" * 4400 + "]", [10**4400 - 1]),
        ("1e400", 10**400),
        ("-1.25e401", -125 * 10**399),
        ("1e-400", 0.0),
        ("1.5", 1.5),
    ],
    ids=range(7),
)
def test_numbers_of_any_size_are_read(text: str, value: object) -> None:
    assert json_value(text) == value
    assert json_valid(text).passed


@pytest.mark.parametrize("text", ["[" * 10_000 + "NaN" + "]" * 10_000, "1" * 5000 + "x", "0" * 5000, "1e400e1"])
def test_what_is_no_json_stays_none(text: str) -> None:
    assert not json_valid(text).passed


def test_a_mistake_in_something_deep_has_its_place() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json_value("[" * 10_000 + "1 2")
    assert (caught.value.msg, caught.value.pos) == ("Expecting ',' delimiter", 10_002)
