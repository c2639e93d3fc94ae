"""Where a model runs, in which precision, and how much of it fits: decided from facts, so that it is tested without a
GPU.
"""

from __future__ import annotations

from typing import Any

from pytest_evals.engines.transformers.scheduler import Budget
from pytest_evals.errors import ModelError

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
ROWS = {"cpu": 64, "cuda": 256, "mps": 32}
"""Rows of a batch when ``--evals-batch`` is auto. A CPU is busy at 64; a GPU takes more before it is."""
SHARE_OF_FREE_MEMORY = {"cpu": 0.4, "cuda": 0.8, "mps": 0.4}
CPU_CELLS = 32_768
"""Upper limit of a batch on a CPU, where one forward over more would leave everybody without news for minutes."""


def choose_device(wish: str, *, cuda: bool, mps: bool) -> str:
    """Return the device for the option ``wish``, given what there is. Raises `ModelError` for one that is not there."""
    if wish == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    kind = wish.partition(":")[0]
    if (kind == "cuda" and not cuda) or (kind == "mps" and not mps):
        raise ModelError(f"device {wish!r} is not available to torch here; use --evals-device=auto or cpu")
    return wish


def choose_dtype(wish: str, device: str, *, bf16: bool) -> str:
    """Return the dtype for the option ``wish``.

    ``auto`` is fp32 on a CPU: bf16 is slower there without special instructions, and results would depend on the batch.
    A GPU gets bf16 where it can, else fp16.
    """
    if wish != "auto":
        return DTYPES[wish]
    if device == "cpu":
        return DTYPES["fp32"]
    return DTYPES["bf16" if bf16 else "fp16"]


def cell_bytes(config: Any, size: int) -> int:
    """Return the bytes that one token takes: its keys and values in all layers, and its share of a layer's activations.

    ``config`` is a transformers text config; ``size`` is the bytes of one number.
    """
    heads = getattr(config, "num_attention_heads", 1)
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = 2 * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads) * head_size
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    passing = 4 * config.hidden_size + 3 * (inner if isinstance(inner, int) else max(inner))
    return int(size * (kept + passing))


def choose_budget(wish: str, device: str, *, free: int, cell: int, logits: int, one_by_one: bool) -> Budget:
    """Return what one batch may take.

    Args:
        wish: ``auto`` or a number of rows.
        device: As `choose_device` returned it.
        free: Bytes free on the device, after the model is loaded.
        cell: Bytes of one token, see `cell_bytes`.
        logits: Bytes of one row's logits.
        one_by_one: The model's cache cannot hold rows of different lengths; each row is a batch.
    """
    kind = device.partition(":")[0]
    rows = 1 if one_by_one else ROWS.get(kind, 32) if wish == "auto" else int(wish)
    usable = max(0, int(free * SHARE_OF_FREE_MEMORY.get(kind, 0.4)) - 2 * rows * logits)
    cells = max(1, usable // cell)
    return Budget(rows, min(cells, CPU_CELLS) if kind == "cpu" else cells)
