"""Whether continuous batching serves a model: decided from what is installed, then tried with a few tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from transformers.utils.import_utils import is_flash_attn_2_available, is_flash_attn_3_available

from pytest_evals.engines.transformers.continuous_loop import Attending, ContinuousLoop, RoutingLoop
from pytest_evals.engines.transformers.loop import AnyRow
from pytest_evals.engines.transformers.meter import Meter
from pytest_evals.engines.transformers.packed import PackedRunner
from pytest_evals.engines.transformers.packed_loop import PackedLoop
from pytest_evals.engines.transformers.plans import Budget
from pytest_evals.engines.transformers.rehearsal import rehearsed_rows, shortfall
from pytest_evals.engines.transformers.scheduler import Scheduler
from pytest_evals.engines.transformers.selfcheck import TOLERANCE
from pytest_evals.engines.transformers.weights import Loaded, end_tokens
from pytest_evals.errors import ModelError

_ROWS, _TOKENS = 8, 512
"""What a batch has at most when the way is tried: everything is prepared for its size first."""


def flash_attention(model: Any, device: str) -> str | None:
    """Return the flash attention that is installed and computes this model on this device, or `None`."""
    if not device.startswith("cuda") or not getattr(model, "_supports_flash_attn", False):
        return None
    if model.dtype not in {torch.float16, torch.bfloat16}:
        return None
    if is_flash_attn_3_available():
        return "flash_attention_3"
    return "flash_attention_2" if is_flash_attn_2_available() else None


def make_continuous(
    loaded: Loaded,
    runner: PackedRunner,
    budget: Budget,
    meter: Meter,
    wish: str,
    options: Mapping[str, Any],
) -> tuple[ContinuousLoop | None, list[str]]:
    """Return a loop that gives the model's own tokens where it is wanted, and what the user should know.

    With the ``wish`` ``auto`` it is wanted where flash attention is installed, and exactness is not asked for.

    Raises `ModelError` when it was asked for and cannot be had.
    """
    flash = flash_attention(loaded.model, loaded.device)
    asked, fits = wish == "continuous", not options.get("exact") and loaded.ranks == 1
    if asked and not fits:
        raise ModelError("loop=continuous goes neither with exactness nor with tp: leave one of them out")
    if not asked and (wish != "auto" or flash is None or not fits):
        return None, []

    def make(budget: Budget, meter: Meter, ends: frozenset[int]) -> ContinuousLoop:
        attending = _attending(runner, loaded.model, flash)
        return ContinuousLoop(loaded.model, budget, meter, ends, attending, flash=flash is not None)

    tried = replace(budget, rows=min(budget.rows, _ROWS), tokens=min(budget.tokens, _TOKENS))
    reason = why_not(make(tried, Meter(loaded.device), frozenset()), runner, loaded.model)
    if reason is None:
        return make(budget, meter, end_tokens(loaded.model, loaded.tokenizer)), []
    if asked:
        raise ModelError(f"the model cannot be run with loop=continuous: {reason}")
    return None, [f"runs without continuous batching: {reason}"]


def why_not(loop: ContinuousLoop, runner: PackedRunner, model: Any) -> str | None:
    """Let the loop write some texts; return why it cannot be used, or `None` if the model would write them too."""
    rows = rehearsed_rows(model.config.get_text_config(decoder=True).vocab_size)
    loop.add(rows)
    while loop and loop.broken is None:
        if failed := loop.step().failed:
            return failed[0][1].message
    if loop.broken is not None:
        return loop.broken
    with runner.detached():
        found = shortfall(model, rows)
    return None if found <= TOLERANCE.get(model.dtype, 1e-3) else f"its logits would differ by {found:.1%}"


def routed(
    continuous: ContinuousLoop, packed: PackedLoop, scheduler: Scheduler[AnyRow], runner: PackedRunner
) -> RoutingLoop:
    """Return a loop that sends each row to the fastest that can do what is asked of it."""

    def free() -> None:
        # Nobody uses them: the packed loop has nothing to do.
        scheduler.clear()
        runner.clear()

    return RoutingLoop(continuous, packed, free)


def _attending(runner: PackedRunner, model: Any, flash: str | None) -> Attending:
    @contextmanager
    def attending() -> Iterator[None]:
        with runner.detached():
            if flash is not None:
                model.set_attn_implementation(flash)
            yield

    return attending
