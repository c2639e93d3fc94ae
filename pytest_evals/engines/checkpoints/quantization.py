"""Quantised weights: which packages and devices they need, known before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from pytest_evals.errors import ModelError


@dataclass(frozen=True, slots=True)
class Needs:
    """What a method of quantisation needs: ``packages`` by their names on the index, and one of ``devices``, if only some will do."""

    packages: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


WISHES = {
    "bnb4": Needs(("bitsandbytes",), ("cpu", "cuda")),
    "bnb8": Needs(("bitsandbytes",), ("cpu", "cuda")),
    "int8": Needs(("torchao",), ("cpu", "cuda")),
}
"""What ``?quantize=`` may be."""
EXTRA = "pip install 'pytest-evals-hf[quantized]'"
_OF_EXTRA = frozenset({"bitsandbytes", "torchao", "compressed-tensors"})
CHECKPOINTS = {
    "aqlm": Needs(("aqlm",)),
    "auto-round": Needs(("auto-round",)),
    "awq": Needs(("gptqmodel",)),
    "bitnet": Needs(),
    "bitsandbytes": Needs(("bitsandbytes",), ("cpu", "cuda")),
    "compressed-tensors": Needs(("compressed-tensors",)),
    "eetq": Needs(("kernels",), ("cuda",)),
    "fbgemm_fp8": Needs(("fbgemm-gpu",), ("cuda",)),
    "fouroversix": Needs(("fouroversix",), ("cuda",)),
    "fp8": Needs(),
    "fp_quant": Needs(("fp_quant",), ("cuda",)),
    "gptq": Needs(("optimum", "gptqmodel")),
    "higgs": Needs(("flute-kernel", "fast_hadamard_transform"), ("cuda",)),
    "hqq": Needs(("hqq",)),
    "mxfp4": Needs(),
    "mxfp8": Needs(),
    "quanto": Needs(("optimum-quanto",)),
    "quark": Needs(("amd-quark",)),
    "sinq": Needs(("sinq",)),
    "spqr": Needs(("spqr_quant",), ("cuda",)),
    "torchao": Needs(("torchao",)),
    "vptq": Needs(("vptq",), ("cuda",)),
}
"""Methods that checkpoints name in their configuration, as transformers loads them. It knows more; those are its to judge."""


def method_of(config: Mapping[str, Any]) -> str | None:
    """Return the method by which the weights of a configuration are quantised, `None` where they are not."""
    text = config.get("text_config")
    for each in (config, text if isinstance(text, Mapping) else {}):
        told = each.get("quantization_config")
        if isinstance(told, Mapping) and told:
            if told.get("load_in_4bit") or told.get("load_in_8bit"):
                return "bitsandbytes"
            return str(told["quant_method"]) if told.get("quant_method") else _nameless(told)
        if isinstance(each.get("quantization"), Mapping):
            return _nameless(each["quantization"])
    return None


def _nameless(told: Mapping[str, Any]) -> str:
    return "mlx" if {"group_size", "bits"} <= set(told) else "an unnamed method"


def check_quantized(config: Mapping[str, Any], wish: str | None, device: str | None, written: str) -> None:
    """Raise `ModelError` for weights that cannot be loaded here.

    Args:
        config: The model's configuration.
        wish: What ``?quantize=`` asks for.
        device: The device, `None` (or auto) where it is not known yet.
        written: The specification.
    """
    method = method_of(config)
    if method is not None and wish is not None:
        raise ModelError(
            f"model {written!r}: its weights are quantised already ({method} in its config.json); leave quantize={wish} out"
        )
    if method == "mlx":
        raise ModelError(
            f"model {written!r}: its weights are quantised for MLX, which transformers cannot load; use the weights that they "
            "were made from, with ?quantize=bnb4 or bnb8"
        )
    if wish is not None:
        _check(WISHES[wish], f"model {written!r}: quantize={wish}", device)
    elif method is not None:
        _check(CHECKPOINTS.get(method, Needs()), f"model {written!r}: its weights, quantised by {method},", device)


def _check(needs: Needs, what: str, device: str | None) -> None:
    kind = (device or "auto").partition(":")[0]
    if needs.devices and kind not in ("auto", *needs.devices):
        wanted = " or ".join({"cuda": "a CUDA GPU", "cpu": "a CPU", "mps": "MPS"}[each] for each in needs.devices)
        raise ModelError(f"{what} can be used on {wanted} only, and the device is {device}")
    missing = [name for name in needs.packages if not installed(name)]
    if missing:
        command = EXTRA if _OF_EXTRA.issuperset(missing) else f"pip install {' '.join(missing)}"
        raise ModelError(
            f"{what} need{'s' if 'quantize=' in what else ''} {' and '.join(missing)}, not installed here: {command}"
        )


def installed(distribution: str) -> bool:
    """Tell whether a distribution is installed; nothing is imported."""
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
