"""What the graders of a case share: its sheet, and what graders may do in this run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_evals.grades import Grade


@dataclass(slots=True)
class Sheet:
    """The grades of one case while it runs, and what its graders raised."""

    grades: dict[str, Grade] = field(default_factory=dict)
    failures: dict[str, BaseException] = field(default_factory=dict)
    recorded: dict[str, Any] = field(default_factory=dict)


# The sheet of the case that is running. Only items that the plugin made into cases have one.
SHEET: pytest.StashKey[Sheet] = pytest.StashKey()
# The graders and tasks whose run_if is false for the case. Only items with such ones have it.
EXCLUDED: pytest.StashKey[frozenset[str]] = pytest.StashKey()
# Seconds that one grader may take; 0 is no limit.
TIME_LIMIT: pytest.StashKey[float] = pytest.StashKey()
# Whether graders may run programs that a model wrote.
RUN_CODE: pytest.StashKey[bool] = pytest.StashKey()
