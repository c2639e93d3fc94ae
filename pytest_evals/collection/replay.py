"""What a replay means for collection: models and repeats are those of the recorded run, and so are the suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pytest_evals.collection.item import EVAL, RECORDED
from pytest_evals.collection.parametrize import RecordedParametrization
from pytest_evals.reuse.recorded_run import Recorded
from pytest_evals.suites.manifest import SuiteManifest


def recasts(recorded: Recorded) -> dict[str, RecordedParametrization]:
    """Return the suites of a recorded run, by name."""
    return {
        suite: RecordedParametrization(
            tuple(model for model in recorded.models(suite) if model != RECORDED), recorded.repeats(suite)
        )
        for suite in recorded.suites
    }


class LeftOut:
    """Hook of a process that collects: what asks a model, in a suite that the run does not have, does not run."""

    def __init__(self, known: Mapping[str, RecordedParametrization]) -> None:
        self._known = known

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """See the class."""
        left = [item for item in items if self._unknown(item)]
        if left:
            items[:] = [item for item in items if not self._unknown(item)]
            config.hook.pytest_deselected(items=left)

    def _unknown(self, item: pytest.Item) -> bool:
        found = item.stash.get(EVAL, None)
        return (
            found is not None
            and found.key.model not in (None, RECORDED)
            and not {found.info.name, found.info.own_name} & set(self._known)
        )


class SuiteCheck:
    """Hooks of the process that owns the session: a run of other suites altogether is a mistake."""

    def __init__(self, known: Mapping[str, RecordedParametrization], infos: Mapping[str, SuiteManifest]) -> None:
        self._known = known
        self._infos = infos

    def pytest_collection_finish(self) -> None:
        """Everything is collected."""
        check_suites(list(self._known), list(self._infos))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self) -> Any:
        """A worker has collected."""
        check_suites(list(self._known), list(self._infos))


def check_suites(recorded: Sequence[str], collected: Sequence[str]) -> None:
    """Raise `pytest.UsageError` when suites were collected and the run has none of them."""
    if collected and not set(recorded) & set(collected):
        raise pytest.UsageError(
            f"--evals-replay: that run has the suites {', '.join(recorded)}, and none of them is here ({', '.join(collected)})"
        )
