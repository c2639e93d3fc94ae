"""How a model is made to compute fast on a CPU: tried when it is loaded, and kept where it gives the model's own logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from pytest_evals.engines.transformers.cpu.attention import compiled_threads
from pytest_evals.engines.transformers.cpu.fused_layers import FusedOps, fuse_layers
from pytest_evals.engines.transformers.cpu.int8_head import make_shortlist
from pytest_evals.engines.transformers.cpu.linear import PackedWeights
from pytest_evals.engines.transformers.kept_checks import KeptChecks
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner
from pytest_evals.engines.transformers.sampler import Sampler
from pytest_evals.engines.transformers.verification import (
    GREEDY,
    TOLERANCE,
    difference_beyond,
    generate_sample,
    logit_gap,
)

_FEW_TOKENS = replace(GREEDY, max_new_tokens=3)


@torch.inference_mode()
def speed_up(
    runner: ModelRunner,
    model: Any,
    layout: PackedWeights,
    rows: int,
    *,
    compiled: bool,
    without: frozenset[str] = frozenset(),
    checks: KeptChecks | None = None,
) -> None:
    """Let the runner compute as fast as can be on this CPU, in batches of ``rows``: parts of layers in fewer passes, and, if
    loops may be ``compiled``, which takes seconds, by these where they are faster and give the model's own logits. ``without``: parts
    that are left out, for measurements. ``checks``: what is known of the model.
    """
    checks = KeptChecks() if checks is None else checks
    config = model.config.get_text_config(decoder=True)
    threads = (
        compiled_threads(config, partial(checks.recall, "loops are faster", bool, timed=True)) if compiled else None
    )
    if "fused" not in without:
        with runner.detached():
            fuse_layers(model, layout, _ways_of(threads))
    if threads is None:
        return
    runner.threads = None if "attention" in without else threads
    if runner.threads is not None and not checks.recall(
        "loops are right", bool, lambda: _is_right(lambda: difference_beyond(model, runner, config.vocab_size))
    ):
        runner.threads = None
    if "head" in without:
        return
    with runner.detached():
        runner.shortlist = make_shortlist(
            model, rows, threads, partial(checks.recall, f"head is faster, {rows} rows", bool, timed=True)
        )
    if runner.shortlist is not None and not checks.recall(
        "head is right", bool, lambda: _is_right(lambda: _shortfall(runner, model))
    ):
        runner.shortlist = None


def _ways_of(threads: int | None) -> Sequence[FusedOps]:
    if threads is None:
        return ()
    from pytest_evals.engines.transformers.cpu.fused_layers import compiled_ways  # numba need not be there

    return (compiled_ways(threads),)


def _shortfall(runner: ModelRunner, model: Any) -> float:
    rows = generate_sample(runner, model, Sampler(), _FEW_TOKENS)
    with runner.detached():
        return logit_gap(model, rows)


def _is_right(difference: Callable[[], float]) -> bool:
    """Tell whether logits differ by no more than rounding makes them."""
    try:
        return difference() <= TOLERANCE[torch.float32]
    except Exception:  # noqa: BLE001 - whatever a compiler or a model's own code may raise, there is another way
        return False
