"""Runs that each had a part of the cases, on machines of their own, become one run, whose gates can be judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_evals.agreement.raters import agreements
from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.artifacts.sample import answer_keys, to_record
from pytest_evals.artifacts.validation import ParsedLine
from pytest_evals.baselines.comparison import Comparison
from pytest_evals.engines.short_names import short_names
from pytest_evals.errors import ArtifactError
from pytest_evals.reports.recorded import card_of_artifact
from pytest_evals.scorecard import ScoreCard, agreeing, apart_note, cut_note, insights, make_ledger, movement
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import compute_scores
from pytest_evals.session.gates import judge_all
from pytest_evals.suites.manifest import ItemKey, SuiteManifest, gates_of
from pytest_evals.text import pluralize

_SAME = ("dataset_hash", "graders", "gates", "declared")
_SETTINGS = ("limit", "repeat", "exact")
"""Options of a run that decide what its cases are."""


@dataclass(frozen=True, slots=True)
class MergedRun:
    """What several artifacts are together. If several of them have a case, the last one counts."""

    artifacts: Sequence[ArtifactReader]
    infos: Mapping[str, SuiteManifest]
    records: Sequence[CaseRecord]
    owners: Mapping[str, int]
    """By id, the number of the artifact that a case is taken from."""
    again: int
    """Cases that more than one of them has."""

    @property
    def relative(self) -> str | None:
        """A gate that compares with a baseline, if there is one."""
        return next((gate.text for info in self.infos.values() for gate in gates_of(info) if gate.relative), None)

    def run_line(self) -> dict[str, Any]:
        """Return the first line of the artifact of all: that of the first one, with suites and models of all."""
        runs = [artifact.run for artifact in self.artifacts]
        suites = {suite["name"]: suite for run in reversed(runs) for suite in run["suites"]}
        models = {model["model"]: model for run in reversed(runs) for model in run["models"]}
        return {
            **runs[0],
            "suites": [suites[name] for name in self.infos],
            "models": list(models.values()),
            "merged": [run["run_id"] for run in runs],
        }

    def samples(self) -> Iterator[ParsedLine]:
        """Yield the samples, each case once."""
        for number, artifact in enumerate(self.artifacts):
            yield from (sample for sample in artifact.samples() if self.owners[sample["nodeid"]] == number)

    def answers(self) -> Iterator[ParsedLine]:
        """Yield the answers of cases that did not finish, each once: what a sample has, another run came to."""
        seen = {key for sample in self.samples() for key in answer_keys(sample)}
        for artifact in self.artifacts:
            for line in artifact.answers():
                if line["key"] not in seen:
                    seen.add(line["key"])
                    yield line

    def card(self, compared: Comparison | None, baseline: str | None, *, strict: bool) -> ScoreCard:
        """Return the score card of all, gates judged. ``strict`` tells that an inconclusive gate fails."""
        scores = compute_scores(self.records)
        declared = sum(len(info.items) for info in self.infos.values())
        joined = compared.joined if compared else None
        gates = judge_all(self.infos.values(), self.records, joined, strict=strict)
        return ScoreCard(
            scores=tuple(scores),
            gates=tuple(gates),
            ledger=make_ledger(declared, self.records),
            uses=tuple(use for artifact in self.artifacts for use in card_of_artifact(artifact).uses),
            notes=tuple(self._notes()),
            records=tuple(self.records),
            shorts=short_names((record.model for record in self.records), _aliases(self.artifacts)),
            agreements=tuple(agreements(self.records)),
            baseline=baseline,
            movements=agreeing(map(movement, compared.changes), gates) if compared else (),
            **insights(scores, self.records, gates),
        )

    def _notes(self) -> Iterator[str]:
        yield f"merged: {pluralize(len(self.artifacts), 'run')}"
        cut = cut_note(self.records)
        if cut:
            yield cut
        if self.again:
            yield f"{pluralize(self.again, 'case')} ran in several of them; the last one that was named counts"
        kept = 0 if all(artifact.complete for artifact in self.artifacts) else sum(1 for _ in self.answers())
        if kept:
            yield apart_note(kept)
        for artifact in self.artifacts:
            if not artifact.complete:
                yield f"{artifact.path} did not come to its end"


def merge(artifacts: Sequence[ArtifactReader]) -> MergedRun:
    """Put runs together. Raises `ArtifactError` where they are not parts of one run: other data, graders, gates or settings."""
    infos = _suites(artifacts)
    records: dict[str, CaseRecord] = {}
    owners: dict[str, int] = {}
    again = 0
    for number, artifact in enumerate(artifacts):
        for sample in artifact.samples():
            nodeid = sample["nodeid"]
            again += nodeid in owners
            owners[nodeid], records[nodeid] = number, to_record(sample)
    for nodeid, record in records.items():
        info = infos.get(record.suite)
        if info is None:
            raise ArtifactError(f"{artifacts[owners[nodeid]].path}: {nodeid} is of no suite that its run names")
        info.items[nodeid] = ItemKey(record.case_id, record.model, record.repeat)
    for artifact in artifacts:
        for suite in artifact.run["suites"]:
            _add_missing(infos[suite["name"]], suite["declared"])
    return MergedRun(artifacts, infos, list(records.values()), owners, again)


def _aliases(artifacts: Sequence[ArtifactReader]) -> dict[str, str]:
    from pytest_evals.reports.recorded import aliases_of

    return {model: alias for artifact in artifacts for model, alias in aliases_of(artifact.run).items()}


def _suites(artifacts: Sequence[ArtifactReader]) -> dict[str, SuiteManifest]:
    """Return the suites of all runs. What several of them have must be the same suite."""
    found: dict[str, tuple[ArtifactReader, Mapping[str, Any]]] = {}
    for artifact in artifacts:
        _check_settings(artifacts[0], artifact)
        for suite in artifact.run["suites"]:
            if not suite.get("declared"):
                raise ArtifactError(
                    f"{artifact.path} does not say which gates and how many cases its suites have: an older version wrote it"
                )
            first, known = found.setdefault(suite["name"], (artifact, suite))
            different = next((name for name in _SAME if known[name] != suite[name]), None)
            if different:
                what = {"dataset_hash": "data", "declared": "models or cases"}.get(different, different)
                raise ArtifactError(
                    f"{first.path} and {artifact.path} are not parts of one run: {suite['name']} has different {what} in them"
                )
    return {name: _manifest(suite) for name, (_, suite) in found.items()}


def _check_settings(first: ArtifactReader, other: ArtifactReader) -> None:
    pairs = [("seed", first.run["seed"], other.run["seed"])]
    pairs += [(name, first.run["options"].get(name), other.run["options"].get(name)) for name in _SETTINGS]
    for name, one, another in pairs:
        if one != another:
            raise ArtifactError(
                f"{first.path} and {other.path} are not parts of one run: {name} is {one} in one and {another} in the other"
            )


def _manifest(suite: Mapping[str, Any]) -> SuiteManifest:
    return SuiteManifest(
        name=suite["name"],
        path="",
        line=0,
        dataset_key=suite["dataset_key"],
        dataset_hash=suite["dataset_hash"],
        n=suite["n"],
        total=suite["n"],
        graders=list(suite["graders"]),
        gates=list(suite["gates"]),
        tags=list(suite.get("tags") or ()),
    )


def _add_missing(info: SuiteManifest, declared: Mapping[str, int]) -> None:
    """Give a suite items for its cases that no run has, so that they are missed."""
    counted = Counter(item.model for item in info.items.values())
    for model, number in declared.items():
        for left in range(number - counted[model]):
            info.items[f"not run: {info.name} {model} {left + 1}"] = ItemKey("", model)
