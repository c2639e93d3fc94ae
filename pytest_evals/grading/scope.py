"""What a grader sees of the case that it grades."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from pytest_evals.errors import SuiteError

if TYPE_CHECKING:
    from pytest_evals.case import Case

# The case that an item is.
CASE: pytest.StashKey[Case] = pytest.StashKey()
# What the templates of the grader that runs may name, where that is more than the case.
SCOPE: ContextVar[Mapping[str, Any] | None] = ContextVar("evals_scope", default=None)


def current_scope(request: pytest.FixtureRequest | None = None) -> Mapping[str, Any]:
    """Return what the templates of the grader that runs may name: the case, and the results of tasks that they name. A sync
    grader gives its ``request``, an async one has none.
    """
    scope = SCOPE.get()
    if scope is not None:
        return scope
    if request is None:
        raise SuiteError("current_scope() is for graders while they run")
    # A fixture for the case would cost time in every case.
    case: Case = request.node.stash[CASE]
    return case.scope
