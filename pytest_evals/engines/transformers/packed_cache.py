"""What a model of which the packed attention is a part sees as its cache."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache


class PackedCache(Cache):
    """What a model sees as its cache: it keeps nothing, because the attention function writes to the slots itself."""

    def __init__(self) -> None:
        super().__init__(layers=[])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new keys and values as they are."""
        del layer_idx, args, kwargs
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Nothing: positions are always given."""
        del layer_idx
        return 0
