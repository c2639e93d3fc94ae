"""What a model takes, read from its files without loading it."""

from __future__ import annotations

import functools
import json
import os
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_evals.engines.embedded import EMBEDDED

EMBEDDED_FOOTPRINT_PARAMETERS = 134_515_008
EMBEDDED_CACHE_NUMBERS = 2 * 30 * 3 * 64
"""Layers, key-value heads and head size of SmolLM2-135M, twice: a key and a value."""
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True, slots=True)
class Footprint:
    """Numbers of a model: its parameters, and what its cache keeps a token."""

    parameters: int
    cache_numbers: int

    def weights_bytes(self, dtype: str) -> int:
        """Bytes of the weights in ``dtype`` (fp32, bf16, fp16)."""
        return self.parameters * BYTES[dtype]

    def cache_bytes(self, dtype: str) -> int:
        """Bytes of keys and values, a token."""
        return self.cache_numbers * BYTES[dtype]


def footprint_of_files(name: str) -> Footprint | None:
    """Return what a transformers model takes, `None` for one that is not on this disk or is not a model."""
    if name == EMBEDDED:
        return Footprint(EMBEDDED_FOOTPRINT_PARAMETERS, EMBEDDED_CACHE_NUMBERS)
    folder = Path(name)
    if folder.suffix == ".gguf" and folder.is_file():
        from pytest_evals.engines.checkpoints.gguf_files import gguf_footprint

        return gguf_footprint(folder)
    if not folder.is_dir():
        return None
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        parameters = sum(_parameters(path) for path in folder.glob("*.safetensors"))
        return Footprint(parameters, cache_numbers(config.get("text_config", config).get)) if parameters else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, struct.error):
        # A plan is an estimate; what the loader makes of such files is said when they are loaded.
        return None


def _parameters(path: Path) -> int:
    """Sum up the shapes in the header of a safetensors file: eight bytes of length, then JSON."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > path.stat().st_size:
            raise ValueError(f"{path} is not a safetensors file")
        header: dict[str, Any] = json.loads(file.read(length))
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            number = 1
            for extent in tensor["shape"]:
                number *= extent
            total += number
    return total


def cache_numbers(setting: Callable[[str], Any]) -> int:
    """Return how many numbers a model keeps a token: keys and values of all layers. ``setting`` looks up its configuration.

    With latent attention (DeepSeek's) transformers keeps what the latent is expanded to: keys of two parts and values of
    another size, for every head.
    """
    layers, heads = setting("num_hidden_layers"), _largest(setting("num_attention_heads"))
    heads = 1 if heads is None else heads
    if setting("kv_lora_rank"):
        key_size = (setting("qk_nope_head_dim") or 0) + (setting("qk_rope_head_dim") or 0)
        value_size = setting("v_head_dim") or key_size
        return int(layers * heads * (key_size + value_size))
    head_size = _largest(setting("head_dim")) or _largest(setting("hidden_size")) // heads
    return int(2 * layers * (_largest(setting("num_key_value_heads")) or heads) * head_size)


def _largest(value: Any) -> Any:
    """Return a setting; of one that has a value for each layer the largest."""
    return max(value, default=None) if isinstance(value, (list, tuple)) else value


# -- What this machine has, found out without loading torch.


@functools.cache
def gpu_count() -> int:
    """Return how many NVIDIA GPUs this process may use: ``CUDA_VISIBLE_DEVICES``, or what the driver lists."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([entry for entry in visible.split(",") if entry.strip() and entry.strip() != "-1"])
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S607 - the driver's tool is wherever the system has it
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def free_memory() -> int | None:
    """Return the bytes of main memory that are free. With a GPU `None`: its memory is not seen from here."""
    if gpu_count():
        return None
    import psutil

    return int(psutil.virtual_memory().available)
