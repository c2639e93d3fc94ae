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

_TOLERANCE = {torch.float32: (1e-4, 1e-3), torch.bfloat16: (1.6e-2, 1e-2)}
"""Relative and absolute differences that rounding makes, of the dtypes that are laid out."""
_LEAST_GAIN = 1.05
"""A packed layer takes memory of its own: it must be faster by this much."""
_SAMPLES = 8
_ROUNDS = 10
_SECONDS = 0.3
"""After this time no further round is begun: large layers take long, and vary less."""
Tensor = torch.Tensor
ApplyLinear = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``apply(input, packed, bias)``."""


@dataclass(frozen=True, slots=True)
class LinearKernel:
    """A way to multiply: ``pack`` a weight once, then ``apply`` it."""

    name: str
    pack: Callable[[Tensor, int], Tensor]
    apply: ApplyLinear


def _onednn() -> LinearKernel:
    operators = torch.ops.mkldnn

    def apply(values: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
        result: Tensor = operators._linear_pointwise(values, packed, bias, "none", [], "")  # noqa: SLF001 - there is no public name for it
        return result

    def pack(weight: Tensor, rows: int) -> Tensor:
        result: Tensor = operators._reorder_linear_weight(weight, rows)  # noqa: SLF001 - as above
        return result

    return LinearKernel("oneDNN", pack, apply)


def _transposed() -> LinearKernel:
    return LinearKernel("transposed", lambda weight, _: weight.t().contiguous().t(), linear)


KERNELS: Sequence[Callable[[], LinearKernel]] = (_onednn, _transposed)


@dataclass
class PackedWeights:
    """The layers that were packed. While it is not ``active`` they compute as transformers left them."""

    active: bool = True
    packed: dict[str, int] = field(default_factory=dict)
    """Layers by the kernel that they use."""
    nbytes: int = 0
    lean: int = 0
    """Parts that are computed in fewer passes: see `fused_layers`."""

    @contextmanager
    def off(self) -> Iterator[None]:
        """Compute with the layers as they were, as a reference."""
        self.active = False
        try:
            yield
        finally:
            self.active = True


def lay_out(
    model: Any,
    rows: int,
    free: int,
    layout: PackedWeights | None = None,
    recall: Callable[[str, Callable[[], str]], str] = lambda _, find: find(),
) -> PackedWeights:
    """Pack the model's linear layers for batches of ``rows``, where that is faster, within ``free`` bytes of memory; return the
    ``layout`` with what was packed.

    ``recall`` is called with a name and what finds the name of a kernel out, "" for torch's own, and may know it.
    """
    layout = PackedWeights() if layout is None else layout
    by_shape: dict[tuple[int, ...], list[FusedLinear]] = {}
    for joint in find_joints(model):
        by_shape.setdefault(joint.shape, []).append(joint)
    if sum(joint.nbytes for alike in by_shape.values() for joint in alike) > free:
        return layout
    for alike in by_shape.values():
        shape = "x".join(map(str, alike[0].shape))
        kernel = kernel_named(recall(f"linear {shape}, {rows} rows", lambda alike=alike: _fastest_name(alike, rows)))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        if kernel is not None:
            for joint in alike:
                joint.replace(kernel, rows, layout)
            layout.packed[kernel.name] = layout.packed.get(kernel.name, 0) + sum(len(joint.layers) for joint in alike)
    return layout


def _fastest_name(joints: Sequence[FusedLinear], rows: int) -> str:
    kernel = fastest(joints, rows)
    return "" if kernel is None else kernel.name


def kernel_named(name: str) -> LinearKernel | None:
    """Return the kernel of this name, `None` where there is none here."""
    for make in KERNELS:
        try:
            kernel = make()
        except (RuntimeError, AttributeError):
            continue
        if kernel.name == name:
            return kernel
    return None


@torch.inference_mode()
def fastest(joints: Sequence[FusedLinear], rows: int) -> LinearKernel | None:
    """Return the fastest kernel for joints of one shape, `None` when none is clearly faster than torch's own.

    Several are multiplied in turn: a single one would stay in the processor's cache, which a model does not. Kernels
    take turns too, so that a moment in which the machine is busy does not decide.
    """
    sample = joints[:_SAMPLES]
    values = torch.randn(rows, sample[0].shape[1], dtype=sample[0].layers[0].weight.dtype)
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


def _packed(joints: Sequence[FusedLinear], rows: int, values: Tensor) -> Iterator[tuple[LinearKernel, list[Tensor]]]:
    """Yield every kernel that works here, with the weights as it wants them."""
    weights = [joint.weight() for joint in joints]
    expected = linear(values, weights[0])
    rtol, atol = _TOLERANCE[values.dtype]
    for make in KERNELS:
        try:
            kernel = make()
            packed = [kernel.pack(weight, rows) for weight in weights]
            right = torch.allclose(kernel.apply(values, packed[0], None), expected, rtol=rtol, atol=atol)
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


def is_plain(weight: Tensor) -> bool:
    """Tell whether a weight is plain numbers in fp32 or bf16, and none of the tensors that keep them quantised under such a dtype."""
    return type(weight.data) is Tensor and weight.dtype in _TOLERANCE


# -- Linear layers that read the same input, as query, key and value do: multiplied as one.
#
# Which layers these are is seen when a few tokens go through the model: they are called one after another with the same
# tensor.

_LEAST_SIZE = 1 << 14
"""Smaller layers are left alone: they take no time."""


@dataclass(slots=True)
class FusedLinear:
    """Layers with one input, in the order in which they are called; most often a single one."""

    layers: list[torch.nn.Linear]
    _input: Tensor | None = None
    _outputs: tuple[Tensor, ...] = field(default_factory=tuple)

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs of all layers, inputs."""
        return sum(layer.out_features for layer in self.layers), self.layers[0].in_features

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        return sum(layer.weight.nbytes for layer in self.layers)

    def weight(self) -> Tensor:
        """Return the weights as one, ``[outputs, inputs]``."""
        weights = [layer.weight.detach() for layer in self.layers]
        return weights[0] if len(weights) == 1 else torch.cat(weights)

    def bias(self) -> Tensor | None:
        """Return the biases as one."""
        if all(layer.bias is None for layer in self.layers):
            return None
        biases = [
            layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias.detach()
            for layer in self.layers
        ]
        return torch.cat(biases)

    def replace(self, kernel: LinearKernel, rows: int, layout: PackedWeights) -> None:
        """Let the layers compute with ``kernel`` while ``layout`` is active: the first one for all, which then take
        their part.
        """
        packed, bias = kernel.pack(self.weight(), rows), self.bias()
        layout.nbytes += self.nbytes
        sizes = [layer.out_features for layer in self.layers]

        def compute(values: Tensor) -> tuple[Tensor, ...]:
            result = kernel.apply(values, packed, bias)
            return (result,) if len(sizes) == 1 else result.split_with_sizes(sizes, dim=-1)

        for index, layer in enumerate(self.layers):
            layer.forward = self._forward(index, layer, compute, layout)  # type: ignore[assignment,method-assign]  # one layer's own; its class stays as it is

    def _forward(
        self, index: int, layer: torch.nn.Linear, compute: Callable[[Tensor], tuple[Tensor, ...]], layout: PackedWeights
    ) -> Callable[[Tensor], Tensor]:
        last = len(self.layers) - 1

        def forward(input: Tensor) -> Tensor:  # noqa: A002 - the name that torch.nn.Linear gives it
            if not layout.active:
                return linear(input, layer.weight, layer.bias)
            if last == 0:
                return compute(input)[0]
            if self._input is not input:
                self._input, self._outputs = input, compute(input)
            output = self._outputs[index]
            if index == last:
                # Nothing is kept: neither memory, nor what another call with the same tensor might take for its own.
                self._input, self._outputs = None, ()
            return output

        return forward


@torch.inference_mode()
def find_joints(model: Any) -> list[FusedLinear]:
    """Return the model's linear layers in fp32 and bf16, those with one input together."""
    calls: list[tuple[torch.nn.Linear, Tensor]] = []

    def note(layer: Any, arguments: tuple[Any, ...]) -> None:
        calls.append((layer, arguments[0]))

    layers = [
        module
        for module in model.modules()
        if type(module) is torch.nn.Linear and module.weight.numel() >= _LEAST_SIZE and is_plain(module.weight)
    ]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        model(input_ids=torch.tensor([[1, 2, 3]], device=model.device))
    finally:
        for hook in hooks:
            hook.remove()
    joints: list[FusedLinear] = []
    before: Tensor | None = None
    for layer, values in calls:
        if values is before:
            joints[-1].layers.append(layer)
        else:
            joints.append(FusedLinear([layer]))
        before = values
    called = [layer for layer, _ in calls]
    if len(set(map(id, called))) < len(called):
        # A layer that is called twice in a forward cannot be told apart by its place; each stays by itself.
        return [FusedLinear([layer]) for layer in layers]
    return [*joints, *(FusedLinear([layer]) for layer in layers if not any(layer is other for other in called))]
