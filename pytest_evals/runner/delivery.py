"""What the plugin's own fixtures give to the case that runs."""

from __future__ import annotations

import pytest

from pytest_evals.collection.item import EVAL, EvalItem
from pytest_evals.completion import Completion, Failure, Likelihood
from pytest_evals.engines.protocol import Result
from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.context import GRADE_SHEET, ITEM, GradeSheet
from pytest_evals.fixtures.factory import only_setup
from pytest_evals.runner.completions import generated_completion, recorded_completion
from pytest_evals.runner.model import Model
from pytest_evals.runner.outcome import CALLS, COMPLETION, RESULTS, STATE
from pytest_evals.runner.prefetch import SUPPLY
from pytest_evals.runner.requests import choice_id, make_request, requests_for
from pytest_evals.runner.sample import failure_data
from pytest_evals.text import one_line, sanitize


def eval_item(fixture: str) -> tuple[pytest.Item, EvalItem]:
    """Return the case that runs, for ``fixture``. Raises `SuiteError` when the test that asks is not an eval."""
    __tracebackhide__ = True
    item = ITEM.get()
    found = item.stash.get(EVAL, None) if item else None
    if item is None or found is None:
        where = item.nodeid if item else "the test"
        raise SuiteError(f"the fixture {fixture!r} is for evals: put @cases(...) on {where}, and run it with --evals")
    return item, found


def sheet_of(item: pytest.Item) -> GradeSheet:
    """Return the sheet of a case that runs."""
    return item.stash[GRADE_SHEET]


def deliver() -> Completion:
    """Return the completion of the case that runs, or fail its setup with the reason why there is none."""
    __tracebackhide__ = True
    item, found = eval_item("completion")
    completion = item.stash[COMPLETION] = _completion(item, found)
    return completion


def _completion(item: pytest.Item, found: EvalItem) -> Completion:
    if found.prepared.recorded is not None:
        return recorded_completion(found)
    _skip_where_only_set_up(item)
    results, nodeid = item.stash.setdefault(RESULTS, {}), item.nodeid
    if nodeid not in results:
        # Nothing announced that this test would ask (getfixturevalue): its turn is generated now, alone.
        if found.prepared.problem:
            raise SuiteError(f"{found.info.name}: {found.prepared.case.place} {found.prepared.problem}")
        supply = item.config.stash[SUPPLY]
        model = found.key.model or found.models[0]
        results[nodeid] = supply.wait(make_request(nodeid, found, model, supply.context.base_seed))
    return generated_completion(_answered(item, results[nodeid], "completion"), found)


def handle(name: str) -> Model:
    """Return the handle ``model`` or ``judge`` for the case that runs."""
    __tracebackhide__ = True
    item, _ = eval_item(name)
    _skip_where_only_set_up(item)
    handles, caller = item.config.stash[SUPPLY].context.handles, item.stash[CALLS][1]
    return handles.judge(caller) if name == "judge" else handles.model(caller)


def likelihoods_for(item: pytest.Item, grader: str) -> tuple[Likelihood, ...]:
    """Return the likelihoods that a grader of the case asked for, or fail its setup with why there are none."""
    _skip_where_only_set_up(item)
    results = item.stash.setdefault(RESULTS, {})
    key = choice_id(item.nodeid, grader)
    if key not in results:
        # As above: the test asked with getfixturevalue.
        supply = item.config.stash[SUPPLY]
        asked = {request.id: request for request in requests_for(item, supply.context.base_seed)}
        if key not in asked:
            raise SuiteError(f"the grader {grader!r} asks a model: name it among the arguments of the test")
        results[key] = supply.wait(asked[key])
    return _answered(item, results[key], "likelihoods").answer.likelihoods or ()


def _skip_where_only_set_up(item: pytest.Item) -> None:
    if only_setup(item.config):
        pytest.skip("--setup-only and --setup-plan ask no model")


_MOST = 8000
_TOLD: pytest.StashKey[set[str]] = pytest.StashKey()
"""The errors of models that cannot be loaded which were shown whole."""


def _answered(item: pytest.Item, result: Result, what: str) -> Result:
    """Return the result, or fail the case with the error that took its place.

    Of a model that cannot be loaded the first case shows the error. The others are skipped, and count as errors.
    """
    if result.error is None:
        return result
    told = item.config.stash.setdefault(_TOLD, set())
    message = result.error.message
    if result.error.unloadable and message in told:
        first = message.splitlines()[0]
        item.stash[STATE].error = failure_data(Failure(result.error.kind, first))
        raise pytest.skip.Exception(one_line(f"an error, shown above: {first}", 400), _use_item_location=True)
    told.add(message)
    item.stash[STATE].error = failure_data(result.error)
    pytest.fail(sanitize(f"no {what} ({result.error.kind} error): {message}", _MOST), pytrace=False)
    return result
