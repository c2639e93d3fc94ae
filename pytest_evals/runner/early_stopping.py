"""``--evals-stop-early`` in a session: in which order cases run, how far ahead they are generated, and which do not run."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_evals.artifacts.sample import to_record
from pytest_evals.collection.item import EVAL, EvalItem
from pytest_evals.gates import Gate, has_value, is_budget, resolve
from pytest_evals.gates.early_stopping import ALPHA, GateWatch, SuiteWatch, visiting_order, why_unsettleable
from pytest_evals.runner.outcome import STOPPED
from pytest_evals.settings import Settings
from pytest_evals.suites.manifest import SuiteManifest, gates_of

# Why a case does not run.
AHEAD = 32
"""Cases whose completions are generated ahead of the one that runs: what is lost when a suite stops, at most twice."""


@dataclass(slots=True)
class _Group:
    """The items of one suite and model, in the order in which they run; without a ``watch`` all of them do."""

    info: SuiteManifest
    model: str
    items: list[pytest.Item] = field(default_factory=list)
    watch: SuiteWatch | None = None
    done: int = 0


class EarlyStopping:
    """Hooks, and what the runner of cases asks."""

    def __init__(self, settings: Settings, infos: Mapping[str, SuiteManifest]) -> None:
        self._settings = settings
        self._infos = infos
        self._groups: dict[tuple[str, str], _Group] = {}
        self._lines: dict[str, str] = {}
        self._positions: dict[str, int] = {}
        self._items: Sequence[pytest.Item] = ()
        self._admitted = 0

    # -- before anything runs

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Let the cases of each suite run in their random order, in the places that they have among other tests."""
        places: dict[tuple[str, str], list[int]] = {}
        for index, item in enumerate(items):
            found = item.stash.get(EVAL, None)
            if found is not None:
                places.setdefault(_group_of(found), []).append(index)
        for key, indices in places.items():
            mine = [items[index] for index in indices]
            group = self._groups[key] = _Group(mine[0].stash[EVAL].info, key[1], self._shuffled(mine))
            for index, item in zip(indices, group.items, strict=True):
                items[index] = item

    def _shuffled(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        found = {item: item.stash[EVAL] for item in items}
        suite = found[items[0]].info.name
        order = visiting_order({each.key.id for each in found.values()}, suite, self._settings.seed)
        places = {case_id: place for place, case_id in enumerate(order)}
        return sorted(items, key=lambda item: (places[found[item].key.id], found[item].key.repeat))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Find out which suites can be stopped, and say why others cannot."""
        self._items = session.items
        self._positions = {item.nodeid: index for index, item in enumerate(session.items)}
        selected = set(self._positions)
        gates = {key: gates_of(group.info) for key, group in self._groups.items()}
        alpha = ALPHA / max(1, sum(map(len, gates.values())))
        for key, group in self._groups.items():
            why = _why_whole(group, gates[key], selected)
            if why is None:
                group.watch = _watch(group, gates[key], alpha)
            elif why:
                group.info.notes.append(f"{group.info.name}: not stopped early: {why}")

    # -- what the runner asks

    def admit(self, item: pytest.Item) -> Sequence[pytest.Item]:
        """Return the items that are to be generated from now on, now that ``item`` is going to run."""
        here = self._positions[item.nodeid]
        if self._admitted - here > AHEAD:
            return ()
        first, self._admitted = self._admitted, max(self._admitted, here + 1 + 2 * AHEAD)
        return [other for other in itertools.islice(self._items, first, self._admitted) if not self._over(other)]

    def _over(self, item: pytest.Item) -> bool:
        found = item.stash.get(EVAL, None)
        return found is not None and self._groups[_group_of(found)].model in found.info.stopped

    def stop(self, item: pytest.Item) -> bool:
        """Tell whether the item does not run, and mark it accordingly."""
        if not self._over(item):
            return False
        info = item.stash[EVAL].info
        item.stash[STOPPED] = f"stopped early: the gates of {info.name} are settled"
        item.add_marker(pytest.mark.skip(reason=item.stash[STOPPED]))
        return True

    # -- as cases finish

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the sample of a case; that of its last attempt counts."""
        line = getattr(report, "evals", None)
        if line is not None:
            self._lines[report.nodeid] = line

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Look at the gates of a suite after each of its cases."""
        line = self._lines.pop(nodeid, None)
        if line is None:
            return
        record = to_record(json.loads(line))
        group = self._groups[record.suite, record.model]
        group.done += 1
        if group.watch is None:
            return
        group.watch.add(record)
        left = len(group.items) - group.done
        if left and group.watch.settled:
            info = group.info
            info.stopped[group.model] = left
            which = f"{info.name} ({group.model})" if len(info.models) > 1 else info.name
            info.notes.append(
                f"{which}: stopped early: its gates were settled after {group.done:,} of {len(group.items):,} cases; {left:,} saved"
            )
        elif lost := group.watch.lost():
            group.watch = None
            info = group.info
            info.notes.append(f"{info.name}: not stopped early: gate {lost[0]}")


def _group_of(found: EvalItem) -> tuple[str, str]:
    return found.info.name, found.key.model or ""


def _why_whole(group: _Group, gates: Sequence[Gate], selected: set[str]) -> str | None:
    """Say why all cases of a group run; ``""`` where that needs no explanation, `None` where it may be stopped."""
    info = group.info
    if not gates or any(nodeid not in selected for nodeid, item in info.items.items() if item.model == group.model):
        return ""
    if len({(item.case_id, item.repeat) for item in info.items.values() if item.model == group.model}) < len(
        group.items
    ):
        return "several tests share its cases"
    for gate in gates:
        name = str(resolve(gate, info.name, info.graders))
        why = why_unsettleable(gate, budget=is_budget(name, info.graders))
        if why:
            return f"gate {gate.text!r}: {why}"
    return None


def _watch(group: _Group, gates: Sequence[Gate], alpha: float) -> SuiteWatch:
    info = group.info
    cases = {item.stash[EVAL].key.id: item.stash[EVAL].prepared.case for item in group.items}
    repeats = len(group.items) // len(cases)
    watches = []
    for gate in gates:
        name = str(resolve(gate, info.name, info.graders))
        population = sum(gate.slice is None or has_value(case, *gate.slice) for case in cases.values())
        budget = is_budget(name, info.graders)
        watches.append(GateWatch(gate, name, population, alpha, repeats, budget=budget))
    return SuiteWatch(watches, repeats)


def check_stop_early(settings: Settings, config: pytest.Config) -> None:
    """Raise `pytest.UsageError` where cases cannot run one after the other, or nothing would be saved."""
    reasons: dict[str, Any] = {
        "-n: workers finish cases in no order, and the ones that finish first are not a fair sample": (
            config.getoption("dist", "no") != "no" or hasattr(config, "workerinput")
        ),
        "--evals-replay: everything is generated already": settings.reuse.replay,
        "--evals-plan: nothing runs": config.getoption("evals_plan"),
    }
    for reason, holds in reasons.items():
        if holds:
            raise pytest.UsageError(f"--evals-stop-early cannot be combined with {reason}")
