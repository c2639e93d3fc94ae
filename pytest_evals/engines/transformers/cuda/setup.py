"""Whether a model may decode with static tensors, and with graphs of them: tried when it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from pytest_evals.engines.transformers.backends.packed import PackedBackend
from pytest_evals.engines.transformers.backends.protocol import StepProgress
from pytest_evals.engines.transformers.cuda.batch_invariance import NOTE as INVARIANT_NOTE
from pytest_evals.engines.transformers.cuda.batch_invariance import check_invariance
from pytest_evals.engines.transformers.cuda.graphs import Capture, CudaGraphs, EagerCapture
from pytest_evals.engines.transformers.cuda.slot_attention import use_kernel
from pytest_evals.engines.transformers.cuda.static_decode import CountBlock
from pytest_evals.engines.transformers.errors import is_fatal
from pytest_evals.engines.transformers.packed.kernels import SlotAttention
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner, TokenSampler
from pytest_evals.engines.transformers.sampler import Sampler
from pytest_evals.engines.transformers.sequence import TokenSequence
from pytest_evals.engines.transformers.usage import UsageMeter
from pytest_evals.engines.transformers.verification import (
    GREEDY,
    SAMPLED,
    TOLERANCE,
    Recording,
    difference,
    generate_sample,
    logit_gap,
    reference_logits,
    sampling_mismatch,
)
from pytest_evals.generation import GenerationParams

_Way = tuple[str, Callable[[str], Capture]]
_GRAPHS: _Way = ("CUDA graphs", CudaGraphs)
_STATIC: _Way = ("static tensors", EagerCapture)
DECODE_MODES: Mapping[str, Sequence[_Way]] = {"graphs": (_GRAPHS,), "static": (_STATIC,), "plain": ()}
"""What is tried by what was asked for; ``static`` is for tests of the decoder on a CPU."""


def prepare_decoding(
    runner: ModelRunner, model: Any, device: str, mode: str, invariant: SlotAttention | None, attention: str = "auto"
) -> list[str]:
    """Choose what attends to slots and how tokens are decoded; return what the user should know.

    Args:
        runner: Computes the model.
        model: As transformers made it.
        device: Where it is.
        mode: A key of `DECODE_MODES`.
        invariant: An attention that has to be used, because a row's text must not depend on the batch.
        attention: ``operators``, ``kernel``, or ``auto`` for the one that is faster on CUDA.

    Raises `ModelError` where ``invariant`` does not make the model's rows independent.
    """
    if invariant is not None:
        runner.kernel = invariant
        check_invariance(runner, model)
        return [INVARIANT_NOTE, *enable_static_decode(runner, model, device, DECODE_MODES[mode])]
    notes = []
    if attention == "kernel" or (attention == "auto" and device.startswith("cuda")):
        notes = use_kernel(runner, model, device, timed=attention == "auto")
    found = enable_static_decode(runner, model, device, DECODE_MODES[mode])
    if runner.kernel is None or runner.decoder is not None or not DECODE_MODES[mode]:
        return notes + found
    # It may be the kernel that cannot be captured: graphs are worth more.
    kernel, runner.kernel = runner.kernel, None
    without = enable_static_decode(runner, model, device, DECODE_MODES[mode])
    if runner.decoder is not None:
        return [f"decodes without the Triton kernel for attention: with it, it {found[-1]}", *without]
    runner.kernel = kernel
    return notes + found


def enable_static_decode(runner: ModelRunner, model: Any, device: str, ways: Sequence[_Way]) -> list[str]:
    """Let the runner decode in the first of ``ways`` that gives the model's own logits, else as it did.

    Returns what the user should know. Raises only what leaves the device unusable.
    """
    notes: list[str] = []
    for name, make in ways:
        try:
            runner.decode_with(make(device))
            found = largest_static_difference(runner, model)
            if found <= TOLERANCE.get(model.dtype, 1e-3):
                return notes + runner.take_notes()
            reason = f"its logits would differ by {found:.1%}"
        except Exception as error:  # any failure of this way of decoding means that the next one is tried
            if is_fatal(error):
                raise
            reason = f"{type(error).__name__}: {error}"
        runner.decode_with(None)
        runner.clear()
        notes.append(f"decodes without {name}: {reason}")
    return notes


@torch.inference_mode()
def largest_static_difference(runner: ModelRunner, model: Any) -> float:
    """Return the largest difference of logits between the runner's decoder and the model, as a share of the largest.

    All ways are asked: steps whose logits the host sees, and blocks of steps which choose by themselves, the likeliest
    token or a drawn one. So a step that cannot be captured is known before anybody waits for it.
    """
    recording = Recording()
    seen = _played(runner, model, recording, GREEDY)
    chosen, drawn = (_played(runner, model, Sampler(), params) for params in (GREEDY, SAMPLED))
    with runner.detached():
        differences = [difference(torch.stack(recording.logits[id(row)]), reference_logits(model, row)) for row in seen]
        return max(*differences, logit_gap(model, chosen), sampling_mismatch(model, drawn))


def _played(runner: ModelRunner, model: Any, sampler: TokenSampler, params: GenerationParams) -> list[TokenSequence]:
    """Return rows that were written with the runner, every step of a new size captured at once."""
    if runner.decoder is None:
        return generate_sample(runner, model, sampler, params)
    runner.decoder.launches.eager_first = False
    try:
        return generate_sample(runner, model, sampler, params)
    finally:
        runner.decoder.launches.eager_first = True


def tally_of(meter: UsageMeter) -> CountBlock:
    """Return what tells the meter of the steps of a block after its first, which counts as the plan's forward."""

    def tally(live: Sequence[int], slots: int) -> None:
        meter.usage.padding_tokens += sum(slots - count for count in live)
        for count in live[1:]:
            meter.count(meter.now(), prompt=0, decode=count, generated=count)

    return tally


class BlockBackend(PackedBackend):
    """A packed loop whose steps may bring several tokens to each row."""

    def step(self) -> StepProgress:
        """See `Loop.step`."""
        before = self._meter.usage.generated_tokens
        progress = super().step()
        progress.tokens = self._meter.usage.generated_tokens - before
        return progress
