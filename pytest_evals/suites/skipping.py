"""Which cases of a suite do not run, and why: ``cases(skip=...)``; and which are chosen: ``--evals-where``."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_evals.errors import SuiteError
from pytest_evals.templates.expressions import check_condition, value_of
from pytest_evals.templates.locators import Scope
from pytest_evals.text import one_line

_NOTHING = object()
Skip = str | Mapping[str, str]
"""An expression over the row, or expressions with the reason of each."""


def check_skip(skip: object) -> None:
    """Raise `SuiteError` or `TemplateError` for what is not such an expression."""
    if skip is None or isinstance(skip, str):
        conditions = [] if skip is None else [skip]
    elif isinstance(skip, Mapping) and all(isinstance(reason, str) and reason for reason in skip.values()):
        conditions = list(skip)
    else:
        raise SuiteError(
            "skip is an expression over the row, as \"item.status == 'draft'\", or a mapping of expressions to reasons"
        )
    for condition in conditions:
        check_condition(condition, "skip")


def skip_reason(skip: Skip | None, scope: Scope) -> str | None:
    """Return why a case is skipped, `None` where it is not.

    The first expression that is true decides. Without a reason beside it, a text that it gives is the reason (``"item.skip"``),
    else the expression is. A field that the row lacks is false.
    """
    for condition, reason in skip.items() if isinstance(skip, Mapping) else [(skip, "")] if skip else []:
        value = value_of(condition, "skip", scope, missing=None)
        if value:
            return reason or (one_line(value, 300) if isinstance(value, str) else f"skip: {condition}")
    return None


def is_chosen(where: str, scope: Scope) -> bool | None:
    """Tell whether ``--evals-where`` chooses a row; `None` where the row lacks a field that the expression looks at."""
    value = value_of(where, "--evals-where", scope, missing=_NOTHING)
    return None if value is _NOTHING else bool(value)
