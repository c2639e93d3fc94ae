"""Helpers for testing your own suites and graders, without a model.

The engine for that is ``scripted:module:function``: a function ``(messages: list[dict]) -> str`` in the place of the
model. What is here grades texts directly, as the plugin would.
"""

from __future__ import annotations

from typing import Any

from pytest_evals.completion import Completion, Message
from pytest_evals.fixtures.conversion import to_grades
from pytest_evals.grades import Grade

__all__ = ["as_grade", "echo", "make_completion"]


def make_completion(text: str, prompt: str = "") -> Completion:
    """Return a completion with this text, as the answer to ``prompt``: for calling grader functions in unit tests."""
    messages: tuple[Message, Message] = ({"role": "user", "content": prompt}, {"role": "assistant", "content": text})
    return Completion(text, messages, "recorded")


def as_grade(value: Any, key: str = "grade") -> Grade:
    """Return what a grader returned as the `Grade` that the plugin would make of it. Raises `GradeError` where it
    would.
    """
    return to_grades(value, key)[""]


def echo(messages: list[dict[str, Any]]) -> str:
    """Answer with the last message: ``--evals-model scripted:pytest_evals.testing:echo``."""
    return str(messages[-1]["content"])
