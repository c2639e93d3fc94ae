"""Parts of layers that are composed of many operators, computed in fewer passes over memory: on a CPU, where a pass over
the activations of a batch takes as long as a good part of a product.

RMS norms, rotary positions and gated blocks have the same few forms in most families. Whether a module has one of them
is not read from its name: it is run beside its replacement, on its own weights, and keeps its own way where the numbers
differ.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pytest_evals.engines.transformers.cpu.linear import PackedWeights

Tensor = torch.Tensor
ApplyFused = Callable[[Tensor], Tensor]
_ROTATION = "apply_rotary_pos_emb"
"""What transformers calls the function, in the module of each family."""
_SIZES = (1e-3, 1.0, 30.0)
"""Sizes of the numbers on which ways are compared: the smallest shows what is added to a variance."""
_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class FusedOps:
    """How parts are computed: a norm from its weight and what it adds to the variance, the product of a gated block from
    its activation, gates and values, and the rotation of heads ``[1, heads, tokens, head]`` by cosines and sines.
    """

    norm: Callable[[Tensor, float], ApplyFused]
    gate: Callable[[ApplyFused, Tensor, Tensor], Tensor]
    rotate: Callable[[Tensor, Tensor, Tensor], Tensor]


@torch.inference_mode()
def fuse_layers(model: torch.nn.Module, layout: PackedWeights, ways: Sequence[FusedOps] = ()) -> None:
    """Let the parts of ``model`` that can be computed in fewer passes be computed so while ``layout`` is active: in the
    first of ``ways`` that computes the same, or by few operators.
    """
    ways = [*ways, OPERATORS]
    blocks: dict[tuple[type, type], FusedOps | None] = {}
    for module in model.modules():
        if not all(parameter.dtype == torch.float32 for parameter in module.parameters(recurse=False)):
            continue
        lean = next((lean for lean in _norms(module, ways) if _same(module, lean, _SIZES)), None)
        if lean is None and _is_gated(module):
            # Of one kind a single one is tried: what they call are parts of their own, and they may be large.
            kind = (type(module), type(module.act_fn))
            if kind not in blocks:
                blocks[kind] = next((way for way in ways if _same(module, _gated(module, way), _SIZES)), None)
            way = blocks[kind]
            lean = None if way is None else _gated(module, way)
        if lean is not None:
            _replace(module, lean, layout)
            layout.lean += 1
        elif _rotate_lean(module, layout, ways):
            layout.lean += 1


def _norms(module: torch.nn.Module, ways: Sequence[FusedOps]) -> Iterator[ApplyFused]:
    """Yield ways to compute what ``module`` may compute if it is a norm."""
    children, parameters = dict(module.named_children()), dict(module.named_parameters(recurse=False))
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not children and parameters.keys() == {"weight"} and parameters["weight"].dim() == 1 and isinstance(eps, float):
        weight = parameters["weight"].detach()
        for way in ways:
            yield way.norm(weight, eps)
            yield way.norm(1 + weight, eps)


def _is_gated(module: torch.nn.Module) -> bool:
    """Tell whether ``module`` has the parts of a gated block, and nothing else."""
    parts = dict(module.named_children()).keys()
    return parts == {"gate_proj", "up_proj", "down_proj", "act_fn"} and not list(module.parameters(recurse=False))


def _norm(weight: Tensor, eps: float) -> ApplyFused:
    """Divide by the root of the mean square: the norm is one pass, and the rest of it takes a number of each row."""
    added, share = torch.tensor(eps), 1 / len(weight)

    def apply(values: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(values, dim=-1, keepdim=True)
        return (values * torch.addcmul(added, length, length, value=share).rsqrt_()).mul_(weight)

    return apply


def _gated(module: Any, way: FusedOps) -> ApplyFused:
    def apply(values: Tensor) -> Tensor:
        down: Tensor = module.down_proj(way.gate(module.act_fn, module.gate_proj(values), module.up_proj(values)))
        return down

    return apply


def _same(module: torch.nn.Module, lean: ApplyFused, sizes: Sequence[float]) -> bool:
    """Tell whether the module computes the same of numbers of these sizes."""
    inputs = next(parameter.shape[-1] for parameter in module.parameters())
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        values = torch.randn((1, 3, inputs), generator=generator) * size
        try:
            expected, found = module(values), lean(values)
        except Exception:  # noqa: BLE001 - a module that only looks like one of these may want anything
            return False
        if not _close(found, expected):
            return False
    return True


def _close(found: Tensor, expected: Any) -> bool:
    if not isinstance(expected, Tensor) or found.shape != expected.shape:
        return False
    # By the largest number, as rounding is: some results are differences of large ones.
    return bool((found - expected).abs().max() <= _TOLERANCE * expected.abs().max())


def _replace(module: torch.nn.Module, lean: ApplyFused, layout: PackedWeights) -> None:
    own = module.forward

    def forward(*arguments: Any, **options: Any) -> Any:
        if not layout.active or len(arguments) != 1 or options or arguments[0].dtype != torch.float32:
            return own(*arguments, **options)
        return lean(arguments[0])

    module.forward = forward  # one module's own; its class stays as it is


# -- rotary positions


def _rotated(values: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of numbers, one of either half, by its angle; ``values`` ``[..., head]``."""
    half = values.shape[-1] // 2
    result = values * cos
    result[..., :half].addcmul_(values[..., half:], sin[..., :half], value=-1)
    result[..., half:].addcmul_(values[..., :half], sin[..., half:])
    return result


def _rotate_lean(module: torch.nn.Module, layout: PackedWeights, ways: Sequence[FusedOps]) -> bool:
    """Let an attention module rotate in one of ``ways`` if it calls a function for that: its forward is made anew, with
    this name of its globals exchanged.
    """
    own = type(module).forward
    if not isinstance(own, types.FunctionType) or _ROTATION not in own.__code__.co_names:
        return False
    rotate = own.__globals__.get(_ROTATION)
    if rotate is None:
        return False
    way = next((way for way in ways if _rotates(rotate, way)), None)
    if way is None:
        return False

    def lean(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *arguments: Any, **options: Any) -> Any:
        # Some rotate a part of each head only.
        plain = not arguments and not options and query.dtype == torch.float32 and cos.shape[-1] == query.shape[-1]
        if not layout.active or not plain:
            return rotate(query, key, cos, sin, *arguments, **options)
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        return way.rotate(query, cos, sin), way.rotate(key, cos, sin)

    names = {**own.__globals__, _ROTATION: lean}
    forward = types.FunctionType(own.__code__, names, own.__name__, own.__defaults__, own.__closure__)
    forward.__kwdefaults__ = own.__kwdefaults__
    module.forward = types.MethodType(forward, module)
    return True


def _rotates(rotate: Callable[..., Any], way: FusedOps) -> bool:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn((1, heads, 5, 8), generator=generator) for heads in (4, 2))
    cos, sin = (torch.randn((1, 5, 8), generator=generator) for _ in range(2))
    try:
        expected = rotate(query, key, cos, sin)
        return all(
            _close(way.rotate(values, cos.unsqueeze(1), sin.unsqueeze(1)), result)
            for values, result in zip((query, key), expected, strict=True)
        )
    except Exception:  # noqa: BLE001 - a family's own function may want anything
        return False


OPERATORS = FusedOps(_norm, lambda activate, gates, values: activate(gates).mul_(values), _rotated)


# -- The fused parts as compiled loops: tensors in, tensors out.


def compiled_ways(threads: int) -> FusedOps:
    """Return the ways that compute in this many threads. Needs numba, whose import and loops take a second."""
    from pytest_evals.engines.transformers.cpu.numba import layers

    def make_norm(weight: Tensor, eps: float) -> ApplyFused:
        size = len(weight)
        weight = weight.contiguous()

        def apply(values: Tensor) -> Tensor:
            values = values.contiguous()
            result = torch.empty(values.shape)
            layers.norm(threads, (values.numel() // size, size), (result, values, weight), eps)
            return result

        return apply

    def gate(activate: ApplyFused, gates: Tensor, values: Tensor) -> Tensor:
        # Taken to be SiLU: with another activation the block is found to compute something else.
        del activate
        result, size = torch.empty(gates.shape), gates.shape[-1]
        gates, values = gates.reshape(-1, size), values.reshape(-1, size)
        if gates.stride() != values.stride() or gates.stride(1) != 1:
            gates, values = gates.contiguous(), values.contiguous()
        layers.gate(threads, (len(gates), size, gates.stride(0)), (result, gates, values))
        return result

    def rotate(values: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        tokens = values[0].transpose(0, 1)
        count, heads, head = tokens.shape
        if tokens.stride()[1:] != (head, 1):
            tokens = tokens.contiguous()
        result = torch.empty(tokens.shape)
        tensors = result, tokens, cos.contiguous(), sin.contiguous()
        layers.rotate(threads, (count, heads, head, tokens.stride(0)), tensors)
        return result.transpose(0, 1).unsqueeze(0)

    return FusedOps(make_norm, gate, rotate)
