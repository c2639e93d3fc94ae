"""Gates in Allure's report. Its plugin makes results of items alone, and a gate is none, so it is handed to Allure itself."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from pytest_evals.session.gates import CLASSNAME, GateReport


def add_to_allure(config: pytest.Config, report: GateReport) -> None:
    """Write a result for the gate where ``--alluredir`` asks for a report; nothing where it does not."""
    reporter: Any = getattr(config.pluginmanager.get_plugin("allure_listener"), "allure_logger", None)
    if reporter is None:
        return
    # Not a dependency: Allure's own plugin is there, and has imported them.
    model: Any = importlib.import_module("allure_commons.model2")
    utils: Any = importlib.import_module("allure_commons.utils")
    name = report.location[2]
    identity, moment = utils.md5(report.nodeid), utils.now()
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr or "")
    result = model.TestResult(
        uuid=utils.uuid4(),
        name=name,
        fullName=report.nodeid,
        historyId=identity,
        testCaseId=identity,
        status=getattr(model.Status, report.outcome.upper()),
        statusDetails=model.StatusDetails(message=said) if said else None,
        start=moment,
        stop=moment,
        labels=[
            model.Label(name="suite", value=CLASSNAME),
            model.Label(name="framework", value="pytest"),
            model.Label(name="language", value=utils.platform_label()),
        ],
    )
    reporter.schedule_test(result.uuid, result)
    reporter.close_test(result.uuid)
