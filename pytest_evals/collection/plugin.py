"""Collects suites: hooks that make one test item for each case, model and repeat."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import pytest

from pytest_evals.collection.checks import (
    applies,
    check_fixtures,
    check_graders,
    check_likelihoods,
    check_sync,
    check_test_case,
    check_uses,
    get_marks,
)
from pytest_evals.collection.closure import Lookup, RequestedFixtures, find_requested
from pytest_evals.collection.item import EVAL, PARAMETER, RECORDED, CaseKey, EvalItem
from pytest_evals.collection.labels import CaseLabels
from pytest_evals.collection.location import suite_location
from pytest_evals.collection.mistakes import (
    defined_twice,
    explain_import,
    fields_as_text,
    nearest_cases,
    not_asked_for,
)
from pytest_evals.collection.parametrize import (
    RecordedParametrization,
    asked_by,
    case_keys,
    check_abilities,
    check_recorded,
    count_greedy,
    item_ids,
    models_for,
    repeated,
    same_note,
)
from pytest_evals.collection.registry import Registry
from pytest_evals.collection.selection import chosen, note_selection, without_copies
from pytest_evals.errors import EvalsError, SuiteError, place_of
from pytest_evals.fixtures.context import CASE, EXCLUDED
from pytest_evals.gates import Gate, resolve
from pytest_evals.settings import Settings
from pytest_evals.suites.declaration import MARK, EvalDeclaration
from pytest_evals.suites.manifest import ItemKey, SuiteManifest
from pytest_evals.suites.suite import Suite
from pytest_evals.text import sanitize


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
        self._registry = Registry(settings.limit, settings.root, settings.fetch)
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
        name = self._name(declaration, metafunc)
        where = f"{declaration.place}: {name}"
        asked = _find_asked(metafunc, where)
        again = defined_twice(metafunc.module)
        if again:
            raise SuiteError(again)
        check_uses(where, metafunc.function, asked)
        gates = self._check(suite, name, asked, not_asked_for(Lookup(metafunc.definition)))
        recast = self.recast.get(name)
        models = (recast.models if recast else ()) or models_for(metafunc.definition, declaration, self._settings)
        location = suite_location(declaration, metafunc.definition, self._settings.root)
        info = self._registry.info(
            declaration.name or metafunc.function.__name__, name, suite, metafunc.definition.path.parent, location
        )
        info.add(asked.graders, [gate.text for gate in gates])
        info.calls, info.judges = info.calls or asked.model or asked.judge, info.judges or asked.judge
        for grader, spec in asked.graders.items():
            if spec.ready_made:
                info.note(*(f"{name}: {warning}" for warning in fields_as_text(suite, grader, spec.settings)))
        labels = self._registry.labels(suite, info, asked.graders)
        keys = case_keys(suite, models, asked, where)
        if any(key.model == RECORDED for key in keys):
            info.recorded_beside = asked_by(suite, self._settings, models)
            if self._settings.refuse_recorded:
                check_recorded(suite, keys, info.recorded_beside, where)
        check_abilities(suite, keys, asked, self._settings, where)
        self._announce(keys, asked)
        ids = item_ids(keys, models)
        keys, ids = repeated(keys, ids, self._counts(keys, suite, info, asked))
        if labels.values and asked.completion and any(key.model != RECORDED for key in keys):
            info.note(
                f"{name}: people labelled answers of their time, and the grades are of answers that were generated now"
            )
        self._current = _Current(suite, info, models, asked, labels, dict(zip(keys, ids, strict=True)))
        if PARAMETER not in metafunc.fixturenames:
            metafunc.fixturenames.append(PARAMETER)
        metafunc.parametrize(PARAMETER, keys, ids=ids, indirect=True)

    def _name(self, declaration: EvalDeclaration, metafunc: pytest.Metafunc) -> str:
        """Return the name of a suite: with its folder where another one has it, or where a gate or a replayed run says so."""
        plain = declaration.name or metafunc.function.__name__
        name = self._registry.name_by_folder(plain, metafunc.definition.path.parent)
        gates = [*map(str, declaration.gates), *(gate.text for gate in self._settings.gates)]
        by_folder = name in self.recast or any(gate.startswith(f"{name}.") for gate in gates)
        return (
            name if by_folder or self._registry.is_taken(plain, declaration, metafunc.definition.path.parent) else plain
        )

    def _check(self, suite: Suite, name: str, asked: RequestedFixtures, why_not: Callable[[str], str]) -> list[Gate]:
        """Check what a test asks for against its suite; return the suite's gates and those of the session that are about it.
        ``why_not`` says why a name is not a grader of the test.
        """
        conditions = asked.conditions.items()
        asked.workflow.applies_to = {key: applies(suite, who, condition) for key, (condition, who) in conditions}
        check_graders(suite, name, asked, self._settings)
        graders = list(asked.graders)
        suite.check_gates(name, graders, suite.gates, why_not)
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
        meant = explain_import(error) if error is not None else ""
        if error is not None and meant:
            error = SuiteError(meant).with_traceback((error.__cause__ or error).__traceback__)
        if isinstance(error, EvalsError):
            report.longrepr = sanitize(f"{place_of(error)}: {error}")
            # VS Code shows the exception, and not the report.
            placed = type(error)(report.longrepr).with_traceback(error.__traceback__)
            report.call.excinfo = pytest.ExceptionInfo.from_exception(placed)
        elif isinstance(error, pytest.Collector.CollectError) and hasattr(report.longrepr, "longrepr"):
            # It may quote a row.
            report.longrepr.longrepr = sanitize(str(report.longrepr.longrepr))
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self, session: pytest.Session) -> Any:
        """Name the nearest case where one that the command line names does not exist."""
        try:
            return (yield)
        except pytest.UsageError as error:
            known = [nodeid for info in self.infos.values() for nodeid in info.items]
            raise pytest.UsageError(nearest_cases(str(error), session.config.args, known)) from error

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_pycollect_makeitem(self, collector: pytest.Collector, name: str, obj: object) -> Any:
        """Note every item of a suite as it is made: later steps see only those that were selected."""
        self._current = None
        try:
            check_test_case(collector, obj)
        except SuiteError as error:
            raise pytest.Collector.CollectError(str(error)) from error
        made = yield
        if not made:
            _check_collected(collector, name, obj)
        if self._current is not None:
            self._check_fixtures(made, self._current)
            for item in made:
                _note(item, self._current)
            if made and not self._current.asked.workflow.steps:
                _set_up_directly(made)
        return made

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out further copies of a case, and those that ``--evals-where`` does not choose."""
        items[:], copies = without_copies(items)
        if self._settings.where is not None:
            items[:], others = chosen(items, self._settings.where)
            copies += others
        if copies:
            config.hook.pytest_deselected(items=copies)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """See `note_selection`."""
        note_selection(self.infos.values(), session.items)

    def _check_fixtures(self, items: Sequence[Any], current: _Current) -> None:
        """Raise `pytest.Collector.CollectError` where a test can only fail: pytest itself says so when it runs, after all
        completions were generated.
        """
        if items:
            try:
                check_fixtures(items[0].originalname, items[0])
                check_sync(items[0])
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
    if isinstance(obj, FunctionType) and get_marks(obj):
        collector.warn(
            pytest.PytestCollectionWarning(
                f"{name} has @cases but is not a test, since its name does not begin as those of tests do (python_functions)"
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


def _set_up_directly(items: Sequence[Any]) -> None:
    """See `pytest_evals.fixtures.direct_setup`."""
    from pytest_evals.fixtures.direct_setup import direct_steps, set_up

    steps = direct_steps(items[0], PARAMETER)
    if steps is not None:
        for item in items:
            item.setup = functools.partial(set_up, item, steps)


def _note(item: Any, current: _Current) -> None:
    """Make an item the case that it is."""
    key, nodeid = _varied(item.callspec, current.ids), item.nodeid
    current.info.items[nodeid] = ItemKey(key.id, key.model or "", key.repeat)
    prepared, asked = current.suite.cases[key.case_id], current.asked
    item.stash[CASE] = prepared.case
    if prepared.skip is not None:
        item.add_marker(pytest.mark.skip(reason=prepared.skip))
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
        nodeid,
    )
    if asked.workflow.applies_to:
        excluded = {name for name, cases in asked.workflow.applies_to.items() if key.case_id not in cases}
        if excluded:
            item.stash[EXCLUDED] = frozenset(excluded)
