"""The plugin's switchboard: options, marker, fixtures, and what is registered when.

Loaded in every pytest run, so it imports nothing that takes time; everything else is imported when evals are on.
"""

from __future__ import annotations

import sys

import pytest

from pytest_evals.fixtures import case, completion, judge, model, record
from pytest_evals.options import add_options, enabled

__all__ = ["case", "completion", "judge", "model", "record"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register options and ini values."""
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the hooks that conftests may implement."""
    from pytest_evals import newhooks

    pluginmanager.add_hookspecs(newhooks)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the marker always, and the working parts only when evals are on."""
    config.addinivalue_line(
        "markers", "evals(declaration): an eval with a case for each row of a dataset; made by pytest_evals.cases(...)"
    )
    if enabled(config):
        from pytest_evals.activate import activate

        activate(config)
    elif any("[" in argument for argument in config.args):
        # A single case was named: it should be found, and then skipped with the reason.
        from pytest_evals.activate import collect_only

        collect_only(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip evals when they are off. Where no suite was imported there is nothing to look for."""
    if "pytest_evals.declaration" in sys.modules and not enabled(config):
        from pytest_evals.activate import skip_evals

        skip_evals(items)
