"""A run that was recorded, as far as its answers are concerned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.completion import Completion, Failure, FailureKind
from pytest_evals.engines.answer_cache import AnswerKey
from pytest_evals.engines.journal import journal_answer
from pytest_evals.text import pluralize

CasePlace = tuple[str, str, str, int]
"""Suite, case id, model and repeat."""


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """What became of one case: its answer, or the error of its model; neither where no model was asked."""

    nodeid: str
    place: CasePlace
    outcome: str
    key: AnswerKey | None
    answer: Completion | None
    failure: Failure | None


@dataclass(slots=True)
class Recorded:
    """The answers of a run. ``shown`` is how messages name it."""

    shown: str
    run_id: str
    complete: bool
    resumed: Mapping[str, Any] | None = None
    """What it says of the run that it resumed, if it did: ``path`` and ``run_id``."""
    loaded: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What its models were loaded as."""
    judge: str | None = None
    """The model that judged, where one was asked."""
    turns: dict[str, RecordedTurn] = field(default_factory=dict)
    """By nodeid."""
    places: dict[CasePlace, RecordedTurn | None] = field(default_factory=dict)
    """The same by place; `None` where several tests of one suite have it."""
    answers: dict[str, Completion] = field(default_factory=dict)
    """Completions and answers to calls, by their whole key."""
    calls: dict[tuple[str, str], Completion] = field(default_factory=dict)
    """Answers to calls by model, as it is written, and `AnswerKey.asked`."""
    apart: int = 0
    """How many answers are in no sample: those of cases that did not finish."""

    def turn(self, nodeid: str, place: CasePlace) -> RecordedTurn | None:
        """Return the turn of a case; a test that has moved to another file is found by suite and case."""
        return self.turns.get(nodeid) or self.places.get(place)

    @property
    def described(self) -> str:
        """Name the run, and tell how far it came."""
        apart = f" and {pluralize(self.apart, 'answer')} of others" if self.apart else ""
        cut = "" if self.complete else ", which was cut off"
        return f"{self.shown} ({pluralize(len(self.turns), 'case')}{apart}{cut})"

    def to_dict(self) -> dict[str, Any]:
        """Return what an artifact says of it."""
        return {"path": self.shown, "run_id": self.run_id}

    @property
    def suites(self) -> list[str]:
        """The names of its suites."""
        return list(dict.fromkeys(turn.place[0] for turn in self.turns.values()))

    def models(self, suite: str) -> tuple[str, ...]:
        """Return the models of a suite."""
        places = (turn.place for turn in self.turns.values())
        return tuple(dict.fromkeys(place[2] for place in places if place[0] == suite and place[2]))

    def repeats(self, suite: str) -> int:
        """Return how often each case of a suite ran."""
        return max((turn.place[3] for turn in self.turns.values() if turn.place[0] == suite), default=1)


def read_recorded(path: Path, shown: str) -> Recorded:
    """Read the answers of a run, complete or cut off. Raises `ArtifactError`."""
    reader = ArtifactReader(path)
    loaded = {str(model["model"]): model for model in reader.run["models"]}
    reused = reader.run.get("reused") or {}
    resumed = reused if reused.get("how") == "resume" else None
    judge = (reader.run.get("judge") or {}).get("model")
    recorded = Recorded(shown, str(reader.run["run_id"]), reader.complete, resumed, loaded, judge)
    for sample in reader.samples():
        _add(recorded, sample)
    for line in reader.answers():
        _add_apart(recorded, line)
    return recorded


def _add_apart(recorded: Recorded, line: Mapping[str, Any]) -> None:
    key, answer = AnswerKey.parse(line["key"]), journal_answer(line)
    if key is not None and answer is not None:
        recorded.apart += str(key) not in recorded.answers
        recorded.answers.setdefault(str(key), answer)
        recorded.calls.setdefault((str(line["model"]), key.asked), answer)


def _add(recorded: Recorded, sample: Mapping[str, Any]) -> None:
    turn = _turn(sample)
    recorded.turns[turn.nodeid] = turn
    recorded.places[turn.place] = None if turn.place in recorded.places else turn
    if turn.key is not None and turn.answer is not None:
        recorded.answers.setdefault(str(turn.key), turn.answer)
    for model, key, answer in _calls(sample):
        recorded.answers.setdefault(str(key), answer)
        recorded.calls.setdefault((model, key.asked), answer)


def _turn(sample: Mapping[str, Any]) -> RecordedTurn:
    interaction, error = sample["interaction"], sample["error"]
    completion = interaction["completion"]
    failed = completion is None and error is not None and error["kind"] in get_args(FailureKind)
    return RecordedTurn(
        sample["nodeid"],
        (sample["suite"], sample["case_id"], interaction["source"] or "", sample.get("repeat") or 1),
        sample["outcome"],
        AnswerKey.parse(((completion or {}).get("origin") or {}).get("key")),
        Completion.from_dict({**completion, "fingerprint": sample.get("fingerprint")}) if completion else None,
        Failure(error["kind"], error["message"]) if failed else None,
    )


def _calls(sample: Mapping[str, Any]) -> Iterator[tuple[str, AnswerKey, Completion]]:
    """Yield the answered calls of a sample: model, key, answer."""
    for call in sample.get("calls") or ():
        key = AnswerKey.parse((call.get("origin") or {}).get("key"))
        if key is not None and any(name in call for name in ("text", "likelihoods", "scores")):
            yield str(call["model"]), key, Completion.from_dict(call)
