"""The process that owns the session: collects finished cases, keeps the artifact, judges gates and makes the score
card.

The same with and without pytest-xdist: cases arrive with their reports, wherever they ran.
"""

from __future__ import annotations

import datetime
import json
import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_evals.artifacts.lines import RunFacts, crashed_line, run_line, summary_line
from pytest_evals.artifacts.recorder import Recorder
from pytest_evals.artifacts.sample import dump, source_of, to_record
from pytest_evals.audit import FINDINGS, Findings
from pytest_evals.collection import RECORDED, SuiteInfo
from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.spec import spec_of_record
from pytest_evals.engines.team import Team
from pytest_evals.gatereports import GateReport, teststatus, warn_of_inconclusive
from pytest_evals.gates import GateResult
from pytest_evals.judgement import judge_all
from pytest_evals.plain import one_line
from pytest_evals.recall.opening import Recollection
from pytest_evals.scorecard import ModelUse, ScoreCard, cut_note, insights, make_ledger, movement
from pytest_evals.scores import CaseRecord, compute_scores
from pytest_evals.settings import Settings
from pytest_evals.throughput import Tokens, model_use
from pytest_evals.trust.calibration import Calibration, Labelled, calibrations
from pytest_evals.trust.preflights import FLOWN

if TYPE_CHECKING:
    from pytest_evals.baseline.comparison import Comparison
    from pytest_evals.baseline.loading import Baseline

# The score card of the session, once everything ran.
CARD: pytest.StashKey[ScoreCard] = pytest.StashKey()


class EvalSession:
    """Hooks of the owning process. ``infos`` are the collected suites by name; they fill up during collection."""

    def __init__(
        self,
        settings: Settings,
        infos: Mapping[str, SuiteInfo],
        pool: EnginePool,
        path: Path,
        command: Sequence[str],
        recalled: Recollection,
        baseline: Baseline | None = None,
    ) -> None:
        self._settings = settings
        self._infos = infos
        self._pool = pool
        self._baseline = baseline
        self._recorder = Recorder(path)
        self._command = command
        self._records: dict[str, CaseRecord] = {}
        self._tokens: dict[str, Tokens] = {}
        self._recalled = recalled
        self._sources: dict[str, str | None] = {}
        self._interruption: str | None = None
        self._flown: list[str] = []
        self._started = datetime.datetime.now(datetime.UTC)
        self._run_id = f"{self._started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"

    # -- cases as they finish

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Any:
        """Run everything, then judge; whatever ends the run, the artifact gets its last line."""
        complete = False
        try:
            result = yield
            complete = not (session.shouldstop or session.shouldfail)
            return result
        except BaseException as error:
            self._interruption = self._interruption or f"{type(error).__name__}: {error}".rstrip(": ")
            raise
        finally:
            self._finish(session, complete=complete)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a finished case. The last report of a case carries it; a rerun replaces what came before."""
        line = getattr(report, "evals", None)
        if line is not None:
            self._take(line)
        elif report.when not in ("setup", "call", "teardown") and report.failed:
            self._crashed(report)

    def _take(self, line: str) -> None:
        sample = json.loads(line)
        self._records[sample["nodeid"]] = to_record(sample)
        completion = sample["interaction"]["completion"]
        self._sources[sample["nodeid"]] = source = source_of(completion)
        if completion and completion["completion_tokens"] is not None and source is None:
            tokens = self._tokens.setdefault(sample["interaction"]["source"] or "", Tokens())
            tokens.count(completion["prompt_tokens"] or 0, completion["completion_tokens"])
        for call in sample.get("calls") or ():
            if call.get("text") is not None:
                tokens = self._tokens.setdefault(call["model"], Tokens())
                tokens.count(call["prompt_tokens"] or 0, call["completion_tokens"] or 0)
        self._write(line)

    def _crashed(self, report: pytest.TestReport) -> None:
        """A worker of pytest-xdist died in a case: the case is an error, not a gap."""
        for info in self._infos.values():
            if report.nodeid in info.items and report.nodeid not in self._records:
                message = one_line(str(report.longrepr), 500)
                self._take(dump(crashed_line(report.nodeid, info, message)))

    def _write(self, line: str) -> None:
        if not self._recorder.started:
            run = RunFacts(self._run_id, self._started, self._settings.root, self._command)
            options = {
                **self._settings.engine_options,
                "limit": self._settings.limit,
                "repeat": self._settings.repeat,
                "stop_early": self._settings.stop_early,
                **self._settings.reuse.to_options(),
            }
            self._recorder.start(
                run_line(
                    run,
                    self._infos.values(),
                    self._pool.teams(),
                    judge=self._settings.judge_name,
                    seed=self._settings.seed,
                    options=options,
                    recalled=self._recalled,
                )
            )
        self._recorder.write(line)

    # -- the end

    def _finish(self, session: pytest.Session, *, complete: bool) -> None:
        self._interruption = self._interruption or _reason(session)
        records = [
            self._records[nodeid] for info in self._infos.values() for nodeid in info.items if nodeid in self._records
        ]
        compared = self._compared(records)
        joined = compared.joined if compared else None
        strict = self._settings.inconclusive == "fail"
        gates = judge_all(self._infos.values(), records, joined, strict=strict)
        # A worker that was told to stop cannot tell that from the end, and may have begun its audit.
        findings = session.config.stash.get(FINDINGS, None) if complete else None
        self._flown = list(map(str, session.config.stash.get(FLOWN, ())))
        card = self._card(records, gates, findings, compared)
        if records:
            session.config.stash[CARD] = card
            self._recorder.finish(summary_line(card, complete=complete))
        if complete:
            self._report(session, gates)

    def _compared(self, records: Sequence[CaseRecord]) -> Comparison | None:
        """Compare with the baseline, as far as it is about suites of this run."""
        if self._baseline is None:
            return None
        from pytest_evals.baseline.comparison import compare

        return compare([record for record in self._baseline.records if record.suite in self._infos], records)

    def _card(
        self,
        records: Sequence[CaseRecord],
        gates: Sequence[GateResult],
        findings: Findings | None,
        compared: Comparison | None,
    ) -> ScoreCard:
        collected = sum(len(info.items) for info in self._infos.values())
        limited = [info for info in self._infos.values() if info.n < info.total]
        notes = [f"{info.name}: the first {info.n} of {info.total} rows" for info in limited]
        notes += [note for info in self._infos.values() for note in info.notes]
        if self._baseline and compared:
            from pytest_evals.baseline.loading import baseline_notes

            notes += baseline_notes(self._baseline, compared, whole=len(records) == collected)
        cut = cut_note(records)
        scores = compute_scores(records)
        return ScoreCard(
            scores=tuple(scores),
            gates=tuple(gates),
            ledger=make_ledger(collected, records),
            uses=tuple(self._uses({*self._tokens, *(record.model for record in records)})),
            notes=(
                *([cut] if cut else []),
                *self._judge_note(),
                *self._flown,
                *self._recall_notes(),
                *notes,
                *self._pool.incidents,
                *([findings.note()] if findings else []),
            ),
            audit=findings.to_dict() if findings else None,
            artifact=_display(self._recorder.path) if self._recorder.started else None,
            interruption=self._interruption,
            records=tuple(records),
            shorts=self._shorts(dict.fromkeys(record.model for record in records)),
            calibrations=tuple(self._calibrations(records)),
            baseline=str(self._baseline.path) if self._baseline else None,
            movements=tuple(map(movement, compared.changes)) if compared else (),
            **insights(scores, records),
        )

    def _calibrations(self, records: Sequence[CaseRecord]) -> list[Calibration]:
        infos = self._infos.values()
        labelled = {
            info.name: {grader: Labelled.from_dict(data) for grader, data in info.labelled.items()} for info in infos
        }
        return calibrations(records, labelled, {info.name: info.identities for info in infos})

    def _judge_note(self) -> list[str]:
        """Say who judges where nobody chose."""
        if self._settings.judge is not None or not any(info.judges for info in self._infos.values()):
            return []
        return [f"judge: {self._settings.judge_name}, since none was named; --evals-judge or evals_judge names one"]

    def _recall_notes(self) -> list[str]:
        cases = {nodeid: (info.name, *item) for info in self._infos.values() for nodeid, item in info.items.items()}
        counts = Counter(source for source in self._sources.values() if source)
        return self._recalled.notes(counts, cases)

    def _uses(self, models: Collection[str]) -> list[ModelUse]:
        """Return what each loaded copy did; models that differ only in their prompts share one."""
        named: dict[int, tuple[Team, list[str]]] = {}
        for model, team in self._pool.teams().items():
            if model in models and any(resident.info for resident in team.replicas):
                named.setdefault(id(team), (team, []))[1].append(model)
        return [
            model_use(texts[0], team, [self._tokens.get(text, Tokens()) for text in texts])
            for team, texts in named.values()
        ]

    def _shorts(self, models: Iterable[str]) -> dict[str, str]:
        """Return the names that tables show: the whole one where the short one does not tell models apart."""
        found = {model: self._short(model) for model in models}
        return {model: short if list(found.values()).count(short) == 1 else model for model, short in found.items()}

    def _short(self, model: str) -> str:
        return model if model in ("", RECORDED) else spec_of_record(model, self._settings.root).short

    def _report(self, session: pytest.Session, gates: Sequence[GateResult]) -> None:
        for result in gates:
            info = self._infos[result.suite]
            several = len(info.models) > 1
            report = GateReport.make(result, info.path, info.line, several_models=several)
            session.config.hook.pytest_runtest_logreport(report=report)
            report.logged = True
            if result.verdict == "inconclusive" and self._settings.inconclusive == "warn":
                warn_of_inconclusive(session.config, result, several_models=several)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> Any:
        """Gates have no letter in the progress line."""
        return teststatus(report) if isinstance(report, GateReport) else None

    def pytest_unconfigure(self) -> None:
        """End the engines, however the session ended."""
        self._pool.close()
        self._recalled.close()


def _reason(session: pytest.Session) -> str | None:
    reason = session.shouldstop or session.shouldfail
    return str(reason) if reason else None


def _display(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
