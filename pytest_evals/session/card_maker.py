"""Makes the score card of a session, once everything ran."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_evals.audit import Findings
from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.spec import spec_of_record
from pytest_evals.engines.team import Team
from pytest_evals.gates import GateResult
from pytest_evals.item import RECORDED
from pytest_evals.recall.opening import Recollection
from pytest_evals.scores.card import ModelUse, ScoreCard, cut_note, insights, make_ledger, movement
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.scoring import compute_scores
from pytest_evals.session.tally import Tally
from pytest_evals.session.throughput import Tokens, model_use
from pytest_evals.settings import Settings
from pytest_evals.suites.info import SuiteInfo
from pytest_evals.trust.agreement import agreements
from pytest_evals.trust.calibrating import calibrations
from pytest_evals.trust.calibration import Calibration, Labelled
from pytest_evals.wording import counted

if TYPE_CHECKING:
    from pytest_evals.baseline.comparison import Comparison
    from pytest_evals.baseline.loading import Baseline


class CardMaker:
    """``infos`` are the collected suites by name, ``recalled`` are the answers from before."""

    def __init__(
        self,
        settings: Settings,
        infos: Mapping[str, SuiteInfo],
        pool: EnginePool,
        recalled: Recollection,
        baseline: Baseline | None,
    ) -> None:
        self._settings = settings
        self._infos = infos
        self._pool = pool
        self._recalled = recalled
        self._baseline = baseline

    def make(
        self,
        tally: Tally,
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
            shorts=self._shorts(dict.fromkeys(record.model for record in records)),
            calibrations=tuple(self._calibrations(records)),
            agreements=tuple(agreements(records)),
            baseline=str(self._baseline.path) if self._baseline else None,
            movements=tuple(map(movement, compared.changes)) if compared else (),
            **insights(scores, records),
        )

    @property
    def _collected(self) -> int:
        return sum(len(info.items) for info in self._infos.values())

    def _notes(
        self,
        tally: Tally,
        records: Sequence[CaseRecord],
        compared: Comparison | None,
        findings: Findings | None,
        told: Iterable[str],
    ) -> list[str]:
        cut = cut_note(records)
        notes = [*([cut] if cut else []), *self._judge_note(), *told, *self._recall_notes(tally)]
        infos = self._infos.values()
        notes += [
            f"{info.name}: {'the first' if info.n == 1 else f'the first {info.n}'} of {counted(info.total, 'row')}"
            for info in infos
            if info.n < info.total
        ]
        notes += [note for info in infos for note in info.notes]
        if self._baseline and compared:
            from pytest_evals.baseline.loading import baseline_notes

            notes += baseline_notes(self._baseline, compared, whole=len(records) == self._collected)
        return [*notes, *self._pool.incidents, *([findings.note()] if findings else [])]

    def _judge_note(self) -> list[str]:
        """Say who judges where nobody chose."""
        if self._settings.judge is not None or not any(info.judges for info in self._infos.values()):
            return []
        return [f"judge: {self._settings.judge_name}, since none was named; --evals-judge or evals_judge names one"]

    def _recall_notes(self, tally: Tally) -> list[str]:
        cases = {nodeid: (info.name, *item) for info in self._infos.values() for nodeid, item in info.items.items()}
        return self._recalled.notes(tally.sources, tally.call_sources, cases)

    def _uses(self, tally: Tally, models: Collection[str]) -> list[ModelUse]:
        """Return what each model did that was loaded, or need not be; models that differ only in their prompts share one."""
        named: dict[int, tuple[Team, list[str]]] = {}
        for model, team in self._pool.teams().items():
            if model in models and (team.foretold or any(resident.info for resident in team.replicas)):
                named.setdefault(id(team), (team, []))[1].append(model)
        return [
            model_use(texts[0], team, [tally.tokens.get(text, Tokens()) for text in texts])
            for team, texts in named.values()
        ]

    def _calibrations(self, records: Sequence[CaseRecord]) -> list[Calibration]:
        infos = self._infos.values()
        labelled = {
            info.name: {grader: Labelled.from_dict(data) for grader, data in info.labelled.items()} for info in infos
        }
        return calibrations(records, labelled, {info.name: info.identities for info in infos})

    def _shorts(self, models: Iterable[str]) -> dict[str, str]:
        """Return the names that tables show: the whole one where the short one does not tell models apart."""
        found = {model: self._short(model) for model in models}
        return {model: short if list(found.values()).count(short) == 1 else model for model, short in found.items()}

    def _short(self, model: str) -> str:
        return model if model in ("", RECORDED) else spec_of_record(model, self._settings.root).short


def display(path: Path) -> str:
    """Return the path as it is shown: from the current folder, where it is in it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
