"""The plugin's switchboard: options, marker, fixtures, and what is registered when.

Loaded in every pytest run, so it imports nothing that takes time; everything else is imported when evals are on.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_evals.fixtures.provided import provides
from pytest_evals.options import add_options, enabled, environment_switch, skipped_note

if TYPE_CHECKING:
    from pytest_evals.case import Case
    from pytest_evals.completion import Completion
    from pytest_evals.fixtures.context import CaseRecorder
    from pytest_evals.runner.model import Model

__all__ = ["case", "completion", "judge", "model", "record"]


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Register options and ini values. What argparse would refuse in words of its own is refused here."""
    add_options(parser)
    config = pluginmanager.get_plugin("pytestconfig")
    if config is not None and _mentions_options(config, "--evals="):
        from pytest_evals.invocation import check_switch

        check_switch(config)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the hooks that conftests may implement."""
    from pytest_evals import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser) -> None:
    """Refuse a command line with an option of ours that does not exist, or a value of one that made pytest lose the project's
    configuration file.
    """
    if _mentions_options(early_config):
        from pytest_evals.invocation import check_names, check_root

        check_names(early_config)
        check_root(early_config, parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the marker always, and the working parts only when evals are on."""
    config.addinivalue_line(
        "markers", "evals(declaration): an eval with a case for each row of a dataset; made by pytest_evals.cases(...)"
    )
    if enabled(config):
        from pytest_evals.registration import activate

        activate(config)
        return
    if _mentions_options(config) and not (
        hasattr(config, "workerinput") or config.option.help or config.option.version
    ):
        from pytest_evals.invocation import check_switched_on

        written = environment_switch()
        check_switched_on(config, f"PYTEST_EVALS={written}" if written else "")
    if any("[" in argument for argument in config.args):
        # A single case was named: it should be found, and then skipped with the reason.
        from pytest_evals.registration import collect_only

        collect_only(config)


def _mentions_options(config: pytest.Config, start: str = "--eval") -> bool:
    """Tell, at hardly any cost, whether an option of ours that begins so may be on the command line or in a file that it names."""
    environment = os.environ.get("PYTEST_ADDOPTS", "")
    return any(
        (word.startswith((start, "@")) or word[:5].lower() in ("-eval", "--eva")) and word != "--evals"
        for word in (*environment.split(), *map(str, config.invocation_params.args))
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip evals when they are off. Where no suite was imported there is nothing to look for."""
    if "pytest_evals.suites.declaration" in sys.modules and not enabled(config):
        from pytest_evals.registration import skip_evals

        skip_evals(items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say that evals were skipped, since pytest shows reasons only when it is asked to."""
    if "skipped" in terminalreporter.stats and config.get_verbosity() >= 0 and not enabled(config):
        longreprs = [report.longrepr for report in terminalreporter.stats["skipped"]]
        note = skipped_note(str(longrepr[2]) for longrepr in longreprs if isinstance(longrepr, tuple))
        if note:
            terminalreporter.write_line(note)


# -- The fixtures that the plugin provides.


@pytest.fixture
@provides("case")
def case() -> Case:
    """The case: a row of the data as mapping and attributes, with ``id``, ``files``, ``metadata`` and ``place``. See `Case`."""
    __tracebackhide__ = True
    from pytest_evals.runner.delivery import eval_item

    return eval_item("case")[1].prepared.case


@pytest.fixture
@provides("completion")
def completion() -> Completion:
    """The model's answer to the case: ``text``, ``messages``, ``finish_reason``, token counts, ``latency``. See `Completion`.

    It is generated in batches with those of all other cases, or comes from the row's field ``completion``. Override it with a task or fixture
    of the same name to put your own program in the model's place.
    """
    __tracebackhide__ = True
    from pytest_evals.runner.delivery import deliver

    return deliver()


@pytest.fixture
@provides("model")
def model() -> Model:
    """The model under test, for further calls: ``model.generate(...)``, ``model.choose([...])``, ``model.score(text)``. See `Model`."""
    __tracebackhide__ = True
    from pytest_evals.runner.delivery import handle

    return handle("model")


@pytest.fixture
@provides("judge")
def judge() -> Model:
    """The model that judges (``--evals-judge``), to be called like ``model``."""
    __tracebackhide__ = True
    from pytest_evals.runner.delivery import handle

    return handle("judge")


@pytest.fixture
@provides("encoder")
def _evals_encoder() -> None:
    """What ready-made graders ask classifiers and reward models with, which run ahead of the tests."""


@pytest.fixture
@provides("case")
def record() -> CaseRecorder:
    """Attach plain data to the case: ``record("steps", 3)`` or ``record(steps=3)``. The artifact has it under ``tasks``."""
    __tracebackhide__ = True
    from pytest_evals.fixtures.context import CaseRecorder
    from pytest_evals.runner.delivery import eval_item, sheet_of

    item, _ = eval_item("record")
    return CaseRecorder(sheet_of(item))
