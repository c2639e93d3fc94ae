"""Weights of linear layers laid out for batches on a CPU.

A row-major weight is read badly when a batch has few rows; oneDNN and MKL can pack it once into blocks that suit their
kernels. Which is fastest differs between processors and shapes by factors, so it is measured here, on the model's own
weights. The operators are those that torch's compiler emits for frozen weights; where they are missing, layers stay as
they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import linear

from pytest_evals.engines.transformers.joints import Joint, find_joints

_LEAST_GAIN = 1.05
"""A packed layer takes memory of its own: it must be faster by this much."""
_SAMPLES = 8
_ROUNDS = 10
_SECONDS = 0.3
"""After this time no further round is begun: large layers take long, and vary less."""

Tensor = torch.Tensor
Apply = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``apply(input, packed, bias)``."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A way to multiply: ``pack`` a weight once, then ``apply`` it."""

    name: str
    pack: Callable[[Tensor, int], Tensor]
    apply: Apply


def _onednn() -> Kernel:
    operators = torch.ops.mkldnn

    def apply(values: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
        result: Tensor = operators._linear_pointwise(values, packed, bias, "none", [], "")  # noqa: SLF001 - there is no public name for it
        return result

    def pack(weight: Tensor, rows: int) -> Tensor:
        result: Tensor = operators._reorder_linear_weight(weight, rows)  # noqa: SLF001 - as above
        return result

    return Kernel("oneDNN", pack, apply)


def _transposed() -> Kernel:
    return Kernel("transposed", lambda weight, _: weight.t().contiguous().t(), linear)


KERNELS: Sequence[Callable[[], Kernel]] = (_onednn, _transposed)


@dataclass
class Layout:
    """The layers that were packed. While it is not ``active`` they compute as transformers left them."""

    active: bool = True
    packed: dict[str, int] = field(default_factory=dict)
    """Layers by the kernel that they use."""
    nbytes: int = 0
    lean: int = 0
    """Parts that are computed in fewer passes: see `lean`."""

    @contextmanager
    def off(self) -> Iterator[None]:
        """Compute with the layers as they were, as a reference."""
        self.active = False
        try:
            yield
        finally:
            self.active = True


def lay_out(model: Any, rows: int, free: int) -> Layout:
    """Pack the model's linear layers for batches of ``rows``, where that is faster, within ``free`` bytes of memory."""
    layout = Layout()
    by_shape: dict[tuple[int, ...], list[Joint]] = {}
    for joint in find_joints(model):
        by_shape.setdefault(joint.shape, []).append(joint)
    if sum(joint.nbytes for alike in by_shape.values() for joint in alike) > free:
        return layout
    for alike in by_shape.values():
        kernel = fastest(alike, rows)
        if kernel is not None:
            for joint in alike:
                joint.replace(kernel, rows, layout)
            layout.packed[kernel.name] = layout.packed.get(kernel.name, 0) + sum(len(joint.layers) for joint in alike)
    return layout


@torch.inference_mode()
def fastest(joints: Sequence[Joint], rows: int) -> Kernel | None:
    """Return the fastest kernel for joints of one shape, `None` when none is clearly faster than torch's own.

    Several are multiplied in turn: a single one would stay in the processor's cache, which a model does not. Kernels
    take turns too, so that a moment in which the machine is busy does not decide.
    """
    sample = joints[:_SAMPLES]
    values = torch.randn(rows, sample[0].shape[1])
    apart = [layer.weight.detach() for joint in sample for layer in joint.layers]
    rivals = list(_packed(sample, rows, values))
    turns: list[list[float]] = []
    while len(turns) < _ROUNDS and sum(map(sum, turns)) < _SECONDS:
        turns.append(
            [_seconds(linear, values, apart), *(_seconds(kernel.apply, values, packed) for kernel, packed in rivals)]
        )
    usual, *times = (min(of_one) for of_one in zip(*turns, strict=True))
    best = min(range(len(times)), key=times.__getitem__, default=None)
    return None if best is None or times[best] * _LEAST_GAIN >= usual else rivals[best][0]


def _packed(joints: Sequence[Joint], rows: int, values: Tensor) -> Iterator[tuple[Kernel, list[Tensor]]]:
    """Yield every kernel that works here, with the weights as it wants them."""
    weights = [joint.weight() for joint in joints]
    expected = linear(values, weights[0])
    for make in KERNELS:
        try:
            kernel = make()
            packed = [kernel.pack(weight, rows) for weight in weights]
            right = torch.allclose(kernel.apply(values, packed[0], None), expected, rtol=1e-4, atol=1e-3)
        except (RuntimeError, AttributeError):
            # Not every build of torch has these operators, nor do they take every shape.
            continue
        if right:
            yield kernel, packed


def _seconds(apply: Callable[..., Tensor], values: Tensor, weights: Sequence[Tensor]) -> float:
    started = time.perf_counter()
    for weight in weights:
        apply(values, weight, None)
    return time.perf_counter() - started
