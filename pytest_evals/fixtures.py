"""The fixtures that the plugin provides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_evals.marking import provides

if TYPE_CHECKING:
    from pytest_evals.case import Case
    from pytest_evals.completion import Completion
    from pytest_evals.model import Model
    from pytest_evals.record import Recorder


@pytest.fixture
@provides("case")
def case() -> Case:
    """The case that runs: a row of the dataset as mapping and attributes, with ``id``, ``files`` and ``metadata``."""
    __tracebackhide__ = True
    from pytest_evals.running.delivery import eval_item

    return eval_item("case")[1].prepared.case


@pytest.fixture
@provides("completion")
def completion() -> Completion:
    """The model's answer to the case: ``text``, ``messages``, ``finish_reason``, token counts, ``logprobs``,
    ``latency``.

    Generated in batches with those of all other cases, or taken from the row's ``completion`` field. Override it with a
    task or fixture of the same name to put your own program in the model's place.
    """
    __tracebackhide__ = True
    from pytest_evals.running.delivery import deliver

    return deliver()


@pytest.fixture
@provides("model")
def model() -> Model:
    """The model under test, for further calls: ``model.generate(...)``, ``model.choose([...])``, ``model.score(text)``.

    Each returns a call: ``await`` it, or take its ``result()``. Calls made before waiting are computed together. In tasks
    and async graders, those of all cases are.
    """
    __tracebackhide__ = True
    from pytest_evals.running.delivery import handle

    return handle("model")


@pytest.fixture
@provides("judge")
def judge() -> Model:
    """The model that judges (``--evals-judge``), to be called as ``model`` is."""
    __tracebackhide__ = True
    from pytest_evals.running.delivery import handle

    return handle("judge")


@pytest.fixture
@provides("case")
def record() -> Recorder:
    """Attach extra values to the case: ``record("steps", 3)`` or ``record(steps=3)``; they stand in the artifact under
    ``tasks``.
    """
    __tracebackhide__ = True
    from pytest_evals.record import Recorder
    from pytest_evals.running.delivery import eval_item, sheet_of

    item, _ = eval_item("record")
    return Recorder(sheet_of(item))


__all__: list[Any] = ["case", "completion", "judge", "model", "record"]
