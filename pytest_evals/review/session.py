"""The answers that graders of this session find: those to the run which is graded again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.collection import EVAL
from pytest_evals.reading import ArtifactReader
from pytest_evals.review.answers import Answer, AnswerBook, Place, answers_path
from pytest_evals.sample import sample_id

# By sample and grader. Absent unless a run is graded again.
ANSWERS: pytest.StashKey[dict[Place, list[Answer]]] = pytest.StashKey()


def sample_of(item: pytest.Item) -> str:
    """Return the id that the sample of an item has in every run."""
    return sample_id(item.nodeid, item.stash[EVAL].key.model)


def load_answers(artifact: Path) -> dict[Place, list[Answer]]:
    """Return the answers to a run's questions: those in the file beside it, and those that the run had taken in already.

    Raises `ArtifactError` for a file of answers that is damaged or belongs to another run.
    """
    reader = ArtifactReader(artifact)
    found = _recorded(reader.samples())
    path = answers_path(artifact)
    if path.exists():
        for place, answers in AnswerBook(path, str(reader.run["run_id"])).by_place().items():
            newer = {answer.reviewer: answer for answer in answers}
            known = {answer.reviewer: answer for answer in found.get(place, ())}
            found[place] = list({**known, **newer}.values())
    return found


def _recorded(samples: Iterable[Mapping[str, Any]]) -> dict[Place, list[Answer]]:
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
