"""What the settings of ready-made graders have in common: templates in them, and what they need to be installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

from pytest_evals.errors import SuiteError
from pytest_evals.templates import is_dynamic


def depends_on_case(value: object) -> bool:
    """Tell whether a setting, or an entry of a list of them, is a locator or a template."""
    entries = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(entry, str) and is_dynamic(entry) for entry in entries)


def check_static(value: object, check: Callable[[Any], object]) -> None:
    """Check a setting where it is written, unless it depends on the case."""
    if not depends_on_case(value):
        check(value)


def require(module: str, extra: str, grader: str) -> None:
    """Raise `SuiteError` with the command that brings a package, unless it is installed. Nothing is imported."""
    if importlib.util.find_spec(module) is None:
        raise SuiteError(
            f"{grader} needs the package {module!r}, which is not installed: pip install 'pytest-evals-hf[{extra}]'"
        )
