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
    # transformers marks the model as quantised with a method that it cannot save; the weights are plain by now.
    del model.config.quantization_config
    delattr(model, "hf_quantizer")
    model.save_pretrained(work)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, **where)
    except Exception:  # noqa: BLE001 - a tokenizer that cannot be converted may be named with ?tokenizer=; else this is said when it is missed
        return
    tokenizer.save_pretrained(work)


def _settle(work: Path, folder: Path) -> None:
    try:
        work.rename(folder)
    except OSError:
        # Another process was faster; its result is the same.
        if not folder.is_dir():
            raise
