"""What the flows of all cases of a process work with."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_evals.model import Handles
from pytest_evals.steps.budget import Limits
from pytest_evals.steps.threads import StepThreads


@dataclass(frozen=True, slots=True)
class Kit:
    """See the module. ``grader_seconds``: what a grader may take for itself; the limits have that of a task."""

    handles: Handles
    base_seed: int
    limits: Limits
    grader_seconds: float
    threads: StepThreads = field(default_factory=StepThreads)
