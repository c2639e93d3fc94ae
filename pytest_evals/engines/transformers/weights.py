"""Loads the weights of a model, all of them: what is missing is never made up.

transformers fills in weights that a checkpoint does not have with random numbers, so that a model can be trained further. A model
that is evaluated would answer differently in each process. So what was loaded is compared with what the model is made of.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

from pytest_evals.engines.checkpoints.quantization import check_quantized, method_of
from pytest_evals.errors import ModelError

_SHOWN = 4
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_OF_QUANTIZATION = (
    "_scale",
    "_scale_inv",
    "_zero_point",
    "scales",
    "qzeros",
    "qweight",
    "g_idx",
    "_absmax",
    "quant_state",
)


def load_weights(kind: Any, source: str, **options: Any) -> Any:
    """Return the model in ``source`` as ``kind``, a class of transformers, loads it with ``options``.

    Raises `ModelError` for weights that are missing, of another shape, or more than the model is made of.
    """
    with messages_of_transformers() as said:
        try:
            model, found = kind.from_pretrained(
                source, output_loading_info=True, ignore_mismatched_sizes=True, **options
            )
        except RuntimeError as error:
            report = next((text for text in reversed(said) if "LOAD REPORT" in text), None)
            if report is None:
                raise
            raise ModelError(f"its weights cannot be loaded: {error}\n{report}") from error
    check_loaded(model, found)
    return model


def check_loaded(model: Any, found: Mapping[str, Any]) -> None:
    """Raise `ModelError` where ``found``, what transformers says of the weights that it loaded, shows that they are not those of the
    model.
    """
    missing = sorted(found["missing_keys"])
    shapes = sorted((name, tuple(there), tuple(here)) for name, there, here in found["mismatched_keys"])
    unexpected = sorted(found["unexpected_keys"])
    more = _that_matter(model, unexpected)
    if missing:
        raise ModelError(
            f"{len(missing)} of its weights are not in the checkpoint ({listed(missing)}), and would be random numbers: "
            f"{_reason(model, missing, unexpected)}"
        )
    if shapes:
        described = [
            f"{name} is {list(there)} in the checkpoint and {list(here)} by config.json" for name, there, here in shapes
        ]
        raise ModelError(
            f"{len(shapes)} of its weights have other shapes than config.json says ({listed(described)}); the weights and config.json "
            "must be of the same model"
        )
    if more:
        raise ModelError(
            f"the checkpoint has {len(more)} weights that the model would not use ({listed(more)}), although they belong to its "
            "layers; the weights and config.json must be of the same model"
        )


def listed(names: Sequence[str]) -> str:
    """Return the first few names, for an error about weights."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _reason(model: Any, missing: Sequence[str], unexpected: Sequence[str]) -> str:
    """Say what such a checkpoint most likely is, and what to do."""
    ends = {name.rpartition(".")[0].rpartition(".")[2] for name in unexpected}
    if any("lora_" in name or ".base_layer." in name for name in unexpected):
        return "it was saved with an adapter attached; save the adapter alone, or merge it (merge_and_unload) before saving"
    if ends & {"score", "classifier", "v_head", "value_head", "reward_head", "classification_head"}:
        return "it is a classifier or a reward model, which does not write text; name a model for text generation"
    if any(name.endswith(_OF_QUANTIZATION) for name in unexpected):
        return "its weights are quantised, and its config.json has no quantization_config that says how; copy the original config.json"
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    names = {
        name
        for name, parameter in model.named_parameters()
        if output is not None and parameter is getattr(output, "weight", None)
    }
    if set(missing) <= names:
        return (
            "it was saved without its output layer, as an encoder or an embedding model is; name a model for text generation, or save "
            "it with AutoModelForCausalLM"
        )
    if unexpected:
        return (
            f"the checkpoint has {len(unexpected)} others instead ({listed(unexpected)}); the weights and config.json must be of the "
            "same model"
        )
    return "a part of the checkpoint is missing; copy or download it again"


def _that_matter(model: Any, unexpected: Iterable[str]) -> list[str]:
    """Return which of the weights that the model has no place for change what it computes: those of layers like its own, and those
    of parts that it has. Others are heads for other tasks.
    """
    own = {_NUMBER.sub("#", name) for name, _ in model.named_parameters()}
    leaves = {
        name
        for name, module in model.named_modules()
        if name and not any(True for _ in module.children()) and any(True for _ in module.parameters(recurse=False))
    }
    quantized = getattr(model.config, "quantization_config", None) is not None
    found = []
    for name in unexpected:
        if _NUMBER.sub("#", name) in own:
            found.append(name)
        elif name.rpartition(".")[0] in leaves:
            last = name.rpartition(".")[2]
            if last == "bias" or (not quantized and last.endswith(_OF_QUANTIZATION)):
                found.append(name)
    return found


@contextmanager
def messages_of_transformers() -> Iterator[list[str]]:
    """Collect what transformers warns of, which it says with its own words and without the reason of an error that follows."""
    said: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(_STYLE.sub("", record.getMessage()))

    logger = logging.getLogger("transformers")
    before, handlers, collector = logger.level, list(logger.handlers), Collector(logging.WARNING)
    logger.handlers = [collector]
    logger.setLevel(min(before, logging.WARNING) or logging.WARNING)
    try:
        yield said
    finally:
        logger.handlers = handlers
        logger.setLevel(before)


# -- Quantised weights


def quantized(wish: str | None, config: Any, dtype: torch.dtype, device: str, written: str) -> dict[str, Any]:
    """Return the options with which weights that are quantised, or are to be, are loaded.

    Raises `ModelError` for those that cannot be loaded on this device, before they are read.
    """
    told = config.to_dict()
    check_quantized(told, wish, device, written)
    method = method_of(told)
    if method is not None and method != "bitsandbytes":
        known = AUTO_QUANTIZATION_CONFIG_MAPPING
        if method not in known:
            raise ModelError(
                f"model {written!r}: its weights are quantised by {method!r}, which transformers {transformers.__version__} does not know "
                f"(known: {', '.join(sorted(known))})"
            )
    if method is None and wish is None:
        return {}
    # It logs each of its casts.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # Such weights cannot be moved afterwards.
    placed = {} if device == "cpu" else {"device_map": {"": device}}
    if wish is None:
        return placed
    return {**placed, "quantization_config": _configured(wish, dtype)}


def _configured(wish: str, dtype: torch.dtype) -> Any:
    if wish == "int8":
        from torchao.quantization import Int8WeightOnlyConfig

        return transformers.TorchAoConfig(Int8WeightOnlyConfig())
    make: Any = transformers.BitsAndBytesConfig
    if wish == "bnb8":
        return make(load_in_8bit=True)
    return make(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def mixes_rows(model: torch.nn.Module) -> str | None:
    """Return why what a row gets depends on the other rows of its batch, `None` where it does not.

    LLM.int8() takes the inputs out in which any row is an outlier (Dettmers et al., 2022).
    """
    for module in model.modules():
        if type(module).__name__ == "Linear8bitLt" and getattr(getattr(module, "state", None), "threshold", None):
            return "its 8-bit layers treat outliers of the whole batch apart"
    return None
