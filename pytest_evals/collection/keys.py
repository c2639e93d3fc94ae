"""The items of a test: one for each case and model, with ids that stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_evals.collection.asked import Asked
from pytest_evals.collection.models import short_names
from pytest_evals.errors import SuiteError
from pytest_evals.item import RECORDED, CaseKey
from pytest_evals.suites.suite import Prepared, Suite


def case_keys(suite: Suite, models: Sequence[str], asked: Asked, where: str) -> list[CaseKey]:
    """Return what tells the items apart, model by model, so that one model's cases stand together.

    Raises `SuiteError` for a case that brings a completion where a model is asked too, and for one without a prompt where
    there must be one.
    """
    keys: list[CaseKey] = []
    open_cases: list[Prepared] = []
    for prepared in suite.cases.values():
        if not (asked.completion or asked.asks or asked.model):
            keys.append(CaseKey(prepared.case.id, None))
        elif asked.completion and prepared.recorded is not None:
            if asked.asks or asked.model:
                raise SuiteError(
                    f"{where}: {prepared.case.place} brings a completion, and the test or a grader of it asks a model: "
                    "which one wrote the completion is not known; grade recorded completions in a test of their own"
                )
            keys.append(CaseKey(prepared.case.id, RECORDED))
        elif prepared.problem and (asked.completion or asked.asks):
            raise SuiteError(f"{where}: {prepared.case.place} {prepared.problem}")
        else:
            open_cases.append(prepared)
    return [*keys, *(CaseKey(prepared.case.id, model) for model in models for prepared in open_cases)]


def item_ids(keys: Sequence[CaseKey], models: Sequence[str], root: Path) -> list[str]:
    """Return the ids of items: those of their cases, with the model's short name where there are several."""
    shorts = short_names(models, root) if len(models) > 1 else {}
    return [f"{key.case_id}-{shorts[key.model]}" if key.model in shorts else key.case_id for key in keys]
