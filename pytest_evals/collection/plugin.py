"""Collects suites: hooks that make one test item for each case, model and repeat."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from pytest_evals.collection.checks import applies, check_fixtures, check_graders, check_likelihoods
from pytest_evals.collection.closure import Lookup, RequestedFixtures, find_requested
from pytest_evals.collection.item import EVAL, PARAMETER, RECORDED, CaseKey, EvalItem
from pytest_evals.collection.labels import CaseLabels, read_labels
from pytest_evals.collection.location import Location, suite_location
from pytest_evals.collection.parametrize import (
    RecordedParametrization,
    case_keys,
    count_greedy,
    item_ids,
    models_for,
    repeated,
    same_note,
)
from pytest_evals.errors import EvalsError, SuiteError, place_of
from pytest_evals.fixtures.context import CASE, EXCLUDED
from pytest_evals.fixtures.declaration import FixtureSpec as Grader
from pytest_evals.gates import Gate, resolve
from pytest_evals.questions.scales import scale_of
from pytest_evals.settings import Settings
from pytest_evals.suites.declaration import MARK, EvalDeclaration
from pytest_evals.suites.manifest import ItemKey, SuiteManifest
from pytest_evals.suites.suite import Suite, build_suite


@dataclass(frozen=True, slots=True)
class _Current:
    """The test function that is being parametrized: pytest makes its items right after."""

    suite: Suite
    info: SuiteManifest
    models: tuple[str, ...]
    asked: RequestedFixtures
    labels: CaseLabels
    ids: Mapping[CaseKey, str]
    """What pytest calls each of the items, as far as the case goes."""


class Collection:
    """Hooks of collection. ``infos`` are the suites found, by name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = Registry(settings.limit)
        self._current: _Current | None = None
        self.on_model_needed: Callable[[str], object] | None = None
        """Called with a model's name as soon as a case is found that needs it."""
        self.recast: Mapping[str, RecordedParametrization] = {}
        """Models and repeats of suites by name, where a recorded run decides."""

    @property
    def infos(self) -> dict[str, SuiteManifest]:
        """The suites found so far, by name."""
        return self._registry.infos

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize a test that has the mark: one item a case, model and repeat."""
        mark = metafunc.definition.get_closest_marker(MARK)
        if mark is None:
            return
        try:
            self._parametrize(metafunc, _declaration(mark, metafunc))
        except EvalsError as error:
            raise pytest.Collector.CollectError(str(error)) from error

    def _parametrize(self, metafunc: pytest.Metafunc, declaration: EvalDeclaration) -> None:
        suite = self._registry.suite(declaration, metafunc.definition.path.parent)
        name = declaration.name or metafunc.function.__name__
        asked = _find_asked(metafunc, f"{declaration.place}: {name}")
        gates = self._check(suite, name, asked)
        recast = self.recast.get(name)
        models = (recast.models if recast else ()) or models_for(metafunc.definition, declaration, self._settings)
        location = suite_location(declaration, metafunc.definition, self._settings.root)
        info = self._registry.info(name, suite, location)
        info.add(asked.graders, [gate.text for gate in gates])
        info.calls, info.judges = info.calls or asked.model or asked.judge, info.judges or asked.judge
        labels = self._registry.labels(suite, info, asked.graders)
        keys = case_keys(suite, models, asked, where=f"{declaration.place}: {name}")
        self._announce(keys, asked)
        ids = item_ids(keys, models, self._settings.root)
        keys, ids = repeated(keys, ids, self._counts(keys, suite, info, asked))
        if labels.values and asked.completion and any(key.model != RECORDED for key in keys):
            info.note(
                f"{name}: people labelled answers of their time, and the grades are of answers that were generated now"
            )
        self._current = _Current(suite, info, models, asked, labels, dict(zip(keys, ids, strict=True)))
        if PARAMETER not in metafunc.fixturenames:
            metafunc.fixturenames.append(PARAMETER)
        metafunc.parametrize(PARAMETER, keys, ids=ids, indirect=True)

    def _check(self, suite: Suite, name: str, asked: RequestedFixtures) -> list[Gate]:
        """Check what a test asks for against its suite; return the suite's gates and those of the session that are about it."""
        conditions = asked.conditions.items()
        asked.workflow.applies_to = {key: applies(suite, who, condition) for key, (condition, who) in conditions}
        check_graders(suite, name, asked, self._settings)
        graders = list(asked.graders)
        suite.check_gates(name, graders, suite.gates)
        check_likelihoods(suite, name, asked)
        # Gates of the session concern the suites that have what they name; one that none has is refused later.
        mine = [gate for gate in self._settings.gates if resolve(gate, name, graders) is not None]
        return [*suite.gates, *(gate for gate in mine if gate.slice is None or suite.has_slice(*gate.slice))]

    def _announce(self, keys: list[CaseKey], asked: RequestedFixtures) -> None:
        """Have the first model that is needed loaded while the rest is collected."""
        needed = next((key.model for key in keys if key.model not in (None, RECORDED)), None)
        if needed is None and asked.judge:
            needed = self._settings.judge_name
        if needed is not None and self.on_model_needed is not None:
            self.on_model_needed(needed)

    def _counts(self, keys: list[CaseKey], suite: Suite, info: SuiteManifest, asked: RequestedFixtures) -> list[int]:
        """Return how often each case runs. A completion that the row brings is there once."""
        count = self._settings.repeat or suite.declaration.repeat or 1
        if info.name in self.recast:
            count = self.recast[info.name].repeats
        if count > 1 and asked.completion:
            info.note(*same_note(info.name, count_greedy(suite, keys, self._settings.root), len(keys)))
        return [1 if key.model == RECORDED else count for key in keys]

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self) -> Any:
        """Say what is wrong with a suite, which the import of its file found, in one line, as of all others."""
        report = yield
        error = report.call.excinfo.value if report.failed else None
        if isinstance(error, EvalsError):
            report.longrepr = f"{place_of(error)}: {error}"
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_pycollect_makeitem(self, collector: pytest.Collector, name: str, obj: object) -> Any:
        """Note every item of a suite as it is made: later steps see only those that were selected."""
        self._current = None
        made = yield
        if not made:
            _check_collected(collector, name, obj)
        if self._current is not None:
            self._check_fixtures(made, self._current)
            for item in made:
                _note(item, self._current)
        return made

    def _check_fixtures(self, items: Sequence[Any], current: _Current) -> None:
        """Raise `pytest.Collector.CollectError` where a test can only fail: pytest itself says so when it runs, after all
        completions were generated.
        """
        if items:
            try:
                check_fixtures(items[0].originalname, items[0])
            except SuiteError as error:
                self._registry.withdraw(current.info)
                raise pytest.Collector.CollectError(f"{current.suite.declaration.place}: {error}") from error


def _declaration(mark: pytest.Mark, metafunc: pytest.Metafunc) -> EvalDeclaration:
    declaration = mark.args[0] if len(mark.args) == 1 else None
    if not isinstance(declaration, EvalDeclaration):
        raise SuiteError(f"{metafunc.definition.nodeid}: use @cases(...) of pytest_evals, not @pytest.mark.{MARK}")
    return declaration


def _check_collected(collector: pytest.Collector, name: str, obj: object) -> None:
    """Warn of a function with cases that pytest takes for no test."""
    if isinstance(obj, FunctionType) and any(mark.name == MARK for mark in getattr(obj, "pytestmark", ())):
        collector.warn(
            pytest.PytestCollectionWarning(
                f"{name} has @cases and is no test, since its name does not begin as those of tests do (python_functions)"
            )
        )


def _find_asked(metafunc: pytest.Metafunc, where: str) -> RequestedFixtures:
    try:
        return find_requested(metafunc.fixturenames, Lookup(metafunc.definition))
    except EvalsError as error:
        raise type(error)(f"{where}: {error}") from error


def _varied(callspec: Any, ids: Mapping[CaseKey, str]) -> CaseKey:
    """Return the key of an item, with the names of its test's other parameters."""
    key: CaseKey = callspec.params[PARAMETER]
    names = list(callspec._idlist)  # noqa: SLF001 - not public in pytest, which joins them to the name of the item
    names.remove(ids[key])
    return dataclasses.replace(key, variant="-".join(names)) if names else key


def _note(item: Any, current: _Current) -> None:
    """Make an item the case that it is."""
    key = _varied(item.callspec, current.ids)
    current.info.items[item.nodeid] = ItemKey(key.id, key.model or "", key.repeat)
    prepared, asked = current.suite.cases[key.case_id], current.asked
    item.stash[CASE] = prepared.case
    item.stash[EVAL] = EvalItem(
        key,
        prepared,
        current.info,
        current.models,
        asked.completion,
        tuple(asked.graders),
        asked.asks,
        asked.workflow,
        current.labels.values.get(key.case_id, {}),
    )
    excluded = {name for name, cases in asked.workflow.applies_to.items() if key.case_id not in cases}
    if excluded:
        item.stash[EXCLUDED] = frozenset(excluded)


# -- The suites that were found so far.


class Registry:
    """Suites by their declarations, and what is known of them by name. ``limit`` is that of ``--evals-limit``."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._suites: dict[tuple[int, Path], Suite] = {}
        self._declared_by: dict[str, EvalDeclaration] = {}
        self.infos: dict[str, SuiteManifest] = {}

    def suite(self, declaration: EvalDeclaration, base: Path) -> Suite:
        """Return the suite of a declaration for tests in the folder ``base``; it is read once."""
        key = (id(declaration), base)
        if key not in self._suites:
            self._suites[key] = build_suite(declaration, base, self._limit)
        return self._suites[key]

    def info(self, name: str, suite: Suite, location: Location) -> SuiteManifest:
        """Return what is known of a suite. Raises `SuiteError` where another one has its name."""
        declaration = suite.declaration
        other = self._declared_by.setdefault(name, declaration)
        if other is not declaration:
            raise SuiteError(
                f"two suites are named {name!r}: {other.place} and {declaration.place}; give one of them a name="
            )
        if name not in self.infos:
            self.infos[name] = SuiteManifest(
                name=name,
                path=location.path,
                line=location.line,
                dataset_key=suite.dataset.key,
                dataset_hash=suite.dataset.hash,
                n=len(suite.cases),
                total=len(suite.dataset.rows),
                graders=[],
                gates=[],
                tags=list(declaration.tags),
            )
        return self.infos[name]

    def withdraw(self, info: SuiteManifest) -> None:
        """Forget a suite that no test came of after all."""
        if not info.items:
            self.infos.pop(info.name, None)
            self._declared_by.pop(info.name, None)

    @staticmethod
    def labels(suite: Suite, info: SuiteManifest, graders: Mapping[str, Grader]) -> CaseLabels:
        """Read what people said of the cases, and note for which graders."""
        identities = {name: f"{id(grader):x}" for name, grader in graders.items()}
        labels = read_labels(suite, {name: scale_of(grader.function) for name, grader in graders.items()}, identities)
        info.identities.update(identities)
        info.labelled.update({grader: how.to_dict() for grader, how in labels.graders.items()})
        return labels
