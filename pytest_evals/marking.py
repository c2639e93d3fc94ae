"""Marks on the plugin's own fixture functions, by which collection knows them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def default_turn(function: F) -> F:
    """Mark the function of the plugin's own ``completion`` fixture: a test that overrides it needs no generation."""
    function.__evals_default_turn__ = True  # type: ignore[attr-defined]  # a function has this attribute once it is set
    return function


def is_default_turn(function: object) -> bool:
    """Tell whether the fixture function is the plugin's own ``completion``."""
    return getattr(function, "__evals_default_turn__", False)


def model_handle(function: F) -> F:
    """Mark the function of the plugin's own ``model`` fixture: a test that asks for it runs once per model."""
    function.__evals_model_handle__ = True  # type: ignore[attr-defined]  # as above
    return function


def is_model_handle(function: object) -> bool:
    """Tell whether the fixture function is the plugin's own ``model``."""
    return getattr(function, "__evals_model_handle__", False)


def judge_handle(function: F) -> F:
    """Mark the function of the plugin's own ``judge`` fixture."""
    function.__evals_judge_handle__ = True  # type: ignore[attr-defined]  # as above
    return function


def is_judge_handle(function: object) -> bool:
    """Tell whether the fixture function is the plugin's own ``judge``."""
    return getattr(function, "__evals_judge_handle__", False)


def part_of_case(function: F) -> F:
    """Mark the functions of the plugin's own ``case`` and ``record``: steps have them too."""
    function.__evals_part_of_case__ = True  # type: ignore[attr-defined]  # as above
    return function


def is_part_of_case(function: object) -> bool:
    """Tell whether the fixture function is the plugin's own ``case`` or ``record``."""
    return getattr(function, "__evals_part_of_case__", False)
