"""Hooks of the process that owns the session.

The same with and without pytest-xdist: cases arrive with their reports, wherever they ran.
"""

from __future__ import annotations

import datetime
import functools
import json
import os
import secrets
import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy
import pytest

from pytest_evals.artifacts.journal import Journal
from pytest_evals.artifacts.provenance import provenance
from pytest_evals.artifacts.sample import answer_keys, dump
from pytest_evals.artifacts.writer import ArtifactWriter
from pytest_evals.collection.selection import names_case
from pytest_evals.completion import Failure
from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.short_names import short_names
from pytest_evals.errors import place_of
from pytest_evals.fixtures.factory import only_setup
from pytest_evals.gates import GateResult
from pytest_evals.invocation import opened
from pytest_evals.notes import notes_of
from pytest_evals.redaction import masked_command
from pytest_evals.reuse.setup import ReuseContext
from pytest_evals.scores.records import CaseRecord
from pytest_evals.session.gates import (
    GateReport,
    GateStatus,
    judge_all,
    log_report,
    show_without_folder,
    warn_of_inconclusive,
)
from pytest_evals.session.signals import RunTerminated, Signals, held
from pytest_evals.settings import Settings
from pytest_evals.suites.manifest import SuiteManifest
from pytest_evals.text import one_line, pluralize

if TYPE_CHECKING:
    from pytest_evals.baselines.comparison import Comparison
    from pytest_evals.baselines.loading import Baseline
    from pytest_evals.runner.audit import Findings
    from pytest_evals.runner.time_limit import TimeLimit
    from pytest_evals.scorecard import ScoreCard
    from pytest_evals.session.scorecard import SampleCollector

# The score card of the session, once everything ran, and where its artifact is.
CARD: pytest.StashKey[ScoreCard] = pytest.StashKey()
UNCOUNTED: pytest.StashKey[str] = pytest.StashKey()
"""What is to be said of cases that have no result although the run came to its end."""
ARTIFACT: pytest.StashKey[Path] = pytest.StashKey()


class EvalSession:
    """Hooks of the owning process. ``infos`` are the collected suites by name; they fill up during collection."""

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        infos: Mapping[str, SuiteManifest],
        pool: EnginePool,
        path: Path,
        journal: Journal,
        recalled: ReuseContext,
        baseline: Baseline | None = None,
        time_limit: TimeLimit | None = None,
    ) -> None:
        show_without_folder(config)
        self._config = config
        self._settings = settings
        self._infos = infos
        self._hook_problems: dict[str, str] = {}
        self._pool = pool
        self._baseline = baseline
        self._time_limit = time_limit
        self._recorder = ArtifactWriter(path)
        self._recording = threading.Lock()
        self._journal = journal
        self._sampled = False
        self._keys: set[str] = set()
        self._command = list(opened(map(str, config.invocation_params.args)))
        self._made_with: Mapping[str, Any] | None = None
        self._looking: threading.Thread | None = None
        self._signals = Signals()
        self._signals.install(config)
        pool.on_first_request = self._begin
        self._recalled = recalled
        self._interruption: str | None = None
        self._started = datetime.datetime.now(datetime.UTC)
        self._run_id = f"{self._started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"

    @functools.cached_property
    def _tally(self) -> SampleCollector:
        # What looks at results is imported when there are some: a run starts sooner without it.
        from pytest_evals.session.scorecard import SampleCollector

        return SampleCollector()

    # -- cases as they finish

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Any:
        """Run everything, then judge; whatever ends the run, the artifact gets its last line."""
        complete = False
        # It takes some processes of git, and what needs it then should not wait for them.
        self._looking = threading.Thread(target=self._look, name="evals-provenance", daemon=True)
        self._looking.start()
        timer = self._time_limit.call_at_end(self._expire) if self._time_limit else None
        try:
            result = yield
            self._check_time(session)
            complete = not (session.shouldstop or session.shouldfail)
            return result
        except BaseException as error:
            said = f"{type(error).__name__}: {error}".rstrip(": ")
            ended = isinstance(error, (RunTerminated, session.Interrupted))
            self._interruption = self._interruption or (str(error) if ended else said)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._signals.ending = True
            self._finish(session, complete=complete)

    def _expire(self) -> None:
        if self._time_limit is not None:
            self._pool.expire(Failure("time_limit", self._time_limit.reason))

    def _check_time(self, session: pytest.Session) -> None:
        """End the run as an interrupted one where its time was over before all cases had run."""
        limit = self._time_limit
        if limit is None or not limit.passed or session.shouldstop or session.shouldfail:
            return
        expected = self._expected()
        left = expected - len(self._tally.records(self._infos.values()))
        if left > 0 and not only_setup(session.config):
            raise session.Interrupted(
                f"the time limit of {limit.text} (evals_time_limit) was over: {left:,} of {pluralize(expected, 'case')} did not run"
            )

    def _expected(self) -> int:
        """Return how many cases were to run."""
        infos = self._infos.values()
        return sum(len(info.items) - len(info.unselected) - sum(info.stopped.values()) for info in infos)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Any:
        """Take a finished case. The last report of a case carries it; a rerun replaces what came before."""
        line = getattr(report, "evals", None)
        if line is not None:
            self._take(report.nodeid, line, getattr(report, "evals_sample", None))
        elif report.when not in ("setup", "call", "teardown") and report.failed:
            self._crashed(report)
        result = yield
        if line is not None:
            # pytest keeps all reports until the end: of many cases the lines would be most of its memory.
            vars(report).pop("evals", None)
            vars(report).pop("evals_sample", None)
        return result

    def _take(self, nodeid: str, line: str, sample: Mapping[str, Any] | None = None) -> None:
        """Take a case by its line; ``sample`` is what the line says, where it has not crossed to another process."""
        if sample is None:
            sample = json.loads(line)
        last_failed = getattr(self._config.pluginmanager.get_plugin("lfplugin"), "lastfailed", None)
        if sample["outcome"] == "errored" and last_failed is not None:
            # Where another case has shown the error, pytest saw this one skipped, and would leave it out of --lf.
            last_failed[nodeid] = True
        with held():
            self._tally.add(sample)
            self._write(line)
            self._keys.update(answer_keys(sample))
        hook = self._config.hook.pytest_evals_sample
        if hook.get_hookimpls():
            from pytest_evals.artifacts.schema import EvalSample

            self._call(hook, sample=EvalSample.model_validate(json.loads(line)))

    def _call(self, hook: pluggy.HookCaller, **given: object) -> None:
        """Call a hook of the user's; what it raises is said at the end, and takes no result away."""
        try:
            hook(config=self._config, **given)
        except Exception as error:  # noqa: BLE001 - an implementation is the user's code
            problem = (
                f"the hook {hook.name} raised {type(error).__name__} ({place_of(error)}): {one_line(str(error), 200)}"
            )
            self._hook_problems[hook.name] = self._hook_problems.get(hook.name, problem)

    def _crashed(self, report: pytest.TestReport) -> None:
        """A worker of pytest-xdist died in a case: the case is an error, not a gap."""
        for info in self._infos.values():
            if report.nodeid in info.items and report.nodeid not in self._tally:
                from pytest_evals.session.artifact_lines import crashed_line

                message = one_line(str(report.longrepr), 500)
                self._take(report.nodeid, dump(crashed_line(report.nodeid, info, message)))

    def _write(self, line: str) -> None:
        # By now it may be known of more models what they were loaded as.
        run = None if self._sampled else self._run_line()
        self._sampled = True
        with self._recording:
            if run is not None and self._recorder.started:
                self._recorder.restate(run)
            elif run is not None:
                self._start(run)
            self._recorder.write(line)

    def _begin(self) -> None:
        """Write the first line before any model is asked: what is answered from now on is found by it. In a thread of the pool."""
        run = self._run_line()
        with self._recording:
            if not self._recorder.started:
                self._start(run)

    def _start(self, run: Mapping[str, Any]) -> None:
        # The journal first: it must not be taken for that of the run before.
        self._journal.begin(self._run_id)
        self._recorder.start(run)

    def _run_line(self) -> dict[str, Any]:
        from pytest_evals.session.artifact_lines import RunFacts, model_aliases, run_line

        if self._looking is not None:
            self._looking.join()
        folder, made_with = self._config.invocation_params.dir, self._made_with or self._look()
        return run_line(
            RunFacts(self._run_id, self._started, folder, _addopts(), made_with),
            self._infos.values(),
            self._pool.replica_sets(),
            judge=self._settings.judge_name,
            seed=self._settings.seed,
            options=self._settings.run_options,
            aliases=model_aliases(self._settings),
            recalled=self._recalled,
        )

    def _look(self) -> Mapping[str, Any]:
        self._made_with = provenance(self._settings.root, self._command)
        return self._made_with

    # -- the end

    def _finish(self, session: pytest.Session, *, complete: bool) -> None:
        from pytest_evals.runner.audit import FINDINGS

        self._interruption = self._interruption or _reason(session)
        with held():
            if not complete:
                # What engines have written down by their end is all that there is.
                self._pool.close()
            records = self._tally.records(self._infos.values())
            compared = self._compared(records)
            joined = compared.joined if compared else None
            uncounted = self._uncounted(session, records) if complete else None
            if uncounted:
                # As loud as a gate that is not met: what could not be counted may have failed it.
                session.testsfailed += 1
                session.config.stash[UNCOUNTED] = self._interruption = uncounted
            strict = self._settings.inconclusive == "fail"
            gates = judge_all(self._infos.values(), records, joined, strict=strict)
            # A worker that was told to stop cannot tell that from the end, and may have begun its audit.
            findings = session.config.stash.get(FINDINGS, None) if complete else None
            if self._recorder.started:
                self._conclude(session, gates, compared, findings, complete=complete and not uncounted)
        card = session.config.stash.get(CARD, None)
        if card is not None:
            self._call(session.config.hook.pytest_evals_scorecard, card=card)
            if self._hook_problems:
                session.testsfailed += 1
                session.config.stash[CARD] = replace(card, notes=(*card.notes, *self._hook_problems.values()))
        if complete:
            self._report(session, gates)

    def _conclude(
        self,
        session: pytest.Session,
        gates: Sequence[GateResult],
        compared: Comparison | None,
        findings: Findings | None,
        *,
        complete: bool,
    ) -> None:
        """Make the score card, and bring the artifact to its end."""
        from pytest_evals.reuse.command import RunCommand, behind_gates, hints
        from pytest_evals.session.artifact_lines import summary_line
        from pytest_evals.session.scorecard import ScoreCardBuilder, display

        card = ScoreCardBuilder(self._settings, self._infos, self._pool, self._recalled, self._baseline).make(
            self._tally,
            gates,
            compared,
            findings,
            [*notes_of(session.config), *self._kept(complete=complete)],
            artifact=self._recorder.path,
            interruption=self._interruption,
        )
        unwritten = self._recorder.finish(summary_line(card, complete=complete))
        if unwritten:
            # Results that are not where they are looked for must not pass for a success.
            session.testsfailed += 1
            card = replace(card, artifact=display(self._recorder.path), unwritten=unwritten)
        words, paths = masked_command(self._command), self._config.option.file_or_dir
        command = RunCommand(words, Path(str(card.artifact)), _addopts(), paths=paths)
        chosen = behind_gates(card) if complete else None
        again = command.rerun_cases(chosen) if chosen else None
        card = replace(card, rerun=again, resume=None if complete else command.resume())
        card = replace(card, hints=tuple(hints(card, command)))
        self._journal.close(remove=not unwritten or self._recorder.whole)
        session.config.stash[ARTIFACT] = self._recorder.path
        session.config.stash[CARD] = card

    def _kept(self, *, complete: bool) -> Iterator[str]:
        """Move the answers of cases that did not finish from the journal to the artifact; say what a reader should know of them."""
        from pytest_evals.scorecard import apart_note

        answers = 0
        for line in self._journal.rest(self._keys):
            self._recorder.write(line)
            answers += 1
        if answers and not complete:
            yield apart_note(answers)
        if self._journal.problem:
            yield self._journal.problem

    def _uncounted(self, session: pytest.Session, records: Sequence[CaseRecord]) -> str | None:
        """Say how many cases were to run and have no result although the run came to its end; `None` where all have one."""
        infos = self._infos.values()
        expected = self._expected()
        if len(records) >= expected or only_setup(session.config):
            return None
        said = f"{expected - len(records):,} of {pluralize(expected, 'case')} that were to run did not"
        strays = self._tally.strays(infos)
        if strays:
            said = f"{said}; {pluralize(len(strays), 'result')} came with an id that no case has, as {strays[0]}"
        return said

    def _compared(self, records: Sequence[CaseRecord]) -> Comparison | None:
        """Compare with the baseline, as far as it is about suites of this run."""
        if self._baseline is None:
            return None
        from pytest_evals.baselines.comparison import compare

        return compare([record for record in self._baseline.records if record.suite in self._infos], records)

    def _report(self, session: pytest.Session, gates: Sequence[GateResult]) -> None:
        from pytest_evals.session.artifact_lines import model_aliases

        # From now on only: pytest asks for each report of each test.
        session.config.pluginmanager.register(GateStatus(), "evals-gate-status")
        models = dict.fromkeys(model for info in self._infos.values() for model in info.models)
        shorts = short_names(models, model_aliases(self._settings))
        on_one_line = session.config.getoption("tbstyle", default="auto") == "line"
        for result in gates:
            info = self._infos[result.suite]
            if result.verdict == "not judged" and any(map(names_case, session.config.args)):
                # A click on one case in an IDE: a gate that is not judged would only be shown beside it.
                continue
            model = shorts.get(result.model, result.model) if len(info.models) > 1 else None
            report = GateReport.make(result, info.path, info.line, model=model, one_line=on_one_line)
            log_report(session.config, report)
            if session.config.pluginmanager.has_plugin("allure_listener"):
                from pytest_evals.session.allure import add_to_allure

                add_to_allure(session.config, report)
            if result.verdict == "inconclusive" and self._settings.inconclusive == "warn":
                warn_of_inconclusive(session.config, result, model)

    def pytest_unconfigure(self) -> None:
        """End the engines, however the session ended."""
        self._pool.close()
        self._recalled.close()


def _addopts() -> str | None:
    """Return ``PYTEST_ADDOPTS`` without secrets."""
    written = os.environ.get("PYTEST_ADDOPTS", "").strip()
    try:
        return shlex.join(masked_command(shlex.split(written))) or None
    except ValueError:
        return None


def _reason(session: pytest.Session) -> str | None:
    reason = session.shouldstop or session.shouldfail
    return str(reason) if reason else None
