"""Sets up what this process does when evals are on: collect, run cases, own the session, or print a plan."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pytest_evals_hf
from pytest_evals.collection.plugin import Collection
from pytest_evals.errors import EvalsError
from pytest_evals.fixtures.context import CODE_SANDBOX, RUN_CODE, TIME_LIMIT
from pytest_evals.fixtures.current import GraderRequests
from pytest_evals.options import WHY_SKIPPED
from pytest_evals.redaction import masked
from pytest_evals.runner.garbage import GarbagePause
from pytest_evals.session.output_filter import OutputFilter, ReportsOfWorker
from pytest_evals.session.setup import check_outputs, claim_artifact, read_baseline, recollection, requested_outputs
from pytest_evals.settings import Settings, read_settings
from pytest_evals.sinks import for_terminal, log_is_read
from pytest_evals.suites.declaration import MARK
from pytest_evals.suites.manifest import SuiteManifest

if TYPE_CHECKING:
    from pytest_evals.artifacts.journal import Journal
    from pytest_evals.baselines.loading import Baseline
    from pytest_evals.reuse.recorded_run import Recorded


def activate(config: pytest.Config) -> None:
    """Register the plugins of this process. Raises `pytest.UsageError` for options that make no sense."""
    try:
        _activate(config)
    except pytest.UsageError as error:
        # It may quote a file, or an address with a password.
        raise pytest.UsageError(for_terminal(masked(str(error)))) from error


def _activate(config: pytest.Config) -> None:
    if pytest_evals_hf.other_version() is not None:
        raise pytest.UsageError(pytest_evals_hf.conflict())
    settings = read_settings(config)
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(ReportsOfWorker(), "evals-reports-of-worker")
    if log_is_read(os.environ) or config.getoption("teamcity", default=0):
        config.pluginmanager.register(OutputFilter(), "evals-output-filter")
    if settings.stop_early:
        from pytest_evals.runner.early_stopping import check_stop_early

        check_stop_early(settings, config)
    if settings.artifact_url and not hasattr(config, "workerinput"):
        from pytest_evals.session.upload import check_url

        check_url(settings.artifact_url)
    config.stash[TIME_LIMIT] = settings.grader_timeout
    config.stash[RUN_CODE] = settings.run_code
    config.stash[CODE_SANDBOX] = (settings.code_sandbox, settings.code_image)
    recorded = _read_replay(settings.reuse.replay) if settings.reuse.replay else None
    if recorded is not None and recorded.judge and config.getoption("evals_judge") is None:
        # Who judged then judges now, so that its answers are known.
        settings = dataclasses.replace(settings, judge=recorded.judge)
    collection = Collection(settings)
    config.pluginmanager.register(collection, "evals-collection")
    config.pluginmanager.register(GraderRequests(), "evals-grader-requests")
    config.pluginmanager.register(GarbagePause(config), "evals-garbage")
    if settings.reuse.replay and recorded is not None:
        _recast(config, settings.reuse.replay, recorded, collection)
    if config.getoption("evals_plan"):
        _plan(config, settings, collection)
    elif not config.option.collectonly:
        _run(config, settings, collection)


def collect_only(config: pytest.Config) -> None:
    """Make cases of suites although evals are off, so that one which is named on the command line exists."""
    # Nothing runs, so there is nothing to refuse.
    settings = dataclasses.replace(read_settings(config), run_code=True, refuse_recorded=False)
    config.pluginmanager.register(Collection(settings), "evals-collection")


def _check_sandbox(settings: Settings) -> list[str]:
    """Return what the header says about how programs are confined. Raises `pytest.UsageError` where they cannot be."""
    if not settings.run_code:
        return []
    from pytest_evals.graders.code.levels import find_sandbox

    try:
        sandbox = find_sandbox(settings.code_sandbox, settings.code_image)
    except EvalsError as error:
        raise pytest.UsageError(str(error)) from error
    note = f"; {sandbox.note}" if sandbox.note else ""
    return [f"evals: programs of models are confined by {sandbox.title}{note}"]


def _run(config: pytest.Config, settings: Settings, collection: Collection) -> None:
    from pytest_evals.fixtures.watchdog import watch
    from pytest_evals.processes import end_with_starter
    from pytest_evals.runner.exits import refuse_quiet_exits

    refuse_quiet_exits(config)
    programs = _check_sandbox(settings)
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker_input is not None:
        from pytest_evals.engines.remote import ADDRESS
        from pytest_evals.xdist import activate_worker

        # pytest-xdist starts its workers in the main thread.
        end_with_starter()
        watch(config, None)
        activate_worker(config, settings, collection, worker_input[ADDRESS])
        return
    _check_workers(config)
    path, journal = claim_artifact(settings)
    config.add_cleanup(journal.close)
    check_outputs(settings, path)
    watch(config, path)
    distributed = config.getoption("dist", "no") != "no"
    _own(config, settings, collection, (path, journal), programs, distributed=distributed)


def _check_workers(config: pytest.Config) -> None:
    """Raise `pytest.UsageError` for ways to run tests in other processes that cannot work."""
    if config.getoption("dist", "no") == "each":
        raise pytest.UsageError(
            "--dist each runs every test once in each worker, and a run of evals has each case once: choose another --dist, or run "
            "pytest once for each environment (pytest-evals compare shows how the runs differ)"
        )
    # It registers its runner by these options, later than this.
    asked = config.getoption("workers", default=None) or config.getoption("tests_per_worker", default=None)
    if asked and config.pluginmanager.has_plugin("parallel"):
        raise pytest.UsageError(
            "--workers and --tests-per-worker (pytest-parallel) fork pytest's process, and a fork has none of the threads that fetch "
            "answers, so its tests would wait for ever; use -n 2 (pytest-xdist)"
        )


def _read_replay(path: Path) -> Recorded:
    from pytest_evals.reuse.setup import read_run

    try:
        return read_run("--evals-replay", path)
    except EvalsError as error:
        raise pytest.UsageError(str(error)) from error


def _recast(config: pytest.Config, replay: Path, recorded: Recorded, collection: Collection) -> None:
    from pytest_evals.collection.replay import LeftOut, SuiteCheck, recasts
    from pytest_evals.review.replay import ANSWERS, load_answers

    try:
        collection.recast = recasts(recorded)
        config.stash[ANSWERS] = load_answers(replay)
    except EvalsError as error:
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(LeftOut(collection.recast), "evals-left-out")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SuiteCheck(collection.recast, collection.infos), "evals-suite-check")


def _own(
    config: pytest.Config,
    settings: Settings,
    collection: Collection,
    artifact: tuple[Path, Journal],
    programs: Sequence[str],
    *,
    distributed: bool,
) -> None:
    from pytest_evals.engines.pool import EnginePool
    from pytest_evals.runner.plugin import register_run
    from pytest_evals.session.gates import GateCheck
    from pytest_evals.session.plugin import EvalSession
    from pytest_evals.session.setup import warm_lines
    from pytest_evals.session.terminal import EqualErrors, ProgressLine, PytestScreen, Terminal

    path, journal = artifact
    baseline = read_baseline(settings, config.invocation_params.dir)
    infos: dict[str, SuiteManifest] = collection.infos
    recalled = recollection(settings, infos)
    kept = None if journal.problem else journal.path
    pool = EnginePool(
        settings.root,
        settings.engine_options,
        settings.stall_timeout,
        recalled.memory,
        settings.load_timeout,
        kept,
        settings.warm,
    )
    time_limit = None
    if settings.time_limit:
        from pytest_evals.runner.time_limit import TimeLimit

        time_limit = TimeLimit(settings.time_limit)
    session = EvalSession(config, settings, infos, pool, path, journal, recalled, baseline, time_limit)
    config.pluginmanager.register(session, "evals-session")
    config.pluginmanager.register(EqualErrors(infos), "evals-equal-errors")
    config.pluginmanager.register(
        Terminal(config, settings, infos, path, [*recalled.header(), *warm_lines(settings), *programs]),
        "evals-terminal",
    )
    if settings.artifact_url:
        from pytest_evals.session.upload import Upload

        config.pluginmanager.register(Upload(settings.artifact_url), "evals-upload")
    gate_check = GateCheck(settings, infos, baseline)
    _register_outputs(config, settings, infos, path, baseline)
    # What overwrites a line is escaped by the filter, and with -s tests write between.
    captured = config.getoption("capture", "fd") != "no"
    live = captured and not distributed and not config.pluginmanager.has_plugin("evals-output-filter")
    progress = ProgressLine(pool, PytestScreen(config, live=live))
    if distributed:
        from pytest_evals.xdist import Controller

        config.pluginmanager.register(Controller(pool, infos, progress, gate_check, time_limit), "evals-controller")
        return
    if not settings.reuse.replay:
        collection.on_model_needed = pool.prepare
    supply = register_run(config, settings, pool, progress, time_limit)
    if settings.stop_early:
        from pytest_evals.runner.early_stopping import EarlyStopping

        supply.pace = EarlyStopping(settings, infos)
        config.pluginmanager.register(supply.pace, "evals-pace")
    config.pluginmanager.register(gate_check, "evals-gate-check")


def _register_outputs(
    config: pytest.Config,
    settings: Settings,
    infos: Mapping[str, SuiteManifest],
    artifact: Path,
    baseline: Baseline | None,
) -> None:
    plugins = (name for name, plugin in config.pluginmanager.list_name_plugin() if plugin is not None)
    asked = requested_outputs(settings, os.environ, plugins)
    if asked:
        from pytest_evals.session.outputs import Outputs

        config.pluginmanager.register(Outputs(config, infos, artifact, asked, baseline), "evals-outputs")


def _plan(config: pytest.Config, settings: Settings, collection: Collection) -> None:
    from pytest_evals.session.gates import GateCheck
    from pytest_evals.session.terminal import PlanPrinter

    # A plan is one process's work: the controller of pytest-xdist collects nothing.
    if config.getoption("dist", "no") != "no":
        config.option.dist, config.option.tx, config.option.numprocesses = "no", [], 0
    # Looking is not writing.
    cache = settings.reuse.cache.replace("write", "read")
    settings = dataclasses.replace(settings, reuse=dataclasses.replace(settings.reuse, cache=cache))
    recalled = recollection(settings, collection.infos)
    config.pluginmanager.register(PlanPrinter(settings, collection.infos, recalled), "evals-plan")
    config.pluginmanager.register(GateCheck(settings, collection.infos), "evals-gate-check")


def skip_evals(items: list[pytest.Item]) -> None:
    """Mark every eval to be skipped, with the reason that says how to run it."""
    skip = pytest.mark.skip(reason=WHY_SKIPPED)
    for item in items:
        if item.get_closest_marker(MARK) is not None:
            item.add_marker(skip)
