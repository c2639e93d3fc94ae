"""Lengths beyond which a model computes in another way: windows, sparse budgets, switches of its rotary positions.

What is tried at load is a few tokens long, and a window may be thousands. So, for the time of a try, it is lowered: the model then
shows with a few tokens what it does beyond it. Where rounding may decide, or the longest row does, no try is needed: beyond the length
each row is computed alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

LOWERED = 8
"""What windows and sparse budgets are lowered to, in tokens."""
_LENGTHS = re.compile(
    r"(?:\w*sliding_windows?|\w*window_size|sliding_window_size|(?:local_)?attention_window|index_topk|attention_chunk_size)\Z"
)
_NO_CAPACITY = 1.0
"""An expert that may take this share of a batch takes all that comes."""


@contextmanager
def lowered(model: Any) -> Iterator[int | None]:
    """Lower the lengths for a while; gives the least of those that were larger, `None` where there is none."""
    undo: list[tuple[dict[str, Any], str, Any]] = []
    found: list[int] = []
    for values in _settings(model):
        for name, value in list(values.items()):
            if type(value) is int and value > LOWERED and _LENGTHS.match(name):
                undo.append((values, name, value))
                values[name] = LOWERED
                found.append(value)
    try:
        yield min(found, default=None)
    finally:
        for values, name, value in undo:
            values[name] = value


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


def certain_limit(model: Any) -> int | None:
    """Return the length up to which rows do not depend on each other, `None` where they never do: beyond it rotary positions follow the
    longest row, or only the best tokens are attended to, and rounding decides which these are.
    """
    return min((length for length in (rope_switch(model), sparse_budget(model)) if length is not None), default=None)


def sparse_budget(model: Any) -> int | None:
    """Return how many tokens a layer attends to at most, where it chooses the best; `None` where none chooses."""
    found = []
    for values in _settings(model):
        if isinstance(values.get("index_topk"), int):
            found.append(values["index_topk"])
        if isinstance(values.get("index_topk_blocks"), int):
            found.append(values["index_topk_blocks"] * int(values.get("index_block_size") or 1))
    return min(found, default=None)


def limits_experts(model: Any) -> bool:
    """Tell whether an expert takes a limited number of tokens of a batch, and drops the others."""
    return any(
        values.get("expert_capacity") is not None and values.get("moe_eval_capacity_token_fraction") != _NO_CAPACITY
        for values in _settings(model)
    )


# -- Rotary positions that depend on the longest sequence of a forward.


def rope_switch(model: Any) -> int | None:
    """Return the length from which on frequencies are others for every row of a forward, `None` where they never are."""
    lengths = [
        length
        for module in model.modules()
        for kind in _rope_kinds(module)
        if (length := _switch_of(module, kind)) is not None
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
