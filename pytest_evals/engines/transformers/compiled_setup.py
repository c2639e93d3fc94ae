"""Whether a model is computed with compiled loops: tried when it is loaded, as everything that must give its own logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from pytest_evals.engines.transformers.lean import Ways
from pytest_evals.engines.transformers.packed import PackedRunner
from pytest_evals.engines.transformers.rehearsal import played, shortfall
from pytest_evals.engines.transformers.sampling import Sampler
from pytest_evals.engines.transformers.selfcheck import TOLERANCE, largest_difference
from pytest_evals.engines.transformers.shortlist import make_shortlist


def ways_of(threads: int | None) -> Sequence[Ways]:
    """Return how parts of layers may be computed by loops in so many threads."""
    if threads is None:
        return ()
    from pytest_evals.engines.transformers.lean_compiled import compiled_ways  # numba need not be there

    return (compiled_ways(threads),)


@torch.inference_mode()
def compute_compiled(runner: PackedRunner, model: Any, rows: int, threads: int | None) -> None:
    """Let the runner attend by loops in so many ``threads``, and choose from a shortlist, where that gives the model's own
    logits and, for the shortlist, is faster in batches of ``rows``. Without ``threads`` there are no loops.
    """
    runner.threads = threads
    if threads is None:
        return
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    if not _is_right(lambda: largest_difference(model, runner, vocabulary)):
        runner.threads = None
    with runner.detached():
        runner.shortlist = make_shortlist(model, rows, threads)
    if runner.shortlist is not None and not _is_right(lambda: _shortfall(runner, model)):
        runner.shortlist = None


def _shortfall(runner: PackedRunner, model: Any) -> float:
    rows = played(runner, model, Sampler())
    with runner.detached():
        return shortfall(model, rows)


def _is_right(difference: Callable[[], float]) -> bool:
    """Tell whether logits differ by no more than rounding makes them."""
    try:
        return difference() <= TOLERANCE[torch.float32]
    except Exception:  # noqa: BLE001 - whatever a compiler or a model's own code may raise, there is another way
        return False
