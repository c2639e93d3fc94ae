"""What ready-made graders have in common: templates in their settings, the text that they grade, and what they need to be
installed.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from pytest_evals.completion import Completion
from pytest_evals.errors import SuiteError
from pytest_evals.templates.locators import is_dynamic, may_name_a_task


def depends_on_case(value: object) -> bool:
    """Tell whether a setting, or an entry of a list of them, is a locator or a template, or may be the alias of a task."""
    entries = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(entry, str) and (is_dynamic(entry) or may_name_a_task(entry)) for entry in entries)


def check_static(value: object, check: Callable[[Any], object]) -> None:
    """Check a setting where it is written, unless it depends on the case. ``"draft.value"`` may do so, if ``draft`` is a task;
    a single word is taken for what it is.
    """
    entries = value if isinstance(value, (list, tuple)) else [value]
    dotted = any(isinstance(entry, str) and "." in entry and may_name_a_task(entry) for entry in entries)
    if not dotted and not any(isinstance(entry, str) and is_dynamic(entry) for entry in entries):
        check(value)


def grading_text(grade: Callable[[str, pytest.FixtureRequest], Any], of: str | None, who: str) -> Callable[..., Any]:
    """Return the function of a grader that grades a text: the completion's, or the result of the task ``of``."""
    name = "completion" if of is None else of
    if not isinstance(name, str) or not name.isidentifier():
        raise SuiteError(f"{who}: of must be the name of a task, not {of!r}")

    def ready_made(*, request: pytest.FixtureRequest, **given: Any) -> Any:
        return grade(_text(given[name], name), request)

    kind = inspect.Parameter.KEYWORD_ONLY
    ready_made.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # pytest reads the names of fixtures from it
        [inspect.Parameter(name, kind), inspect.Parameter("request", kind)]
    )
    return ready_made


def _text(value: object, name: str) -> str:
    if isinstance(value, Completion):
        return value.text
    if isinstance(value, str):
        return value
    raise SuiteError(f"{name!r} gave {type(value).__name__}, and this grader reads text; let the task return the text")


def require(module: str, extra: str, grader: str) -> None:
    """Raise `SuiteError` with the command that brings a package, unless it is installed. Nothing is imported."""
    if importlib.util.find_spec(module) is None:
        raise SuiteError(
            f"{grader} needs the package {module!r}, which is not installed: pip install 'pytest-evals-hf[{extra}]'"
        )
