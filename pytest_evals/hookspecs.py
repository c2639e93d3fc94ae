"""Hooks for a conftest or plugin. They are called only under ``--evals``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_evals.artifacts.schema import EvalSample
    from pytest_evals.scorecard import ScoreCard


@pytest.hookspec(firstresult=True)
def pytest_evals_models(config: pytest.Config) -> Sequence[str] | None:
    """Return the models to evaluate for the suites below this conftest's folder; `None` leaves it to others.

    ``--evals-model`` and ``cases(model=...)`` override it; it overrides ``evals_models`` in the configuration file::

        def pytest_evals_models(config):
            return ["hf:org/name?dtype=bf16"]
    """


@pytest.hookspec
def pytest_evals_sample(config: pytest.Config, sample: EvalSample) -> None:
    """Receive a finished case, once it is in the artifact. A case that is rerun comes again.

    Called in the controlling process, also with pytest-xdist, in the order in which cases finish. An exception is shown in the score card and
    fails the run; results are kept::

        def pytest_evals_sample(config, sample):
            print(sample.suite, sample.case_id, [grade.value for grade in sample.grades])
    """


@pytest.hookspec
def pytest_evals_scorecard(config: pytest.Config, card: ScoreCard) -> None:
    """Receive the score card, once gates are judged and the artifact is complete, before it is printed.

    ``card.scores``, ``card.gates`` and ``card.ledger`` are what it shows; ``card.artifact`` is the path of the artifact. Not called if no case
    finished. An exception is shown in the score card and fails the run::

        def pytest_evals_scorecard(config, card):
            post("https://dashboard.example/runs", [score.to_row() for score in card.scores])
    """
