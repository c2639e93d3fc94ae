"""Graders that say between what their numbers are: ``@grader(bounds=...)``, ``Grade(bounds=...)`` and ready-made ones."""

from __future__ import annotations

import json
import sys

import pytest

from pytest_evals.statistics import bounded_interval, wilson_interval

from .conftest import Evals

SUITE = """
from pytest_evals import Grade, cases, grader, graders

close = graders.f1("{{item.capital}}")
named = graders.contains("{{item.capital}}")
mixed = graders.weighted({close: 1, named: 3})

@grader(bounds=(0, 1))
def share(completion):
    return {"one": 0.5, "two": Grade(3, bounds=(1, 5))}

@grader(bounds=[1, 5])
async def stars(case):
    return case.stars

@grader
def words(completion):
    return len(completion.text.split())

ROWS = [{"id": n, "country": n, "capital": "Paris", "stars": s} for n, s in (("France", 4), ("Chad", 5), ("Peru", 5))]

@cases(ROWS, prompt="Capital of {{item.country}}?", id="id", gates=["stars.ci_low >= 3", "stars.mean >= 4", "words.ci_low > 0"])
def test_capitals(mixed, named, share, stars, words):
    assert named
"""


def test_intervals_keep_to_the_bounds_that_graders_say(evals_both: Evals) -> None:
    evals_both.write(SUITE)
    result = evals_both.run()
    rows = {row["grader"]: row for row in evals_both.artifact.scores()}
    found = {name: (row["interval"], row["bounds"]) for name, row in rows.items()}
    assert found == {
        # All zeros and ones: those of the metric have the interval of shares, too.
        "close": ("Wilson", [0, 1]),
        "named": ("Wilson", [0, 1]),
        "mixed": ("Wilson", [0, 1]),
        "share.one": ("bounded", [0, 1]),
        "share.two": ("bounded", [1, 5]),
        "stars": ("bounded", [1, 5]),
        "words": ("t", None),
    }
    ends = {name: (row["ci_low"], row["ci_high"]) for name, row in rows.items()}
    assert ends["stars"] == bounded_interval([4, 5, 5], (1, 5))
    assert ends["share.one"] == bounded_interval([0.5] * 3)
    assert ends["named"] == wilson_interval(1, 3)
    output = " ".join(result.stdout.str().split())
    legend = output.partition("95% interval of ")[2].partition(" gate ")[0]
    assert sorted(f"of {legend}".split("; ")) == [
        "of share.one: between the bounds 0 and 1",
        "of stars, share.two: between the bounds 1 and 5",
        "of words: Student's t, since its values have no bounds",
    ]
    assert f"stars.ci_low >= 3: {ends['stars'][0]:.4g}" in output
    # What the artifact keeps is enough to compute the same again.
    shown = evals_both.pytester.run(sys.executable, "-m", "pytest_evals", "show", "run.jsonl")
    assert "stars, share.two: between the bounds 1 and 5" in " ".join(shown.stdout.str().split())
    line = next(line for line in evals_both.lines() if line["type"] == "sample")
    grades = {grade["grader_key"]: grade.get("bounds") for grade in line["grades"]}
    assert (grades["stars"], grades["named"], grades["words"]) == ([1, 5], None, None)


def test_equal_numbers_without_bounds_have_no_interval_and_a_gate_on_it_says_why(evals: Evals) -> None:
    evals.write(SUITE.replace("len(completion.text.split())", "7"), "def answer(messages):\n    return 'Paris'")
    result = evals.run("--evals-gate", "tokens.ci_high <= 20")
    assert result.ret == 1
    output = " ".join(result.stdout.str().split())
    assert "of words: none, since all values are the same" in output
    assert (
        "words.ci_low > 0: all 3 cases have the same value, so nothing tells how far others may be; say with bounds= "
        "what the grader can give, or use mean" in output
    )
    assert (
        "tokens.ci_high <= 20: all 3 cases have the same value, so nothing tells how far others may be; use mean"
        in output
    )


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("return case.stars", "return 6", "GradeError: grader 'stars' returned 6, outside of its bounds 1 to 5"),
        ("return case.stars", "return Grade(0)", "GradeError: grader 'stars' returned 0, outside of its bounds 1 to 5"),
        ("Grade(3, bounds", "Grade(9, bounds", "a value of 9 is outside of the bounds 1 to 5"),
        (
            "bounds=[1, 5]",
            "bounds=(5, 1)",
            "grader 'stars': bounds are the lowest and the highest value that there can be",
        ),
    ],
)
def test_a_number_outside_is_an_error_and_so_are_bounds_that_are_none(
    evals: Evals, old: str, new: str, why: str
) -> None:
    evals.write(SUITE.replace(old, new))
    result = evals.run("-k", "France")
    assert why in " ".join(result.stdout.str().split()).replace("- ", "")
    assert result.ret == (2 if "5, 1" in new else 1)
    if result.ret == 1:
        (sample,) = [json.loads(line) for line in evals.path.read_text().splitlines() if '"sample"' in line]
        assert sample["outcome"] == "errored"
