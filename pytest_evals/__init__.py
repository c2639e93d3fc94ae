"""Evaluate language models as pytest tests.

dataset -> case (collected item) -> request -> engine batches -> completion -> grader fixtures -> grades (on the report)
-> score card -> gates -> terminal / artifact / JUnit / exit status

Public names are imported when they are used: importing this package costs nothing, since pytest imports it in every
run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_evals import graders
    from pytest_evals.agreement.calibrate import calibrate
    from pytest_evals.agreement.calibration import Calibration
    from pytest_evals.artifacts.artifact import EvaluationArtifact
    from pytest_evals.artifacts.schema import EvalSample, EvalSampleInteraction
    from pytest_evals.case import Case
    from pytest_evals.completion import Completion, Likelihood, ToolCall
    from pytest_evals.fixtures.grader import grader
    from pytest_evals.fixtures.task import task
    from pytest_evals.grades import Grade
    from pytest_evals.runner.model import Choice, Model
    from pytest_evals.runner.tool_loop import tool_loop
    from pytest_evals.suites.declaration import cases

__all__ = [
    "Calibration",
    "Case",
    "Choice",
    "Completion",
    "EvalSample",
    "EvalSampleInteraction",
    "EvaluationArtifact",
    "Grade",
    "Likelihood",
    "Model",
    "ToolCall",
    "calibrate",
    "cases",
    "grader",
    "graders",
    "task",
    "tool_loop",
]

_HOMES = {
    "Calibration": "agreement.calibration",
    "Case": "case",
    "Choice": "runner.model",
    "Completion": "completion",
    "EvalSample": "artifacts.schema",
    "EvalSampleInteraction": "artifacts.schema",
    "EvaluationArtifact": "artifacts.artifact",
    "Grade": "grades",
    "Likelihood": "completion",
    "Model": "runner.model",
    "ToolCall": "completion",
    "calibrate": "agreement.calibrate",
    "cases": "suites.declaration",
    "grader": "fixtures.grader",
    "task": "fixtures.task",
    "tool_loop": "runner.tool_loop",
}


if not TYPE_CHECKING:  # a checker of types would take any name for one that is there

    def __getattr__(name: str) -> Any:
        if name == "graders":
            return importlib.import_module("pytest_evals.graders")
        if name in _HOMES:
            value = getattr(importlib.import_module(f"pytest_evals.{_HOMES[name]}"), name)
            globals()[name] = value
            return value
        raise AttributeError(f"module 'pytest_evals' has no attribute {name!r}")
