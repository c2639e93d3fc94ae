"""A step: one function whose result the plugin computes for each case, ahead of the test that asks for it.

Tasks and async graders are steps, and sync graders that other steps build on. What is here declares
them and stands for their results; `fixture` makes pytest fixtures of them, `case_flow` runs them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest

from pytest_evals.errors import NotApplicable

Kind = Literal["task", "grader"]
Check = Callable[[Mapping[str, Any]], object]
"""Raises `SuiteError` for settings of a grader, as they are for a case, that it cannot use."""
Asks = Callable[[Mapping[str, Any]], tuple[str, ...]]
"""From the scope of a case to the texts whose likelihood a grader needs."""


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """What the author wrote. ``run_if`` is an expression over the case; ``parameters`` are the names that the function asks
    for. Of graders only, see `pytest_evals.grading.fixture.grader_fixture`: ``settings`` to ``models``. ``waits``: a sync one may take its
    time, so that it needs a thread where others would have to wait for it; ``seconds`` is how long it may need.
    """

    kind: Kind
    function: Callable[..., Any]
    run_if: str | None = None
    threshold: float | None = None
    bounds: tuple[float, float] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    ready_made: bool = False
    check: Check | None = None
    asks: Asks | None = None
    runs_code: bool = False
    models: tuple[str, ...] = ()
    waits: bool = True
    seconds: float = 0.0

    @property
    def parameters(self) -> list[str]:
        """The fixtures that the function asks for: parameters without a default, as pytest sees it."""
        return [
            name
            for name, parameter in inspect.signature(self.function).parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ]

    @property
    def is_async(self) -> bool:
        """Tell whether the function is a coroutine function."""
        return inspect.iscoroutinefunction(self.function)

    @property
    def runs_ahead(self) -> bool:
        """Tell whether it runs ahead of the tests whoever asks for it."""
        return self.kind == "task" or self.is_async

    def called(self, name: str) -> str:
        """Return how an error calls it: what it is, its name, and where it stands unless that is this package."""
        return f"{self.kind} {name!r}" if self.ready_made else f"{self.kind} {name!r} ({self.place})"

    @property
    def place(self) -> str:
        """``file:line`` of the function."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        return f"{Path(code.co_filename).name}:{code.co_firstlineno}" if code else "?"


@dataclass(frozen=True, slots=True)
class Absent:
    """Stands for the result of a task that does not apply to the case; ``reason`` says which and why. Whoever looks into it
    does not apply either.
    """

    reason: str

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotApplicable(self.reason)

    def _refuse(self, *_: Any) -> Any:
        raise NotApplicable(self.reason)

    __bool__ = __len__ = __iter__ = __getitem__ = __str__ = __contains__ = __call__ = _refuse


class Flow(Protocol):
    """What is left of a case's steps, for the fixtures of the case."""

    def knows(self, name: str, declaration: Declaration) -> bool:
        """Tell whether this is a step of the case."""
        ...

    def hand_over(self, name: str, declaration: Declaration, given: Mapping[str, Any]) -> Any:
        """Return the result of a step, or raise what it raised. ``given`` are the fixtures that it asked for."""
        ...

    def aliases_of(self, grader: str) -> Sequence[str]:
        """Return the tasks that the templates of a grader name."""
        ...

    def scope_of(self, grader: str) -> Mapping[str, Any] | None:
        """Return what they may name, `None` when that is the case alone."""
        ...


# What computes the steps of a case. Only cases with steps have it.
FLOW: pytest.StashKey[Flow] = pytest.StashKey()


def declaration_of(function: object) -> Declaration | None:
    """Return what stands behind the function of a fixture, `None` when it is neither task nor grader."""
    declaration: Declaration | None = getattr(function, "__evals_step__", None)
    return declaration


def grader_of(function: object) -> Declaration | None:
    """Return what stands behind the function of a grader's fixture, `None` when it is none."""
    declaration = declaration_of(function)
    return declaration if declaration is not None and declaration.kind == "grader" else None
