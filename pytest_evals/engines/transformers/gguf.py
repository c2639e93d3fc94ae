"""GGUF files: converted once to what transformers loads fast, and kept."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from pytest_evals.engines.checkpoints.gguf_files import read_gguf
from pytest_evals.engines.model_cache import conversion_of
from pytest_evals.engines.transformers.weights import check_loaded, messages_of_transformers
from pytest_evals.errors import ModelError

_GIGA = 1e9


def converted(gguf: Path, report: Callable[[str], None]) -> Path:
    """Return the folder with the weights of ``gguf`` as safetensors, converting them if that was not done before.

    Reading GGUF through transformers takes half a minute, the result a third of a second. The folder appears whole or
    not at all: it is written beside its place and renamed. Raises `ModelError` for a file that transformers cannot read.
    """
    folder = conversion_of(gguf)
    if folder.is_dir():
        return folder
    report(f"converting {gguf.name} once, about half a minute for 100 MB (kept in {folder.parent})")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="converting-", dir=folder.parent))
    except OSError as error:
        raise ModelError(
            f"{folder.parent} cannot be written ({error.strerror}); set PYTEST_EVALS_CACHE to another folder"
        ) from error
    try:
        _convert(gguf, work)
        _settle(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _check_room(gguf: Path, work: Path) -> None:
    try:
        need = 4 * read_gguf(gguf).parameters
    except ValueError as error:
        raise ModelError(f"{gguf} is no GGUF file that can be read: {error}") from error
    free = shutil.disk_usage(work).free
    if free < need:
        raise ModelError(
            f"the converted weights of {gguf.name} take {need / _GIGA:.1f} GB, and {work.parent} has {free / _GIGA:.1f} GB free; set "
            "PYTEST_EVALS_CACHE to a folder with more room"
        )


def _convert(gguf: Path, work: Path) -> None:
    _check_room(gguf, work)
    where: dict[str, Any] = {"gguf_file": gguf.name}
    try:
        config = transformers.AutoConfig.from_pretrained(gguf.parent, **where)
    except ValueError as error:
        if "not supported" not in str(error):
            raise
        from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

        known = sorted(set(GGUF_SUPPORTED_ARCHITECTURES) - {"general", "tokenizer"})
        raise ModelError(
            f"{gguf.name} holds a model of the architecture {read_gguf(gguf).architecture!r}, which transformers "
            f"{transformers.__version__} cannot read from GGUF files (it can: {', '.join(known)}); use the same model in the format of "
            "transformers, or serve the file with llama.cpp and name it as openai:NAME@URL"
        ) from error
    kind: Any = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    with messages_of_transformers():
        model, found = kind.from_pretrained(gguf.parent, dtype=torch.float32, output_loading_info=True, **where)
    check_loaded(model, found)
    scaling = rope_scaling(gguf, model.config)
    if scaling is not None:
        model.config.rope_parameters = scaling
    # transformers marks the model as quantised with a method that it cannot save; the weights are plain by now.
    del model.config.quantization_config
    delattr(model, "hf_quantizer")
    model.save_pretrained(work)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, **where)
    except Exception:  # noqa: BLE001 - a tokenizer that cannot be converted may be named with ?tokenizer=; else this is said when it is missed
        return
    tokenizer.save_pretrained(work)


_LLAMA_3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
_FACTORS = "rope_freqs.weight"


def rope_scaling(gguf: Path, config: Any) -> dict[str, Any] | None:
    """Return how a file scales rotary positions, `None` where it does not, or transformers has read it. It reads it for few
    architectures, and leaves it out for others without a word.

    llama.cpp keeps the scaling of Llama 3 as a factor for each frequency: the one that its formula gives. Raises `ModelError` for
    factors of another origin, and for other kinds of scaling.
    """
    header = read_gguf(gguf)
    told = getattr(config, "rope_parameters", None) or {}
    if told.get("rope_type", "default") != "default":
        return None
    kind = header.metadata.get(f"{header.architecture}.rope.scaling.type", "none")
    named = [
        name for name in header.tensors if name in (_FACTORS, "rope_factors_long.weight", "rope_factors_short.weight")
    ]
    if named == [_FACTORS] and kind == "none":
        factors = _factors(gguf)
        scaling = {"rope_type": "llama3", "rope_theta": told["rope_theta"], "factor": float(factors.max()), **_LLAMA_3}
        if factors.shape == (expected := llama3_factors(scaling, 2 * len(factors))).shape and torch.allclose(
            factors, expected, rtol=1e-3
        ):
            return scaling
    if named or kind != "none":
        raise ModelError(
            f"{gguf.name} scales its rotary positions ({', '.join(named) or kind}), which transformers {transformers.__version__} does not "
            "read from GGUF files, so that texts would be others; use the same model in the format of transformers, or serve the file with "
            "llama.cpp and name it as openai:NAME@URL"
        )
    return None


def _factors(gguf: Path) -> torch.Tensor:
    from gguf import GGUFReader

    return next(torch.tensor(each.data).float() for each in GGUFReader(gguf).tensors if each.name == _FACTORS)


def llama3_factors(scaling: dict[str, Any], size: int) -> torch.Tensor:
    """Return by what each frequency of heads of ``size`` is divided, as in Llama 3.1's own code."""
    lengths = 2 * torch.pi * scaling["rope_theta"] ** (torch.arange(0, size, 2) / size)
    context, factor = scaling["original_max_position_embeddings"], scaling["factor"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    share = ((context / lengths - low) / (high - low)).clamp(0, 1)
    factors: torch.Tensor = 1 / ((1 - share) / factor + share)
    return factors


def _settle(work: Path, folder: Path) -> None:
    try:
        work.rename(folder)
    except OSError:
        # Another process was faster; its result is the same.
        if not folder.is_dir():
            raise
