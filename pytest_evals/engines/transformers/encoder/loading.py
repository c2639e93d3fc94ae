"""Loads a sequence classifier or reward model, and refuses one whose weights are not all there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from pytest_evals.engines.encoder_kind import HEAD, label_names
from pytest_evals.engines.model_cache import files_digest
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.engines.transformers.device import choose_dtype, settle_on
from pytest_evals.engines.transformers.encoder.inputs import InputEncoder, token_limit
from pytest_evals.engines.transformers.loading import device_of
from pytest_evals.errors import ModelError

VERSION = 1
"""Part of every fingerprint; raise it when the same request may give other numbers."""
_MOST_KEYS = 4


@dataclass(frozen=True, slots=True)
class LoadedClassifier:
    """A model ready to run. ``padding`` is the id that shorter texts are filled up with, `None` where batches cannot be padded."""

    model: Any
    tokenizer: Any
    inputs: InputEncoder
    labels: tuple[str, ...]
    problem: str | None
    device: str
    dtype: str
    padding: int | None
    identity: dict[str, Any]


def load_classifier(spec: ModelSpec, options: dict[str, Any], report: Callable[[str], None]) -> LoadedClassifier:
    """Load the model that ``spec`` names. Raises `ModelError` where that cannot be done honestly."""
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers annotates it not
    device = device_of(spec, options)
    try:
        config = transformers.AutoConfig.from_pretrained(spec.name, revision=spec.revision)
        dtype = _dtype(spec, options, device, config)
        report(f"loading on {device} as {dtype}")
        tokenizer = transformers.AutoTokenizer.from_pretrained(spec.name, revision=spec.revision)
        model, info = transformers.AutoModelForSequenceClassification.from_pretrained(
            spec.name, revision=spec.revision, dtype=getattr(torch, dtype), output_loading_info=True
        )
    except Exception as error:  # a damaged or unknown model makes its loader raise anything
        reason = (str(error).strip() or "no message").splitlines()[0]
        raise ModelError(f"model {spec.text!r} cannot be loaded: {type(error).__name__}: {reason}") from error
    _check_weights(spec, config, info)
    model.to(device)
    model.eval()
    if device.startswith("cuda"):
        settle_on(device, dtype)
    labels = label_names(model.config.id2label, model.config.num_labels)
    return LoadedClassifier(
        model,
        tokenizer,
        InputEncoder(tokenizer, token_limit(model, tokenizer), spec.short),
        labels,
        model.config.problem_type,
        device,
        dtype,
        _padding(model, tokenizer),
        _identity(spec, model, dtype),
    )


def _dtype(spec: ModelSpec, options: dict[str, Any], device: str, config: Any) -> str:
    wish = "fp32" if options.get("exact") else spec.options.get("dtype", options["dtype"])
    encoders = transformers.models.auto.modeling_auto.MODEL_FOR_MASKED_LM_MAPPING
    if wish == "auto" and type(config) in encoders:
        # Small ones gain little from fewer digits, and their probabilities would lose some.
        wish = "fp32"
    bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    return choose_dtype(wish, device, bf16=bf16)


def _check_weights(spec: ModelSpec, config: Any, info: dict[str, Any]) -> None:
    """Refuse a model that has random numbers where its files have none: it would answer differently each time."""
    missing = [*map(str, info.get("missing_keys") or ())]
    mismatched = [str(key[0] if isinstance(key, tuple) else key) for key in info.get("mismatched_keys") or ()]
    for what, keys in (("no weights for", missing), ("weights of another shape for", mismatched)):
        if keys:
            shown = ", ".join(sorted(keys)[:_MOST_KEYS]) + (", ..." if len(keys) > _MOST_KEYS else "")
            was = ", ".join(config.architectures or ()) or "a model of an unknown kind"
            raise ModelError(
                f"model {spec.text!r} has {what} {shown}, which would be made up: it was saved as {was}; name a fine-tuned *{HEAD}"
            )


def _padding(model: Any, tokenizer: Any) -> int | None:
    """Return the id to pad with. A decoder finds its last token by the model's own id, and without one takes a single text."""
    text = model.config.get_text_config()
    own = next(
        (each for each in (model.config.pad_token_id, getattr(text, "pad_token_id", None)) if each is not None), None
    )
    if own is not None:
        return int(own)
    causal = type(model.config) in transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING
    masked = type(model.config) in transformers.models.auto.modeling_auto.MODEL_FOR_MASKED_LM_MAPPING
    return None if causal and not masked else tokenizer.pad_token_id


def _identity(spec: ModelSpec, model: Any, dtype: str) -> dict[str, Any]:
    folder = Path(spec.name)
    weights = f"{spec.name}@{getattr(model.config, '_commit_hash', None)}"
    with contextlib.suppress(OSError):
        weights = files_digest(folder) if folder.is_dir() else weights
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    return {"engine": "encoder", "weights": weights, "dtype": dtype, "version": VERSION, **versions}
