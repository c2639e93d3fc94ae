"""The item that runs now, for the plugin's own fixtures.

They do not ask for ``request``: pytest makes a new request, with a fixture definition of its own, each time that one is asked for,
which is a noticeable part of what a small case costs.
"""

from __future__ import annotations

from contextvars import ContextVar

import pytest

ITEM: ContextVar[pytest.Item | None] = ContextVar("evals_item", default=None)
# The sync grader that runs in the test's own setup, for the record of its calls.
GRADER: ContextVar[str | None] = ContextVar("evals_grader", default=None)
