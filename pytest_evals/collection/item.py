"""A test item that is a case: which one, and its part in its suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from pytest_evals.fixtures.declaration import Asks
from pytest_evals.fixtures.dependencies import TaskGraph
from pytest_evals.suites.manifest import SuiteManifest
from pytest_evals.suites.suite import Prepared

PARAMETER = "_evals_case"
"""The name of the parameter that tells the items of a test function apart."""
RECORDED = "recorded"
"""The model's name where completions came from the dataset."""


@dataclass(frozen=True, slots=True)
class CaseKey:
    """What tells the items of one test function apart. ``case_id`` is the row's; ``model`` is `None` where no model is
    asked; ``variant`` is pytest's name of what the test's other parameters are, ``""`` where it has none.
    """

    case_id: str
    model: str | None
    repeat: int = 1
    variant: str = ""

    def __repr__(self) -> str:
        # Plugins show parameters to people, as Allure does.
        repeat = f" (repeat {self.repeat})" if self.repeat > 1 else ""
        return f"{self.id}{repeat}"

    @property
    def id(self) -> str:
        """The case's id: the same row with other parameters is another case, with another repeat it is not."""
        return f"{self.case_id}-{self.variant}" if self.variant else self.case_id


@dataclass(slots=True)
class EvalItem:
    """An item's part in its suite."""

    key: CaseKey
    prepared: Prepared
    info: SuiteManifest
    models: tuple[str, ...]
    needs_completion: bool
    graders: tuple[str, ...]
    asks: Mapping[str, Asks]
    """Graders that need likelihoods, with what tells the texts."""
    workflow: TaskGraph = field(default_factory=TaskGraph)
    """Tasks and graders that run ahead of the tests."""
    label: Mapping[str, float] = field(default_factory=dict)
    """By grader, what people's label is worth."""
    nodeid: str = ""
    """The id under which its suite has it."""

    @property
    def cluster(self) -> str | None:
        """What the case shares with those that belong together with it: the suite says so, else variants share their row."""
        if self.prepared.cluster is None and self.key.variant:
            return self.key.case_id
        return self.prepared.cluster


# What the plugin knows of an item that is a case.
EVAL: pytest.StashKey[EvalItem] = pytest.StashKey()
