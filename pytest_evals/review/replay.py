"""The answers that graders of this session find: those to the run which is graded again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.artifacts.sample import sample_id
from pytest_evals.collection.item import EVAL
from pytest_evals.review.answers import AnswerBook, AnswerPlace, HumanAnswer, answers_path, recorded_answers

# By sample and grader. Absent unless a run is graded again.
ANSWERS: pytest.StashKey[dict[AnswerPlace, list[HumanAnswer]]] = pytest.StashKey()


def sample_of(item: pytest.Item) -> str:
    """Return the id that the sample of an item has in every run."""
    return sample_id(item.nodeid, item.stash[EVAL].key.model)


def load_answers(artifact: Path) -> dict[AnswerPlace, list[HumanAnswer]]:
    """Return the answers to a run's questions: those in the file beside it, and those that the run had taken in already.

    Raises `ArtifactError` for a file of answers that is damaged or belongs to another run.
    """
    reader = ArtifactReader(artifact)
    found = recorded_answers(reader.samples())
    path = answers_path(artifact)
    if path.exists():
        for place, answers in AnswerBook(path, str(reader.run["run_id"])).by_place().items():
            newer = {answer.reviewer: answer for answer in answers}
            known = {answer.reviewer: answer for answer in found.get(place, ())}
            found[place] = list({**known, **newer}.values())
    return found
