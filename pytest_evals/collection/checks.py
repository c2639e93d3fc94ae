"""Checks the graders of a test against its suite and every case of it, before any model loads."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, get_args

import pytest

from pytest_evals.collection.closure import Lookup, RequestedFixtures
from pytest_evals.collection.mistakes import no_fixture
from pytest_evals.collection.parametrize import check_models
from pytest_evals.errors import SuiteError, TemplateError, did_you_mean
from pytest_evals.fixtures.declaration import declaration_of
from pytest_evals.fixtures.provided import Provided, fixture_meant
from pytest_evals.fixtures.unrequested import unrequested
from pytest_evals.settings import Settings
from pytest_evals.suites.declaration import MARK, EvalDeclaration
from pytest_evals.suites.suite import Suite
from pytest_evals.templates.expressions import holds
from pytest_evals.templates.rendering import names_in, render_apart_from

PROVIDED = get_args(Provided)
RUN_CODE_REFUSAL = (
    "runs programs that a model wrote; allow that with --evals-run-code, or 'evals_run_code = true' in the "
    "configuration file"
)


def check_graders(suite: Suite, name: str, asked: RequestedFixtures, settings: Settings) -> None:
    """Raise an `EvalsError` for a grader that the run does not allow, or that cannot grade some case of the suite."""
    place, workflow = suite.declaration.place, asked.workflow
    for grader, declaration in asked.graders.items():
        if grader in PROVIDED:
            raise SuiteError(
                f"{place}: {name}: a grader cannot be named {grader!r}, which is what the plugin itself provides; give it another name"
            )
        if declaration.runs_code and not settings.run_code:
            raise SuiteError(f"{place}: {name}: grader {grader!r} {RUN_CODE_REFUSAL}")
        if 0 < settings.grader_timeout <= declaration.seconds:
            raise SuiteError(
                f"{place}: {name}: grader {grader!r} may take {declaration.seconds:g} s, and evals_grader_timeout "
                f"({settings.grader_timeout:g} s) would end it first; make its timeout= shorter, or that longer"
            )
        later = (*workflow.aliases.get(grader, ()), *declaration.names)
        among = workflow.applies_to.get(grader)
        check_settings(suite, grader, declaration.settings, declaration.check, later, among)
        check_models(
            declaration.models,
            settings,
            f"{place}: grader {grader}",
            declaration.check_model,
            encodes=declaration.encodes,
        )
        if declaration.preflight is not None:
            declaration.preflight.rows()


def check_uses(where: str, test: Callable[..., Any], asked: RequestedFixtures) -> None:
    """Raise `SuiteError` for a test, grader or task that uses a grader or task of its module without asking for it."""
    steps = [*asked.graders.values(), *(node.declaration for node in asked.workflow.steps.values())]
    for function in (test, *(step.function for step in steps if not step.ready_made)):
        problem = unrequested(function)
        if problem:
            raise SuiteError(f"{where.partition(': ')[0]}: {problem}")


def check_test_case(collector: pytest.Collector, obj: object) -> None:
    """Raise `SuiteError` for ``@cases`` on a `unittest.TestCase`, or on one of its methods: unittest runs each of its tests once."""
    unittest = sys.modules.get("unittest")
    if unittest is None or not (isinstance(obj, type) and issubclass(obj, unittest.TestCase)):
        return
    tests = unittest.TestLoader().getTestCaseNames(obj)
    declared = [mark for name in tests for mark in get_marks(getattr(obj, name))]
    around = collector.get_closest_marker(MARK) if tests else None
    marks = [*(mark for mark in get_marks(obj) if tests), *declared, *([around] if around else [])]
    if marks:
        declaration = marks[0].args[0] if marks[0].args else None
        place = f"{declaration.place}: " if isinstance(declaration, EvalDeclaration) else ""
        raise SuiteError(
            f"{place}{obj.__name__} is a unittest.TestCase, whose tests take neither fixtures nor parameters, so that @cases cannot "
            "make cases of them; write a plain class, or a function"
        )


def get_marks(obj: object) -> list[pytest.Mark]:
    """Return the marks of ``@cases`` on a function or class, inherited ones too."""
    marks = getattr(obj, "pytestmark", ())
    return [mark for mark in (marks if isinstance(marks, (list, tuple)) else [marks]) if mark.name == MARK]


def check_likelihoods(suite: Suite, name: str, asked: RequestedFixtures) -> None:
    """Raise an `EvalsError` for a grader whose texts cannot be weighed for some case."""
    for grader, asks in asked.asks.items():
        if grader in asked.workflow.aliases:
            raise SuiteError(
                f"{suite.declaration.place}: {name}: grader {grader}: the texts that it weighs come from the case; for the "
                "results of tasks write an async grader that awaits model.choose(...) or model.score(...)"
            )
        check_asks(suite, grader, asks)


def check_fixtures(name: str, item: Any) -> None:
    """Raise `SuiteError` when a test, or a fixture that it asks for, asks for one that is not defined."""
    info = item._fixtureinfo  # noqa: SLF001 - not public in pytest, which sets up the test by it
    known: Mapping[str, Sequence[Any]] = info.name2fixturedefs
    for missing in item.fixturenames:
        if missing in known or missing == "request" or missing in item.callspec.params:
            continue
        who = f"the test {name!r}"
        for asking, definitions in known.items():
            if any(missing in definition.argnames for definition in definitions):
                declaration = declaration_of(definitions[-1].func)
                who = declaration.called(asking) if declaration else f"the fixture {asking!r}"
        hint = no_fixture(missing, vars(item.module)) or fixture_meant(missing)
        hint = hint or did_you_mean(missing, Lookup(item).names())
        raise SuiteError(f"{who} asks for {missing!r}, and there is no task, grader or fixture of that name{hint}")


ASYNC_TEST = (
    "the test is async, and no plugin that runs such tests is in charge of it; write a plain def: what it asks for was awaited before "
    "(or install and set up pytest-asyncio)"
)
_RUNS_NO_COROUTINES = ("python", "evals-run", "pdbinvoke", "pdbtrace")


def check_sync(item: Any) -> None:
    """Raise `SuiteError` for a test that is a coroutine and that no plugin can be in charge of: pytest says so when it runs, after all
    completions were generated.
    """
    if type(item) is not pytest.Function or not inspect.iscoroutinefunction(item.obj):
        return
    others = {impl.plugin_name for impl in item.ihook.pytest_pyfunc_call.get_hookimpls()} - {*_RUNS_NO_COROUTINES}
    if "anyio_backend" not in item.fixturenames:
        others.discard("anyio")
    if not others:
        raise SuiteError(f"{item.originalname}: {ASYNC_TEST}")


def check_settings(
    suite: Suite,
    grader: str,
    settings: object,
    check: Callable[[Mapping[str, Any]], object] | None = None,
    later: Collection[str] = (),
    among: Collection[str] | None = None,
) -> None:
    """Raise `TemplateError` when a template in a grader's settings names a field that some case of the suite lacks, and what
    ``check`` raises of the settings as they are for a case. ``later``: names that have values only when the grader runs.
    ``among``: the ids of the cases to which the grader applies, if not to all.
    """
    later = names_in(settings) & set(later)
    for prepared in suite.cases.values():
        if prepared.skip is not None or (among is not None and prepared.case.id not in among):
            continue
        try:
            rendered = render_apart_from(settings, prepared.case.scope, later)
            if check is not None and not later:
                check(rendered)
        except (SuiteError, TemplateError) as error:
            raise type(error)(f"{suite.declaration.place}: {prepared.case.place}: grader {grader}: {error}") from error


def applies(suite: Suite, where: str, condition: str) -> frozenset[str]:
    """Return the ids of the cases for which a ``run_if`` holds. Raises `TemplateError` when it cannot be told for some."""
    found = set()
    for prepared in suite.cases.values():
        if prepared.skip is not None:
            continue
        try:
            if holds(condition, prepared.case.scope):
                found.add(prepared.case.id)
        except TemplateError as error:
            raise TemplateError(f"{suite.declaration.place}: {prepared.case.place}: {where}: {error}") from error
    return frozenset(found)


def check_asks(suite: Suite, grader: str, asks: Callable[[Mapping[str, Any]], object]) -> None:
    """Raise `SuiteError` when the texts whose likelihood a grader asks for make no sense for some case."""
    for prepared in suite.cases.values():
        if prepared.skip is not None:
            continue
        try:
            asks(prepared.case.scope)
        except SuiteError as error:
            raise SuiteError(f"{suite.declaration.place}: {prepared.case.place}: grader {grader}: {error}") from error
