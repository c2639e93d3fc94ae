"""Hooks that a conftest or plugin may implement. Each is called only under ``--evals``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_evals.artifacts.schema import EvalSample
    from pytest_evals.scorecard import ScoreCard


@pytest.hookspec(firstresult=True)
def pytest_evals_models(config: pytest.Config) -> Sequence[str] | None:
    """Return the models to evaluate for the suites below this conftest's folder, or `None` to leave it to others.

    ``--evals-model`` and ``cases(model=...)`` win over it; it wins over ``evals_models`` in the configuration file::

        def pytest_evals_models(config):
            return ["hf:org/name?dtype=bf16"]
    """


@pytest.hookspec
def pytest_evals_sample(config: pytest.Config, sample: EvalSample) -> None:
    """Take a finished case, after the artifact has it: to send it elsewhere, say. A rerun of a case comes again.

    Called in the process that owns the session, in the order in which cases finish, also with pytest-xdist. What an
    implementation raises is said in the score card and fails the run; results are kept::

        def pytest_evals_sample(config, sample):
            print(sample.suite, sample.case_id, [grade.value for grade in sample.grades])
    """


@pytest.hookspec
def pytest_evals_scorecard(config: pytest.Config, card: ScoreCard) -> None:
    """Take the score card of the run, once gates are judged and the artifact is complete, before it is printed.

    ``card.scores``, ``card.gates`` and ``card.ledger`` are what the score card shows; ``card.artifact`` is the path of the artifact.
    Not called where no case finished. What an implementation raises is said in the score card and fails the run::

        def pytest_evals_scorecard(config, card):
            post("https://dashboard.example/runs", [score.to_row() for score in card.scores])
    """
