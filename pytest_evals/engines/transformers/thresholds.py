"""Lengths beyond which a model computes in another way: windows, sparse budgets, capacities of experts, and switches of its rotary
positions.

What is tried at load is a few tokens long, and such a length may be thousands. So, for the time of a try, it is lowered: the model
then shows with a few tokens what it does beyond it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

LOWERED = 8
"""What windows and sparse budgets are lowered to, in tokens."""
_LENGTHS = re.compile(r"_?(?:\w*sliding_window|\w*window_size|(?:local_)?attention_window|window|index_topk|attention_chunk_size|max_window_layers_length)\Z")
_CAPACITIES = re.compile(r"(?:expert_capacity|\w*expert_capacity)\Z")


@contextmanager
def lowered(model: Any) -> Iterator[int | None]:
    """Lower the lengths for a while; gives the least of those that were larger, `None` where there is none."""
    undo: list[tuple[dict[str, Any], str, Any]] = []
    found: list[int] = []
    for values in _settings(model):
        for name, value in list(values.items()):
            size = _lower_size(name)
            if size is not None and type(value) is int and value > size:
                undo.append((values, name, value))
                values[name] = size
                found.append(value)
    try:
        yield min(found, default=None)
    finally:
        for values, name, value in undo:
            values[name] = value


def _lower_size(name: str) -> int | None:
    if _CAPACITIES.match(name):
        return 1
    return LOWERED if _LENGTHS.match(name) else None


def _settings(model: Any) -> Iterator[dict[str, Any]]:
    """Yield what configurations and modules know by name, also of single layers."""
    seen = set()
    for module in model.modules():
        yield module.__dict__
        config = module.__dict__.get("config")
        if config is None or id(config) in seen:
            continue
        seen.add(id(config))
        yield config.__dict__
        layers = getattr(config.__dict__.get("_heterogeneity_spec"), "per_layer_overrides", None)
        if isinstance(layers, Mapping):
            yield from (layer for layer in layers.values() if isinstance(layer, dict))


# -- Rotary positions that depend on the longest sequence of a forward.


def rope_switch(model: Any) -> int | None:
    """Return the length from which on frequencies are others for every row of a forward, `None` where they never are."""
    lengths = [
        length for module in model.modules() for kind in _rope_kinds(module) if (length := _switch_of(module, kind)) is not None
    ]
    return min(lengths, default=None)


def _rope_kinds(module: Any) -> list[tuple[str | None, str]]:
    """Return the kinds of rotary positions of a module, by type of layer where it has several."""
    kind = module.__dict__.get("rope_type")
    if isinstance(kind, Mapping):
        return [(str(layer), str(each)) for layer, each in kind.items()]
    return [(None, kind)] if isinstance(kind, str) else []


def _switch_of(module: Any, kind: tuple[str | None, str]) -> int | None:
    layer, name = kind
    if "dynamic" in name:
        return int(module.original_max_seq_len)
    if name != "longrope":
        return None
    parameters = module.config.rope_parameters
    return int((parameters if layer is None else parameters[layer])["original_max_position_embeddings"])


def restore_rope(model: Any) -> None:
    """Forget how long earlier sequences were: what one of them changed would be kept for the next."""
    for module in model.modules():
        for layer, name in _rope_kinds(module):
            if "dynamic" not in name:
                continue
            prefix = "" if layer is None else f"{layer}_"
            frequencies = getattr(module, f"{prefix}original_inv_freq").to(getattr(module, f"{prefix}inv_freq").device)
            module.register_buffer(f"{prefix}inv_freq", frequencies, persistent=False)
            setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)
