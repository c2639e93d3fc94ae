"""Hooks that a conftest or plugin may implement. Each is called only under ``--evals``."""

from __future__ import annotations

from collections.abc import Sequence

import pytest


@pytest.hookspec(firstresult=True)
def pytest_evals_models(config: pytest.Config) -> Sequence[str] | None:
    """Return the models to evaluate for the suites below this conftest's folder, or `None` to leave it to others.

    ``--evals-model`` and ``cases(model=...)`` win over it; it wins over ``evals_models`` in the configuration file::

        def pytest_evals_models(config):
            return ["hf:org/name?dtype=bf16"]
    """
