"""bf16 in which a row's text does not depend on the rows beside it: `--evals-exact` with `bf16` on a CUDA device.

Products, sums and attention are computed in an order that follows from the row alone (`triton.overrides`, `triton.attention`), for
prompts as for single tokens. Whether that holds for a model is tried when it is loaded: the same rows, together and each alone, must
give the same logits to the last bit.
"""

from __future__ import annotations

from typing import Any

import torch

from pytest_evals.engines.transformers.backends.packed import PackedBackend
from pytest_evals.engines.transformers.backends.protocol import AnySequence
from pytest_evals.engines.transformers.cuda.slot_attention import TritonAttention
from pytest_evals.engines.transformers.loading import LoadedModel
from pytest_evals.engines.transformers.packed.kernels import SlotAttention
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner
from pytest_evals.engines.transformers.scheduling.plan import BatchLimits
from pytest_evals.engines.transformers.scheduling.scheduler import Scheduler
from pytest_evals.engines.transformers.sequence import TokenSequence
from pytest_evals.engines.transformers.usage import UsageMeter
from pytest_evals.engines.transformers.verification import TOLERANCE, Recording, largest_difference, rehearsed_rows
from pytest_evals.errors import ModelError

NOTE = "computes in bf16 in an order of additions that does not depend on the batch"
_INSTEAD = "without dtype=bf16, --evals-exact computes in fp32"
_ROOMS = (BatchLimits(64, 1 << 20, cascade=None), BatchLimits(2, 1 << 20, 16, cascade=None))
"""Batches that are compared with each row alone: all rows at once, and few of them with prompts in pieces."""


def fix_order(key: str = "CUDA") -> SlotAttention:
    """Have this process compute every row in an order of its own, on the devices of a dispatch key; return the attention that does.

    Raises `ModelError` without Triton.
    """
    try:
        kernel = TritonAttention(everything=True)
        from pytest_evals.engines.transformers.cuda.triton.overrides import override_operators  # as above
    except ImportError as error:
        raise ModelError(
            f"--evals-exact in bf16 needs Triton, which comes with torch for CUDA ({error}); {_INSTEAD}"
        ) from error
    override_operators(key)
    return kernel


def check_invariance(runner: ModelRunner, model: Any) -> None:
    """Raise `ModelError` if the model's logits come out otherwise, or if a row's logits depend on the rows beside it."""
    found = largest_difference(model, runner, model.config.get_text_config(decoder=True).vocab_size)
    if found > TOLERANCE.get(model.dtype, 1e-3):
        raise ModelError(f"--evals-exact in bf16: the model's logits would differ by {found:.1%}; {_INSTEAD}")
    alone = [_logits(runner, model, BatchLimits(1, 1 << 20, cascade=None), row) for row in range(len(_rows(model)))]
    for room in _ROOMS:
        together = _logits(runner, model, room)
        if not all(torch.equal(one[0], other) for one, other in zip(alone, together, strict=True)):
            raise ModelError(
                f"--evals-exact in bf16: logits of this model depend on the rows beside it, so texts would too; {_INSTEAD}"
            )


def _rows(model: Any, only: int | None = None) -> list[TokenSequence]:
    rows = rehearsed_rows(model.config.get_text_config(decoder=True).vocab_size)
    return rows if only is None else [rows[only]]


def _logits(runner: ModelRunner, model: Any, room: BatchLimits, only: int | None = None) -> list[torch.Tensor]:
    """Return the logits of each row's tokens when they are computed in batches of this size."""
    recording, rows = Recording(), _rows(model, only)
    scheduler: Scheduler[AnySequence] = Scheduler(room)
    scheduler.add(rows)
    try:
        with runner.sampling_with(recording):
            while plan := scheduler.plan():
                scheduler.done(plan, runner.run(plan))
    finally:
        runner.clear()
    return [torch.stack(recording.logits[id(row)]) for row in rows]


def alone_backend(loaded: LoadedModel, kernel: SlotAttention, budget: BatchLimits, meter: UsageMeter) -> PackedBackend:
    """Return what computes requests that want to be alone: as the others, one row at a time, in slots of its own."""
    runner = ModelRunner(loaded.model, loaded.device, 1)
    runner.kernel = kernel
    limits = BatchLimits(1, budget.cells, budget.tokens, cascade=None)
    return PackedBackend(Scheduler(limits), runner, meter, loaded.device)
