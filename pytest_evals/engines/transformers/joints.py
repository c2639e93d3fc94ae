"""Linear layers that read the same input, as query, key and value do: multiplied as one.

Which layers these are is seen when a few tokens go through the model: they are called one after another with the same
tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import linear

if TYPE_CHECKING:
    from pytest_evals.engines.transformers.linear import Kernel, Layout

_LEAST_SIZE = 1 << 14
"""Smaller layers are left alone: they take no time."""

Tensor = torch.Tensor


@dataclass(slots=True)
class Joint:
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

    def replace(self, kernel: Kernel, rows: int, layout: Layout) -> None:
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
        self, index: int, layer: torch.nn.Linear, compute: Callable[[Tensor], tuple[Tensor, ...]], layout: Layout
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
def find_joints(model: Any) -> list[Joint]:
    """Return the model's linear layers in fp32, those with one input together."""
    calls: list[tuple[torch.nn.Linear, Tensor]] = []

    def note(layer: Any, arguments: tuple[Any, ...]) -> None:
        calls.append((layer, arguments[0]))

    layers = [
        module
        for module in model.modules()
        if type(module) is torch.nn.Linear
        and module.weight.numel() >= _LEAST_SIZE
        and module.weight.dtype == torch.float32
    ]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        model(input_ids=torch.tensor([[1, 2, 3]], device=model.device))
    finally:
        for hook in hooks:
            hook.remove()
    joints: list[Joint] = []
    before: Tensor | None = None
    for layer, values in calls:
        if values is before:
            joints[-1].layers.append(layer)
        else:
            joints.append(Joint([layer]))
        before = values
    called = [layer for layer, _ in calls]
    if len(set(map(id, called))) < len(called):
        # A layer that is called twice in a forward cannot be told apart by its place; each stays by itself.
        return [Joint([layer]) for layer in layers]
    return [*joints, *(Joint([layer]) for layer in layers if not any(layer is other for other in called))]
