"""A test item that is a case: which one, and its part in its suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from pytest_evals.steps.step import Asks
from pytest_evals.steps.workflow import Workflow
from pytest_evals.suites.info import SuiteInfo
from pytest_evals.suites.suite import Prepared

PARAMETER = "_evals_case"
"""The name of the parameter that tells the items of a test function apart."""
RECORDED = "recorded"
"""The model's name where completions came from the dataset."""


@dataclass(frozen=True, slots=True)
class CaseKey:
    """What tells the items of one test function apart. ``model`` is `None` where no model is asked."""

    case_id: str
    model: str | None
    repeat: int = 1


@dataclass(slots=True)
class EvalItem:
    """An item's part in its suite."""

    key: CaseKey
    prepared: Prepared
    info: SuiteInfo
    models: tuple[str, ...]
    needs_completion: bool
    graders: tuple[str, ...]
    asks: Mapping[str, Asks]
    """Graders that need likelihoods, with what tells the texts."""
    workflow: Workflow = field(default_factory=Workflow)
    """Tasks and graders that run ahead of the tests."""
    label: Mapping[str, float] = field(default_factory=dict)
    """By grader, what people's label is worth."""


# What the plugin knows of an item that is a case.
EVAL: pytest.StashKey[EvalItem] = pytest.StashKey()
