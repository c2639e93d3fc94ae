"""Finds a model's files, and loads model and tokenizer."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.distributed.configuration_utils import DistributedConfig
from transformers.utils.hub import cached_file

from pytest_evals.engines.checkpoints.adapters import CONFIG, read_adapter
from pytest_evals.engines.checkpoints.architectures import check_architectures
from pytest_evals.engines.embedded import EMBEDDED, EMBEDDED_REPOSITORY, embedded_weights
from pytest_evals.engines.identity import tokenizer_identity
from pytest_evals.engines.model_cache import files_digest, gguf_digest
from pytest_evals.engines.model_folder import is_gguf
from pytest_evals.engines.run_date import run_date
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.engines.transformers.chat_templates import reads_date, turn_ends
from pytest_evals.engines.transformers.device import choose_device, choose_dtype, choose_exact_dtype
from pytest_evals.engines.transformers.gguf import converted
from pytest_evals.engines.transformers.load_errors import load_failure
from pytest_evals.engines.transformers.multimodal import (
    MULTIMODAL,
    NO_PROCESSOR,
    Processor,
    is_multimodal,
    load_processor,
    reading_versions,
)
from pytest_evals.engines.transformers.progress import told_progress
from pytest_evals.engines.transformers.weights import load_weights, quantized
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


def device_of(spec: ModelSpec, options: Mapping[str, Any]) -> str:
    """Return the device that a model is loaded on; replicas on GPUs take turns among them. Raises `ModelError`."""
    device = choose_device(
        spec.options.get("device", options["device"]),
        cuda=torch.cuda.is_available(),
        mps=torch.backends.mps.is_available(),
    )
    if device == "cuda" and options.get("replicas", 1) > 1:
        return f"cuda:{options['replica'] % torch.cuda.device_count()}"
    return device


def load_model(spec: ModelSpec, options: dict[str, Any], report: Callable[[str], None]) -> LoadedModel:
    """Load the model that ``spec`` names. Options in the specification win over ``options``. Raises `ModelError`."""
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers annotates it not
    device = device_of(spec, options)
    bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    wish = spec.options.get("dtype", options["dtype"])
    dtype = choose_exact_dtype(wish, device) if options.get("exact") else choose_dtype(wish, device, bf16=bf16)
    ranks = spec.options.get("tp", 1)
    if device == "cuda" and ranks > 1:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        source = _source(spec, report)
        report(f"loading on {device} as {dtype}")
        with told_progress(report, source, spec.revision, spec.options.get("subfolder")):
            model, tokenizer, processor = _load(source, spec, getattr(torch, dtype), ranks, device)
    except Exception as error:  # a damaged or unknown model makes its loader raise anything
        raise ModelError(load_failure(spec, error)) from error
    if ranks == 1 and getattr(model, "hf_quantizer", None) is None:
        model.to(device)
    model.eval()
    prompts = {name: value for name, value in spec.options.items() if spec.kind.options[name].of_prompts}
    identity = _identity(source, spec, model, tokenizer, dtype)
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
    if is_gguf(spec.name):
        return str(converted(Path(spec.name), report))
    if spec.name != EMBEDDED:
        return spec.name
    weights = embedded_weights()
    return EMBEDDED_REPOSITORY if weights is None else str(converted(weights, report))


def _load(source: str, spec: ModelSpec, dtype: torch.dtype, ranks: int, device: str) -> tuple[Any, Any, Processor]:
    where = _where(source, spec)
    _refuse_adapter(source, spec, where)
    config = transformers.AutoConfig.from_pretrained(source, **where)
    told = config.to_dict()
    check_architectures(told, spec.text, source)
    placed = quantized(spec.options.get("quantize"), config, dtype, device, spec.text)
    processor = load_processor(source, **where) if is_multimodal(config) else NO_PROCESSOR
    tokenizer = load_tokenizer(source, spec, where)
    if processor.kinds:
        # It may have tokens of its own, and the only chat template.
        own = processor.processor
        tokenizer = getattr(own, "tokenizer", None) or tokenizer
        tokenizer.chat_template = getattr(own, "chat_template", None) or tokenizer.chat_template
    divided = {"distributed_config": DistributedConfig(tp_size=ranks)} if ranks > 1 else {}
    model = load_weights(_model_class(config, processor), source, dtype=dtype, **where, **placed, **divided)
    return model, tokenizer, processor


def _where(source: str, spec: ModelSpec) -> dict[str, Any]:
    """Return what transformers is told of where files are, and whether their code may run."""
    # Told either way: where it is not, transformers asks the user at the keyboard.
    where: dict[str, Any] = {"revision": spec.revision, "trust_remote_code": bool(spec.options.get("remote_code"))}
    if "subfolder" in spec.options and not Path(source).is_dir():
        where["subfolder"] = spec.options["subfolder"]
    return where


def _refuse_adapter(source: str, spec: ModelSpec, where: Mapping[str, Any]) -> None:
    """Raise `ModelError` for a repository with an adapter: transformers would load another model than the one that is named, or not,
    by whether PEFT is installed. A folder was looked at before.
    """
    if Path(source).is_dir():
        return
    find: Any = cached_file
    quietly = {name: value for name, value in where.items() if name != "trust_remote_code"} | {
        "_raise_exceptions_for_gated_repo": False,
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,
    }
    found = find(source, CONFIG, **quietly)
    if found is None:
        return
    revision = f"@{spec.revision}" if spec.revision else ""
    base = read_adapter(Path(found), spec.text).base or "BASE"
    raise ModelError(
        f"model {spec.text!r}: {source} holds an adapter; name it with its base: {base}?adapter={source}{revision}"
    )


def load_tokenizer(source: str, spec: ModelSpec, where: Mapping[str, Any]) -> Any:
    """Return the tokenizer that a specification asks for. Raises `ModelError` where it cannot be loaded."""
    named = spec.options.get("tokenizer")
    if named is None:
        if is_gguf(spec.name) and not (Path(source) / "tokenizer_config.json").is_file():
            raise ModelError(
                f"model {spec.text!r}: the tokenizer in {Path(spec.name).name} cannot be read; name the one of the model that it was made "
                "from: ?tokenizer=FOLDER_OR_NAME"
            )
        return transformers.AutoTokenizer.from_pretrained(source, **where)
    place, _, revision = (named, "", "") if Path(named).is_dir() else named.partition("@")
    trusted = where["trust_remote_code"]
    try:
        return transformers.AutoTokenizer.from_pretrained(place, revision=revision or None, trust_remote_code=trusted)
    except Exception as error:  # as above
        raise ModelError(
            f"model {spec.text!r}: the tokenizer {named!r} cannot be loaded: {type(error).__name__}: {error}"
        ) from error


def _model_class(config: Any, processor: Processor) -> Any:
    """Return the class that loads a model: with its towers for images and audio where these can be used, and where there is no
    class without them.
    """
    if config.is_encoder_decoder:
        return transformers.AutoModelForSeq2SeqLM
    tables = transformers.models.auto.modeling_auto
    alone = type(config) in tables.MODEL_FOR_CAUSAL_LM_MAPPING
    if is_multimodal(config) and (processor.kinds or not alone):
        return MULTIMODAL
    # Models that go on from text, and that transformers lists with those of images or recordings alone.
    if not alone and type(config) in tables.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return transformers.AutoModelForImageTextToText
    if not alone and type(config) in tables.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForSeq2SeqLM
    return transformers.AutoModelForCausalLM


def _identity(source: str, spec: ModelSpec, model: Any, tokenizer: Any, dtype: str) -> dict[str, Any]:
    folder = Path(source)
    if is_gguf(spec.name):
        weights = gguf_digest(Path(spec.name))
    else:
        weights = files_digest(folder) if folder.is_dir() else f"{source}@{getattr(model.config, '_commit_hash', None)}"
    asked = {name: spec.options[name] for name in ("quantize", "subfolder", "remote_code") if spec.options.get(name)}
    if "tokenizer" in spec.options:
        asked["tokenizer"] = tokenizer_identity(spec)
    template = hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()[:16]
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    date = {"date": run_date().isoformat()} if reads_date(str(tokenizer.chat_template)) else {}
    return {
        "engine": "transformers",
        "weights": weights,
        "template": template,
        "dtype": dtype,
        **asked,
        **versions,
        **date,
    }
