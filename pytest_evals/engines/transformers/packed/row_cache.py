"""The cache of transformers with rows that come and go: keys and values padded on the left, and states, each a row of a tensor.

Models that keep a state have it per row, whatever their lengths; rows can be taken out and put together. Layers with a window keep all
keys here: the model's own mask hides what the window does not reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import (
    DummyLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)

_STATES = ("conv_states", "recurrent_states")
_WITHOUT_WINDOW: dict[type, type] = {
    DynamicSlidingWindowLayer: DynamicLayer,
    LinearAttentionAndSlidingWindowAttentionLayer: LinearAttentionAndFullAttentionLayer,
}
_KNOWN = {DynamicLayer, LinearAttentionLayer, LinearAttentionAndFullAttentionLayer, DummyLayer}


def new_cache(config: Any) -> Any:
    """Return an empty cache for a model. Raises `NotImplementedError` for layers whose rows cannot be told apart."""
    cache: Any = DynamicCache(config=config)
    layers = []
    for layer in cache.layers:
        kind = _WITHOUT_WINDOW.get(type(layer))
        layers.append(layer if kind is None else kind(number_of_states=getattr(layer, "number_of_states", 1)))
    unknown = {type(layer).__name__ for layer in layers if type(layer) not in _KNOWN}
    if unknown:
        raise NotImplementedError(f"its cache has layers of {', '.join(sorted(unknown))}")
    cache.layers = layers
    return cache


def has_keys(cache: Any) -> bool:
    """Tell whether a layer attends to what was before; others need no mask."""
    return any(isinstance(layer, DynamicLayer) for layer in cache.layers)


def width_of(cache: Any) -> int:
    """Return the cells of each row, padding counted; 0 where no layer has keys."""
    return max((keys.shape[-2] for layer in cache.layers if (keys := _keys(layer)) is not None), default=0)


def select_rows(cache: Any, rows: Sequence[int], width: int) -> None:
    """Keep these rows only, and of their keys the last ``width``."""
    for layer in cache.layers:
        if (keys := _keys(layer)) is not None:
            # Copies, so that what is left out is free.
            index = torch.tensor(rows, device=keys.device)
            layer.keys = keys[:, :, keys.shape[-2] - width :].index_select(0, index)
            layer.values = layer.values[:, :, layer.values.shape[-2] - width :].index_select(0, index)
        for states, name in _states(layer):
            index = torch.tensor(rows, device=states[name].device)
            states[name] = states[name].index_select(0, index)


def join_rows(cache: Any, other: Any) -> None:
    """Put the rows of another cache below those of the first; the shorter keys are padded on the left."""
    for layer, more in zip(cache.layers, other.layers, strict=True):
        keys, new = _keys(layer), _keys(more)
        if keys is not None and new is not None:
            width = max(keys.shape[-2], new.shape[-2])
            layer.keys = torch.cat([_widened(keys, width), _widened(new, width)])
            layer.values = torch.cat([_widened(layer.values, width), _widened(more.values, width)])
        for (states, name), (others, _) in zip(_states(layer), _states(more), strict=True):
            states[name] = torch.cat([states[name], others[name]])


def repeated(cache: Any, config: Any, count: int) -> Any:
    """Return a new cache with ``count`` copies of the only row of another."""
    copy = new_cache(config)
    for layer, old in zip(copy.layers, cache.layers, strict=True):
        for name, value in vars(old).items():
            setattr(layer, name, _repeated(value, count))
    return copy


def _repeated(value: Any, count: int) -> Any:
    if isinstance(value, torch.Tensor) and value.dim() > 1:
        return value.repeat_interleave(count, dim=0)
    if isinstance(value, dict):
        return {name: _repeated(each, count) for name, each in value.items()}
    return value


def _widened(keys: torch.Tensor, width: int) -> torch.Tensor:
    return torch.nn.functional.pad(keys, (0, 0, width - keys.shape[-2], 0))


def _keys(layer: Any) -> torch.Tensor | None:
    keys = getattr(layer, "keys", None)
    return keys if isinstance(keys, torch.Tensor) and keys.numel() else None


def _states(layer: Any) -> Iterator[tuple[dict[int, Any], int]]:
    """Yield where the states of a layer are: a dictionary and the key in it."""
    for kind in _STATES:
        states = getattr(layer, kind, None) or {}
        for name, state in states.items():
            if state is not None:
                yield states, name
