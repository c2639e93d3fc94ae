"""Repeats of a case: keys, ids and seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_evals.collection.item import CaseKey, EvalItem
from pytest_evals.collection.parametrize import repeated, same_note
from pytest_evals.errors import SuiteError
from pytest_evals.generation import GenerationParams
from pytest_evals.runner.requests import seeded
from pytest_evals.suites.manifest import SuiteManifest
from tests.unit.building import suite_of


def test_repeats_stand_together_and_only_several_are_numbered() -> None:
    keys = [CaseKey("a", "m"), CaseKey("b", "recorded")]
    found, ids = repeated(keys, ["a", "b"], [3, 1])
    assert ids == ["a-r1", "a-r2", "a-r3", "b"]
    assert found == [CaseKey("a", "m", 1), CaseKey("a", "m", 2), CaseKey("a", "m", 3), CaseKey("b", "recorded", 1)]


def test_ids_that_look_like_repeats_stay_apart() -> None:
    _, ids = repeated([CaseKey("a", "m"), CaseKey("a-r1", "m")], ["a", "a-r1"], [2, 2])
    assert len(set(ids)) == 4


@pytest.mark.parametrize(
    ("greedy", "expected"), [(0, None), (2, "s: its completions are greedy"), (1, "s: 1 of 2 completions are greedy")]
)
def test_greedy_repeats_are_told(greedy: int, expected: str | None) -> None:
    notes = same_note("s", greedy, 2)
    assert [note.startswith(expected) for note in notes if expected] == ([True] if expected else [])


def test_each_repeat_has_a_seed_of_its_own_also_where_the_suite_gives_one() -> None:
    suite = suite_of([{"q": "x"}], prompt="{{item.q}}")
    (prepared,) = suite.cases.values()
    info = SuiteManifest("s", "test_a.py", 1, "data", "f00", 1, 1, [], [], [])
    item = EvalItem(CaseKey("a", "m"), prepared, info, ("m",), needs_completion=True, graders=(), asks={})
    sampled = GenerationParams(temperature=1.0)

    def seeds(params: GenerationParams) -> list[int | None]:
        return [seeded(params, replace(item, key=CaseKey("a", "m", number)), 0).seed for number in (1, 2, 3)]

    assert len({*seeds(sampled), *seeds(replace(sampled, seed=7))}) == 6
    assert seeds(replace(sampled, seed=7))[0] == 7
    assert seeds(sampled) == seeds(sampled)
    assert seeds(GenerationParams())[0] is None
    assert len({*seeds(sampled), *seeds(GenerationParams())}) == 4


@pytest.mark.parametrize("value", [0, -1, True, "2", 1.5])
def test_a_wrong_number_of_repeats_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="repeat must be a whole number of at least 1"):
        suite_of([{"q": "x"}], tmp_path, prompt="{{item.q}}", repeat=value)
