"""Refuses gates that cannot be judged, once everything is collected and before anything is generated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from pytest_evals.errors import did_you_mean
from pytest_evals.gates import Gate, is_budget, resolve, unresolved
from pytest_evals.plain import one_line
from pytest_evals.settings import Settings
from pytest_evals.suites.info import SuiteInfo, gates_of

if TYPE_CHECKING:
    from pytest_evals.baseline.loading import Baseline


class GateCheck:
    """``infos`` are the collected suites, by name; ``baseline`` is the run to compare with, if it was read."""

    def __init__(self, settings: Settings, infos: Mapping[str, SuiteInfo], baseline: Baseline | None = None) -> None:
        self._settings = settings
        self._infos = infos
        self._baseline = baseline

    def pytest_collection_finish(self) -> None:
        """See `check`."""
        self.check()

    def check(self) -> None:
        """Raise `pytest.UsageError` for a gate of the session that no suite answers to, and for one that needs another
        baseline.
        """
        for gate in self._settings.gates:
            if self._infos and not any(gate.text in info.gates for info in self._infos.values()):
                raise pytest.UsageError(f"gate {gate.text!r}: {self._why(gate)}")
        relative = next((gate for info in self._infos.values() for gate in gates_of(info) if gate.relative), None)
        if relative:
            self._check_baseline(relative)

    def _why(self, gate: Gate) -> str:
        infos = self._infos.values()
        if gate.slice and any(resolve(gate, info.name, info.graders) for info in infos):
            return f"no suite with this grader has rows with {'='.join(gate.slice)}"
        budget = gate.target.rpartition(".")[2]
        if is_budget(budget, [name for info in infos for name in info.graders]) and gate.target == budget:
            return f"there is {unresolved(gate, ())}"
        known = "; ".join(f"{info.name}: {', '.join(info.graders) or 'none'}" for info in infos)
        names = [name for info in infos for grader in info.graders for name in (grader, f"{info.name}.{grader}")]
        return f"no suite has a grader {gate.target!r} (graders of {known}){did_you_mean(gate.target, names)}"

    def _check_baseline(self, gate: Gate) -> None:
        if self._settings.baseline is None:
            raise pytest.UsageError(
                f"gate {gate.text!r} compares with a baseline, and none is given: name one with --evals-baseline "
                "(or evals_baseline in the configuration file)"
            )
        if self._baseline is None:
            return
        suites = dict.fromkeys(record.suite for record in self._baseline.records)
        if not any(name in suites for name in self._infos):
            raise pytest.UsageError(
                f"--evals-baseline: {self._baseline.path} has none of the suites of this run ({', '.join(self._infos)}), "
                f"only {one_line(', '.join(suites), 300) or 'no case at all'}"
            )
