"""Levenshtein similarity of rapidfuzz: how few edits make a completion its reference."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from pytest_evals.errors import SuiteError
from pytest_evals.graders.metrics.base import Measured
from pytest_evals.graders.text import normalize
from pytest_evals.plain import quoted
from pytest_evals.scores import corpus

UNITS = ("character", "word")


def check_unit(unit: str) -> str:
    """Return the unit. Raises `SuiteError` for an unknown one."""
    if unit not in UNITS:
        raise SuiteError(f"levenshtein: unit must be one of {', '.join(UNITS)}, not {unit!r}")
    return unit


def levenshtein(text: str, references: Sequence[str], *, steps: Sequence[str], unit: str) -> Measured:
    """Return 1 - edits / length of the longer text, both stripped and normalised; the most similar reference counts."""
    from rapidfuzz.distance import Levenshtein

    found = []
    for reference in references:
        ours, theirs = (_units(normalize(each, steps), unit) for each in (text, reference))
        edits, longest = int(Levenshtein.distance(ours, theirs)), max(len(ours), len(theirs))
        found.append((1 - edits / longest if longest else 1.0, edits, longest, reference))
    value, edits, longest, reference = max(found, key=lambda entry: entry[0])
    details = {
        "definition": f"rapidfuzz {version('rapidfuzz')} normalized Levenshtein similarity of {unit}s",
        "edits": edits,
        **corpus.part_data("ratio", (longest - edits, longest)),
    }
    return Measured(value, f"{edits} edits of {longest} {unit}s make {quoted(text)} of {quoted(reference)}", details)


def _units(text: str, unit: str) -> Sequence[str]:
    return text.split() if unit == "word" else text
