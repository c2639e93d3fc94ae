"""pytest-xdist: workers run cases, the controller owns engines, artifact and gates.

A worker sends its requests to the controller and waits for the answers; its finished cases travel with its reports.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pytest_evals.collection.plugin import Collection
from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.remote import ADDRESS, RemotePool, serve_workers
from pytest_evals.notes import take_notes
from pytest_evals.runner.audit import FINDINGS, WORKER_OUTPUT, Findings
from pytest_evals.runner.plugin import register_run
from pytest_evals.session.gates import GateCheck
from pytest_evals.session.terminal import ProgressLine
from pytest_evals.settings import Settings
from pytest_evals.suites.manifest import SuiteManifest

USAGE_ERROR = "evals_usage_error"
"""What a worker tells the controller of a mistake that it found as it collected."""
_TICK_SECONDS = 0.5


class Controller:
    """Hooks of the controller: it collects nothing, so workers declare the suites to it."""

    def __init__(
        self, pool: EnginePool, infos: dict[str, SuiteManifest], progress: ProgressLine, gate_check: GateCheck
    ) -> None:
        self._gate_check = gate_check
        self._infos = infos
        self._progress = progress
        self._done = threading.Event()
        self._address = serve_workers(pool, self._declare)

    def _declare(self, suites: list[dict[str, Any]]) -> None:
        for data in suites:
            self._infos.setdefault(data["name"], SuiteManifest.from_dict(data))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker where the controller listens."""
        node.workerinput[ADDRESS] = self._address

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self) -> None:
        """A worker has collected, and has declared its suites before it said so."""
        self._gate_check.check()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker has to say, and what its audit found."""
        output = getattr(node, "workeroutput", {})
        if USAGE_ERROR in output:
            # Else the loop of xdist would miss its workers, which is an internal error.
            raise pytest.UsageError(str(output[USAGE_ERROR]))
        take_notes(node.config, output)
        found = output.get(WORKER_OUTPUT)
        if found is not None:
            node.config.stash.setdefault(FINDINGS, Findings()).add(found)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Any:
        """Print news while the workers run: no hook is called here in the meantime."""
        ticker = threading.Thread(target=self._tick, name="evals-progress", daemon=True)
        ticker.start()
        try:
            return (yield)
        finally:
            self._done.set()
            ticker.join()

    def _tick(self) -> None:
        while not self._done.wait(_TICK_SECONDS):
            self._progress.tick()


class Declarer:
    """Hook of a worker: tells the controller what it collected."""

    def __init__(self, remote: RemotePool, collection: Collection) -> None:
        self._remote = remote
        self._collection = collection

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self, session: pytest.Session) -> Any:
        """Keep for the controller why a worker cannot go on: it hears nothing else of it."""
        try:
            return (yield)
        except pytest.UsageError as error:
            session.config.workeroutput[USAGE_ERROR] = str(error)  # type: ignore[attr-defined]  # xdist gives it to workers
            raise

    def pytest_collection_finish(self) -> None:
        """See the class."""
        self._remote.declare([info.to_dict() for info in self._collection.infos.values()])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self) -> None:
        """Run nothing more once the controller has ended, by a signal for one."""
        if self._remote.ended:
            pytest.exit("the process that owns the session has ended")

    def pytest_unconfigure(self) -> None:
        """Hang up."""
        self._remote.close()


def activate_worker(
    config: pytest.Config, settings: Settings, collection: Collection, address: tuple[str, str]
) -> None:
    """Register what a worker does."""
    remote = RemotePool(*address)
    if not settings.reuse.replay:
        collection.on_model_needed = remote.prepare
    register_run(config, settings, remote)
    config.pluginmanager.register(Declarer(remote, collection), "evals-declarer")
