"""Where a model runs, in which precision, and how much of it fits: decided from facts, so that it is tested without a
GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_evals.engines.resources import cache_numbers
from pytest_evals.engines.transformers.cuda.buckets import SlotTableSize
from pytest_evals.engines.transformers.scheduling.plan import BatchLimits
from pytest_evals.errors import ModelError

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
ROWS = {"cpu": 64, "cuda": 256, "mps": 32}
"""Rows of a batch when ``--evals-batch`` is auto. A CPU is busy at 64; a GPU takes more before it is."""
TOKENS = {"cpu": 1024, "cuda": 8192, "mps": 2048}
"""Prompt tokens of one forward. More is not faster once the processor is busy, and takes memory."""
CASCADE = 4096
SHARE_OF_FREE_MEMORY = {"cpu": 0.4, "cuda": 0.8, "mps": 0.4}
TABLE_SHARE = 0.8
"""Share of the cells that slots are made for at once; prefixes need some too."""
CPU_CELLS = 32_768
"""Upper limit of a padded batch on a CPU, where one forward over more would leave everybody without news for minutes."""


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


def choose_exact_dtype(wish: str, device: str) -> str:
    """Return the dtype for the option ``wish`` where exactness is asked for: fp32, or bf16 on CUDA where it is named.

    Raises `ModelError` for what cannot be exact.
    """
    if wish in ("auto", "fp32"):
        return DTYPES["fp32"]
    if wish == "bf16" and device.startswith("cuda"):
        return DTYPES["bf16"]
    where = "" if device.startswith("cuda") else ", or on a CUDA device in bf16"
    raise ModelError(f"--evals-exact computes in fp32{where}; dtype={wish} cannot be combined with it on {device}")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What one token takes on the device, in bytes.

    ``kept``: its keys and values in all layers. ``passing``: its activations while it is computed. ``logits``: those of
    one position.
    """

    kept: int
    passing: int
    logits: int


def shape_of(config: Any, size: int) -> ModelShape:
    """Return what a token of a model takes; ``config`` is a transformers text config, ``size`` the bytes of a number.

    Layers may differ in their heads, sizes and widths: then each is asked.
    """
    layers = list(config.per_layer_config) if getattr(config, "is_heterogeneous", False) else []
    width = _widest(layers or [config], "hidden_size", 1)
    inner = _widest(layers or [config], "intermediate_size", 4 * width)
    if layers:
        kept = sum(cache_numbers(lambda name, layer=layer: _of_layer(layer, name)) for layer in layers)  # type: ignore[misc]  # mypy knows no type for a default
    else:
        kept = cache_numbers(lambda name: getattr(config, name, None))
    return ModelShape(int(size * kept), int(size * (8 * width + 3 * inner)), 4 * config.vocab_size)


def _of_layer(layer: Any, name: str) -> Any:
    """Return a setting of one layer."""
    return 1 if name == "num_hidden_layers" else getattr(layer, name, None)


def _widest(configs: Sequence[Any], name: str, usual: int) -> int:
    """Return the largest value of a setting, which may be a list with one for each layer."""
    values = [value for config in configs if (value := getattr(config, name, None))]
    return max((value if isinstance(value, int) else max(value) for value in values), default=usual)


def choose_budget(wish: str, device: str, *, free: int, shape: ModelShape, packed: bool) -> BatchLimits:
    """Return what may be under way at once, so that it fits before anything is allocated.

    Args:
        wish: ``auto`` or a number of rows.
        device: As `choose_device` returned it.
        free: Bytes free on the device, after the model is loaded.
        shape: What a token takes.
        packed: Prompts are computed in pieces. Otherwise a whole padded batch passes through the model at once.
    """
    kind = device.partition(":")[0]
    rows = ROWS.get(kind, 32) if wish == "auto" else int(wish)
    tokens = TOKENS.get(kind, 1024)
    usable = int(free * SHARE_OF_FREE_MEMORY.get(kind, 0.4))
    # Logits of a step are held twice: as the model gives them, and in fp32.
    usable -= 2 * rows * shape.logits
    if not packed:
        cells = max(1, usable // (shape.kept + shape.passing))
        return BatchLimits(rows, min(cells, CPU_CELLS) if kind == "cpu" else cells)
    cells = max(1, (usable - tokens * shape.passing) // max(1, shape.kept))
    # CUDA graphs want one table of keys; there is memory for copies.
    return BatchLimits(rows, cells, tokens, cascade=CASCADE if kind != "cuda" else None)


def table_room(budget: BatchLimits) -> SlotTableSize:
    """Return the slots that are made at once where graphs read them: for all rows that may decode together."""
    return SlotTableSize(budget.rows, int(budget.cells * TABLE_SHARE))


def settle_on(device: str, dtype: str) -> None:
    """Compute on this CUDA device from now on, and in fp32 with all its digits (TF32 has as many as fp16)."""
    import torch

    if torch.device(device).index is not None:
        torch.cuda.set_device(device)
    if dtype == DTYPES["fp32"]:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
