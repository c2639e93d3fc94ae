"""Makes the score card of a session, once everything ran."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_evals.agreement.calibration import Calibration, Labelled, calibrations
from pytest_evals.agreement.raters import agreements
from pytest_evals.artifacts.locating import means_latest
from pytest_evals.artifacts.sample import source_of, to_record
from pytest_evals.collection.item import RECORDED
from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.replica import merged_usage
from pytest_evals.engines.replica_set import ReplicaSet
from pytest_evals.engines.script_sources import script_sources
from pytest_evals.engines.short_names import short_names
from pytest_evals.engines.spec import spec_of_record
from pytest_evals.gates import GateResult
from pytest_evals.reuse.setup import ReuseContext
from pytest_evals.runner.audit import Findings
from pytest_evals.scorecard import (
    ModelUse,
    ScoreCard,
    abstention_notes,
    agreeing,
    cut_note,
    insights,
    make_ledger,
    movement,
    unfinished_note,
)
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import compute_scores
from pytest_evals.session.artifact_lines import model_aliases
from pytest_evals.settings import Settings
from pytest_evals.suites.manifest import SuiteManifest, gates_of, recorded_note
from pytest_evals.text import pluralize

if TYPE_CHECKING:
    from pytest_evals.baselines.comparison import Comparison
    from pytest_evals.baselines.loading import Baseline


class ScoreCardBuilder:
    """``infos`` are the collected suites by name, ``recalled`` are the answers from before."""

    def __init__(
        self,
        settings: Settings,
        infos: Mapping[str, SuiteManifest],
        pool: EnginePool,
        recalled: ReuseContext,
        baseline: Baseline | None,
    ) -> None:
        self._settings = settings
        self._infos = infos
        self._pool = pool
        self._recalled = recalled
        self._baseline = baseline

    def make(
        self,
        tally: SampleCollector,
        gates: Sequence[GateResult],
        compared: Comparison | None,
        findings: Findings | None,
        told: Iterable[str],
        *,
        artifact: Path | None,
        interruption: str | None,
    ) -> ScoreCard:
        """Return the score card. ``compared`` is the comparison with the baseline, ``findings`` those of an audit, ``told``
        what those who run the cases have to say.
        """
        records = tally.records(self._infos.values())
        scores = compute_scores(records)
        return ScoreCard(
            scores=tuple(scores),
            gates=tuple(gates),
            ledger=make_ledger(self._collected, records),
            uses=tuple(self._uses(tally, {*tally.tokens, *(record.model for record in records)})),
            notes=tuple(self._notes(tally, records, compared, findings, told)),
            audit=findings.to_dict() if findings else None,
            artifact=display(artifact) if artifact else None,
            interruption=interruption,
            records=tuple(records),
            shorts=short_names(dict.fromkeys(record.model for record in records), model_aliases(self._settings)),
            calibrations=tuple(self._calibrations(records)),
            agreements=tuple(agreements(records)),
            baseline=str(self._baseline.path) if self._baseline else None,
            wants_baseline=self._wanted_baseline(),
            movements=agreeing(map(movement, compared.changes), gates) if compared else (),
            **insights(scores, records, gates),
        )

    def _wanted_baseline(self) -> str | None:
        """Name the baseline that gates need and that does not exist yet: as it was asked for, else ``main``."""
        waits = any(gate.relative for info in self._infos.values() for gate in gates_of(info))
        asked = self._settings.baseline
        if self._baseline is not None or not (waits or asked):
            return None
        return asked if asked and not means_latest(asked) else "main"

    @property
    def _collected(self) -> int:
        return sum(len(info.items) for info in self._infos.values())

    def _notes(
        self,
        tally: SampleCollector,
        records: Sequence[CaseRecord],
        compared: Comparison | None,
        findings: Findings | None,
        told: Iterable[str],
    ) -> list[str]:
        shortened = [note for note in (cut_note(records), unfinished_note(records)) if note]
        infos = self._infos.values()
        notes = [*shortened, *abstention_notes(records), *self._recorded_notes(records), *tally.silent_graders(records)]
        notes += [*self._judge_note(), *told, *self._recall_notes(tally)]
        notes += [
            f"{info.name}: {'the first' if info.n == 1 else f'the first {info.n}'} of {pluralize(info.total, 'row')}"
            for info in infos
            if info.n < info.total
        ]
        notes += [note for info in infos for note in info.notes]
        if self._baseline is None and self._settings.baseline:
            notes.append(f"baseline: there is no {self._settings.baseline!r} yet, so nothing is compared in this run")
        if self._baseline and compared:
            from pytest_evals.baselines.loading import baseline_notes

            notes += baseline_notes(self._baseline, compared, whole=len(records) == self._collected)
        return [*notes, *self._pool.incidents, *([findings.note()] if findings else [])]

    def _recorded_notes(self, records: Sequence[CaseRecord]) -> list[str]:
        cases = Counter(record.suite for record in records)
        recorded = Counter(record.suite for record in records if record.model == RECORDED)
        return [
            recorded_note(info, recorded[info.name], cases[info.name])
            for info in self._infos.values()
            if info.recorded_beside and recorded[info.name]
        ]

    def _judge_note(self) -> list[str]:
        """Say which model judges where the user did not choose one."""
        if self._settings.judge is not None or not any(info.judges for info in self._infos.values()):
            return []
        return [f"judge: {self._settings.judge_name}, since none was named; --evals-judge or evals_judge names one"]

    def _recall_notes(self, tally: SampleCollector) -> list[str]:
        cases = {nodeid: (info.name, *item) for info in self._infos.values() for nodeid, item in info.items.items()}
        return [*self._recalled.notes(tally.sources, tally.call_sources, cases), *self._script_notes(tally)]

    def _script_notes(self, tally: SampleCollector) -> list[str]:
        """Say which scripts may answer otherwise today than when the answers that were taken over were given."""
        found = []
        for model in tally.recalled_models:
            spec = spec_of_record(model, self._settings.root)
            if spec.engine != "scripted":
                continue
            reads = script_sources(spec.name.partition(":")[0], [str(self._settings.root), *sys.path]).reads
            if reads:
                found.append(
                    f"{model}: answers from before count as its own while its modules stay the same; what else it reads ({reads}) "
                    "may have changed since"
                )
        return found

    def _uses(self, tally: SampleCollector, models: Collection[str]) -> list[ModelUse]:
        """Return what each model did that was loaded, or need not be; models that differ only in their prompts share one."""
        named: dict[int, tuple[ReplicaSet, list[str]]] = {}
        for model, replica_set in self._pool.replica_sets().items():
            if model in models and (
                replica_set.predicted_info or any(replica.info for replica in replica_set.replicas)
            ):
                named.setdefault(id(replica_set), (replica_set, []))[1].append(model)
        return [
            model_use(texts[0], replica_set, [tally.tokens.get(text, Tokens()) for text in texts])
            for replica_set, texts in named.values()
        ]

    def _calibrations(self, records: Sequence[CaseRecord]) -> list[Calibration]:
        infos = self._infos.values()
        labelled = {
            info.name: {grader: Labelled.from_dict(data) for grader, data in info.labelled.items()} for info in infos
        }
        return calibrations(records, labelled, {info.name: info.identities for info in infos})


def display(path: Path) -> str:
    """Return the path as it is shown: from the current folder, where it is in it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


# -- What the engines did, as the score card tells it.


@dataclass(slots=True)
class Tokens:
    """Completions that reached their case, also by calls of tasks and graders, and their tokens."""

    completions: int = 0
    prompt: int = 0
    generated: int = 0
    cost: float | None = None
    """In the unit of ``evals_prices``, `None` where no answer has one."""

    def count(self, prompt: int, generated: int, cost: float | None = None, completions: int = 1) -> None:
        """Count one completion, or take it back."""
        self.completions += completions
        self.prompt += prompt
        self.generated += generated
        if cost is not None:
            self.cost = (self.cost or 0.0) + cost


def model_use(model: str, replica_set: ReplicaSet, tokens: Sequence[Tokens]) -> ModelUse:
    """Sum up the replicas of a model. ``tokens``: of each model that shares its weights."""
    info = next((replica.info for replica in replica_set.replicas if replica.info is not None), None)
    if info is None:
        return _unloaded(model, replica_set)
    usage: dict[str, float] = {}
    costs = [each.cost for each in tokens if each.cost is not None]
    for replica in replica_set.replicas:
        usage = merged_usage(usage, replica.all_usage)
    return ModelUse(
        model=model,
        short=replica_set.spec.short,
        device=info.device,
        dtype=info.dtype,
        completions=sum(each.completions for each in tokens),
        prompt_tokens=sum(each.prompt for each in tokens),
        completion_tokens=sum(each.generated for each in tokens),
        seconds=max(replica.seconds for replica in replica_set.replicas),
        duplicates=sum(replica.duplicates for replica in replica_set.replicas),
        replicas=len(replica_set.replicas),
        loading_seconds=max(replica.loading_seconds for replica in replica_set.replicas),
        rows=info.rows,
        usage=usage,
        cost=math.fsum(costs) if costs else None,
    )


def _unloaded(model: str, replica_set: ReplicaSet) -> ModelUse:
    """Return the use of a model whose answers were all known: it had no device, and computed nothing."""
    recalled = sum(replica.done for replica in replica_set.replicas)
    return ModelUse(model, replica_set.spec.short, None, None, 0, 0, 0, 0.0, replicas=0, recalled=recalled)


# -- What the finished cases of a session come to so far.


class SampleCollector:
    """``tokens``: what reached the cases, by model. A rerun of a case replaces its record."""

    def __init__(self) -> None:
        self._records: dict[str, CaseRecord] = {}
        self._sources: dict[str, str | None] = {}
        self._call_sources: dict[str, list[str]] = {}
        self._silent: dict[str, frozenset[str]] = {}
        self._counted: dict[str, list[tuple[str, int, int, float | None]]] = {}
        self.tokens: dict[str, Tokens] = {}

    def __contains__(self, nodeid: str) -> bool:
        return nodeid in self._records

    def add(self, sample: Mapping[str, Any]) -> None:
        """Take a finished case."""
        completion = sample["interaction"]["completion"]
        source = source_of(completion)
        self._discount(sample["nodeid"])
        self._note(self._silent, sample["nodeid"], frozenset(map(_key, filter(_is_silent, sample["grades"]))))
        self._records[sample["nodeid"]] = to_record(sample)
        self._sources[sample["nodeid"]] = source
        if completion and source is None and (completion["origin"] or completion["completion_tokens"] is not None):
            self._count(sample["nodeid"], sample["interaction"]["source"] or "", completion)
        calls = [(call, source_of(call)) for call in sample.get("calls") or ()]
        self._note(self._call_sources, sample["nodeid"], [source for _, source in calls if source])
        for call, source in calls:
            answered = call.get("text") is not None or call.get("likelihoods") is not None
            if answered and source is None:
                self._count(sample["nodeid"], call["model"], call)

    @staticmethod
    def _note(notes: dict[str, Any], nodeid: str, found: Collection[str]) -> None:
        """Keep what was found for a case; nothing where there is nothing, which is so for most of many."""
        if found:
            notes[nodeid] = found
        else:
            notes.pop(nodeid, None)

    def _count(self, nodeid: str, model: str, answer: Mapping[str, Any]) -> None:
        prompt, generated = answer["prompt_tokens"] or 0, answer["completion_tokens"] or 0
        cost = answer.get("cost")
        self.tokens.setdefault(model, Tokens()).count(prompt, generated, cost)
        self._counted.setdefault(nodeid, []).append((model, prompt, generated, cost))

    def _discount(self, nodeid: str) -> None:
        """A case that is run again was given the same answers."""
        for model, prompt, generated, cost in self._counted.pop(nodeid, ()):
            self.tokens[model].count(-prompt, -generated, None if cost is None else -cost, -1)

    def records(self, infos: Iterable[SuiteManifest]) -> list[CaseRecord]:
        """Return the records of the suites, in the order in which their cases were declared."""
        return [self._records[nodeid] for info in infos for nodeid in info.items if nodeid in self._records]

    def strays(self, infos: Iterable[SuiteManifest]) -> list[str]:
        """Return ids of finished cases that no suite has."""
        known = {nodeid for info in infos for nodeid in info.items}
        return [nodeid for nodeid in self._records if nodeid not in known]

    @property
    def recalled_models(self) -> list[str]:
        """The models under test whose answers were taken from resumed runs or from the cache."""
        taken = ("resume", "cache")
        models = (self._records[nodeid].model for nodeid, source in self._sources.items() if source in taken)
        return list(dict.fromkeys(models))

    def silent_graders(self, records: Sequence[CaseRecord]) -> list[str]:
        """Name the graders that returned `None` for every case of a suite: most of them forgot a ``return``."""
        asked: Counter[tuple[str, str]] = Counter()
        for record in records:
            for grade in record.grades:
                asked[record.suite, grade.grader_key] += 1
        suites = {nodeid: record.suite for nodeid, record in self._records.items()}
        silent = Counter((suites[nodeid], key) for nodeid, keys in self._silent.items() for key in keys)
        return [
            f"{suite}: the grader {grader!r} returned None for {_each(number)}, so that nothing is graded; is a return missing?"
            for (suite, grader), number in asked.items()
            if silent[suite, grader] == number
        ]

    @property
    def sources(self) -> Counter[str]:
        """How many completions were not computed in this run, by where they come from."""
        return Counter(source for source in self._sources.values() if source)

    @property
    def call_sources(self) -> Counter[str]:
        """The same of calls that tasks and graders made."""
        return Counter(source for sources in self._call_sources.values() for source in sources)


def _is_silent(grade: Mapping[str, Any]) -> bool:
    """Tell whether a grader returned `None`: whatever else does not apply says why."""
    return grade["status"] == "not_applicable" and not grade["reasoning"]


def _key(grade: Mapping[str, Any]) -> str:
    return str(grade["grader_key"])


def _each(number: int) -> str:
    return "its only case" if number == 1 else f"each of its {number:,} cases"
