"""What people said, from the grades of a run that took their answers in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_evals.records import CaseRecord
from pytest_evals.render import numbers
from pytest_evals.review.agreement import agreements
from pytest_evals.review.answers import Answer, Place
from pytest_evals.review.work import review_cases
from pytest_evals.statistics.agreement import agreement, cohen_kappa


def recorded_answers(samples: Iterable[Mapping[str, Any]]) -> dict[Place, list[Answer]]:
    """Return the answers in the grades of a run that was itself graded again."""
    found: dict[Place, dict[str, Answer]] = {}
    for sample in samples:
        forms: dict[str, Mapping[str, Any]] = {}
        for grade in sample["grades"]:
            metadata = grade.get("metadata") or {}
            if "question" not in metadata and "of" not in metadata:
                continue
            name = metadata.get("field")
            key = grade["grader_key"].removesuffix(f".{name}") if name else grade["grader_key"]
            asked = forms.setdefault(key, metadata)
            for record in metadata.get("answers", ()):
                before = found.get((sample["id"], key), {}).get(record["reviewer"])
                value = {**(before.value if before else {}), name: record["value"]} if name else record["value"]
                answer = Answer(
                    sample["id"], key, record["reviewer"], value, False, bool(record.get("flagged")),
                    record.get("comment", ""), asked.get("digest", ""), asked.get("shown", ""), record.get("at", ""),
                )  # fmt: skip
                found.setdefault((sample["id"], key), {})[record["reviewer"]] = answer
    return {place: list(answers.values()) for place, answers in found.items()}


def agreement_texts(samples: Sequence[Mapping[str, Any]], records: Sequence[CaseRecord]) -> list[str]:
    """Say how far people agree with each other, and with the other graders of their suites. ``samples``: those with
    questions.
    """
    asked = {each.place: each.question for case in review_cases(samples) for each in case.asked}
    answers = [answer for given in recorded_answers(samples).values() for answer in given]
    suites = {(sample["suite"], key) for sample in samples for key in _asked_keys(sample)}
    return [*map(str, agreements(asked, answers)), *_with_graders(suites, records)]


def has_questions(sample: Mapping[str, Any]) -> bool:
    """Tell whether people were asked about the sample."""
    return bool(_asked_keys(sample))


def _asked_keys(sample: Mapping[str, Any]) -> list[str]:
    return [
        grade["grader_key"]
        for grade in sample["grades"]
        if "question" in (grade.get("metadata") or {}) or {"of", "field"} <= set(grade.get("metadata") or {})
    ]


def _with_graders(human: set[tuple[str, str]], records: Sequence[CaseRecord]) -> list[str]:
    pairs: dict[tuple[str, str, str], list[tuple[bool, bool]]] = {}
    for record in records:
        verdicts = {grade.grader_key: grade.passed for grade in record.grades if grade.passed is not None}
        people = [key for key in verdicts if (record.suite, key) in human]
        for key in people:
            for other in verdicts.keys() - set(people):
                pairs.setdefault((record.suite, key, other), []).append((verdicts[key], verdicts[other]))
    return [_with_grader(*place, found) for place, found in sorted(pairs.items())]


def _with_grader(suite: str, people: str, grader: str, pairs: Sequence[tuple[bool, bool]]) -> str:
    kappa = cohen_kappa(pairs, [False, True]).value
    shown = "undefined" if kappa is None else f"{kappa:.2f}"
    return f"{suite}: people ({people}) and {grader} agree on {numbers.percent(agreement(pairs))} (n={len(pairs)}); kappa {shown}"
