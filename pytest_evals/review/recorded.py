"""What people said, from the grades of a run that took their answers in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_evals.review.answers import Answer, Place


def recorded_answers(samples: Iterable[Mapping[str, Any]]) -> dict[Place, list[Answer]]:
    """Return the answers in the grades of a run that was itself graded again."""
    found: dict[Place, dict[str, Answer]] = {}
    for sample in samples:
        forms: dict[str, Mapping[str, Any]] = {}
        for grade in sample["grades"]:
            metadata = grade.get("metadata") or {}
            if "shown" not in metadata and "of" not in metadata:
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
