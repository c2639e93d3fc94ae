"""What a model would be loaded as, told without loading it.

Most of what identifies a loaded model is in its files, some of it is found out while it is loaded: in which way it can be
run, whether it brings a chat template. So it is kept after each load, under everything that it followed from: the content
of the files, options, versions, the engine's own code, the devices of this machine. Where one of these has changed,
nothing is told, and the model is loaded.
"""

from __future__ import annotations

import ast
import functools
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from pytest_evals.engines.embedded import EMBEDDED, EMBEDDED_REPOSITORY, embedded_weights
from pytest_evals.engines.model_cache import conversion_of, files_digest, gguf_digest, keep, read_kept
from pytest_evals.engines.model_folder import is_gguf
from pytest_evals.engines.protocol import EngineInfo
from pytest_evals.engines.resources import gpu_count
from pytest_evals.engines.run_date import run_date
from pytest_evals.engines.script_sources import script_sources
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.hashing import content_hash

_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "bitsandbytes",
    "compressed-tensors",
    "gptqmodel",
    "optimum",
    "peft",
    "torchao",
    "flash_attn",
    "flash_attn_3",
    "kernels",
    "pillow",
    "torchvision",
    "soundfile",
    "soxr",
)
"""Whose versions decide how a model is loaded and run."""
_SWITCHES = ("CUDA_", "HIP_", "ROCR_", "HSA_", "NVIDIA_", "TORCH", "PYTORCH_", "HF_HUB_OFFLINE")
"""Environment variables that decide which devices are seen and how they compute begin so."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


def cached_identity(spec: ModelSpec, options: Mapping[str, Any], path: Sequence[str]) -> EngineInfo | None:
    """Return what the model would be loaded as, `None` where that is not known. It has no device yet.

    Args:
        spec: The model, without options that only say how prompts are written.
        options: What its engine would be told.
        path: Where modules are looked for.
    """
    return spec.kind.identity(spec, options, path)


def kept_identity(spec: ModelSpec, options: Mapping[str, Any]) -> EngineInfo | None:
    """Return what a model of transformers was loaded as the last time, if everything is still as it was then."""
    weights = _weights(spec)
    kept = read_kept(_place(spec, options, weights)) if weights else {}
    identity = kept.get("identity")
    if not isinstance(identity, dict) or identity.get("weights") != weights:
        return None
    if identity.get("tokenizer") != tokenizer_identity(spec):
        return None
    # Where prompts depend on the day, another day makes another model.
    today = {"date": run_date().isoformat()} if "date" in identity else {}
    return EngineInfo(None, kept.get("dtype"), kept.get("context"), {**identity, **today})


def remember(spec: ModelSpec, options: Mapping[str, Any], info: EngineInfo) -> None:
    """Keep what a model was loaded as."""
    weights = info.identity.get("weights")
    if spec.kind.keeps_identity and weights:
        data = {"model": spec.text, "dtype": info.dtype, "context": info.context, "identity": dict(info.identity)}
        keep(_place(spec, options, str(weights)), data)


def _place(spec: ModelSpec, options: Mapping[str, Any], weights: str) -> Path:
    return place_of("identities", spec, options, weights)


def place_of(kind: str, spec: ModelSpec, options: Mapping[str, Any], weights: str, decides: Sequence[Any] = ()) -> Path:
    """Return the place in the cache folder for what follows from all that decides how a model is loaded: its ``weights``,
    options, versions, the engine's code, this machine, and what ``decides`` beside these.
    """
    # Copies of a model differ in the number of their device alone.
    told = {name: value for name, value in options.items() if name != "replica"}
    everything = [weights, dict(spec.options), told, _versions(), _code(), _machine(), *decides]
    return Path(kind, f"{content_hash(everything, 32)}.json")


def loaded_from(spec: ModelSpec, path: Sequence[str]) -> Any:
    """Return what tells the files apart from which a model is loaded, `None` where that is not known."""
    if spec.name == EMBEDDED and spec.kind.keeps_identity and (gguf := embedded_weights()) is not None:
        # Before its first conversion too.
        return conversion_of(gguf).name
    if spec.kind.keeps_identity:
        return _weights(spec)
    info = cached_identity(spec, {}, path)
    return None if info is None else dict(info.identity)


def _weights(spec: ModelSpec) -> str | None:
    """Return what the engine will call the weights: a digest of their files, or name and commit on the hub."""
    try:
        folder = Path(spec.name)
        if spec.name == EMBEDDED:
            gguf = embedded_weights()
            if gguf is None:
                return _on_hub(replace(spec, name=EMBEDDED_REPOSITORY))
            folder = conversion_of(gguf)
        elif is_gguf(spec.name):
            return gguf_digest(folder)
        elif not folder.is_dir():
            return _on_hub(spec)
        return files_digest(folder)
    except (OSError, metadata.PackageNotFoundError):
        return None


def tokenizer_identity(spec: ModelSpec) -> str | None:
    """Return what identifies the tokenizer that a specification names apart from the weights, `None` where it names none."""
    named = spec.options.get("tokenizer")
    return None if named is None else place_identity(named, "tokenizer_config.json")


def adapter_identity(spec: ModelSpec) -> str | None:
    """Return what identifies the adapter that a specification names, `None` where it names none."""
    named = spec.options.get("adapter")
    return None if named is None else place_identity(named, "adapter_config.json")


def place_identity(place: str, file: str) -> str:
    """Return what identifies the files at a place: a folder, or a name on the hub with a revision, where ``file`` is."""
    folder = Path(place)
    if folder.is_dir():
        return files_digest(folder)
    name, _, revision = place.partition("@")
    return f"{name}@{revision if _COMMIT.fullmatch(revision) else _commit(name, revision or None, file)}"


def _on_hub(spec: ModelSpec) -> str | None:
    commit = spec.revision if spec.revision and _COMMIT.fullmatch(spec.revision) else _commit(spec.name, spec.revision)
    return f"{spec.name}@{commit}" if commit else None


def _commit(name: str, revision: str | None, file: str = "config.json") -> str | None:
    """Return the commit that a revision stands for now: on the hub, or in its cache where that is all there is to be."""
    try:
        import huggingface_hub as hub
        from huggingface_hub import constants

        if constants.HF_HUB_OFFLINE:
            found = hub.try_to_load_from_cache(name, file, revision=revision)
            return Path(found).parent.name if isinstance(found, str) else None
        url = hub.hf_hub_url(name, file, revision=revision)
        return hub.get_hf_file_metadata(url, timeout=5).commit_hash
    except Exception:  # noqa: BLE001 - whatever keeps the hub from answering: loading the model will say it
        return None


@functools.cache
def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[name] = package.version
        if name == "torch":
            # The same version is built for several kinds of devices.
            build = Path(str(package.locate_file("torch/version.py")))
            found["build"] = content_hash(build.read_text(encoding="utf-8")) if build.is_file() else ""
    return found


@functools.cache
def _code() -> str:
    """Return a digest of the engine: how it decides is part of what a decision followed from."""
    folder = Path(__file__).parent
    return content_hash([path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))])


@functools.cache
def _machine() -> list[Any]:
    """Return what decides which devices there are, and what they can do."""
    nodes = [str(node) for pattern in ("nvidia[0-9]*", "kfd", "dxg") for node in sorted(Path("/dev").glob(pattern))]
    driver = Path("/proc/driver/nvidia")
    drivers = [
        path.read_text() for path in sorted((driver / "version", *driver.glob("gpus/*/information"))) if path.is_file()
    ]
    switches = {name: value for name, value in sorted(os.environ.items()) if name.startswith(_SWITCHES)}
    return [platform.platform(), platform.machine(), gpu_count(), nodes, drivers, switches]


# -- What identifies a function in a model's place, read from its module's file: nothing is imported.

IDENTITY = "identity"
"""The function of a script's module that states what else the model is identified by."""


def identity_of(name: str, sources: Mapping[str, str]) -> dict[str, Any]:
    """Return the identity of the script ``name`` that consists of these ``sources``, by module: after a change it is another
    model.
    """
    texts = list(sources.values())
    return {
        "engine": "scripted",
        "function": name,
        "source": content_hash(texts[0] if len(texts) == 1 else dict(sources), length=16) if texts else None,
    }


def script_identity(name: str, path: Sequence[str]) -> dict[str, Any] | None:
    """Return the identity that the script ``name`` will have, `None` where only importing it can tell: it is not written
    in the module itself, or decorated, or the module states an identity.
    """
    module, _, function = name.partition(":")
    texts = script_sources(module, path).texts
    source = texts.get(module, "")
    return identity_of(name, texts) if _plainly_written(function, source) and not _may_state(source) else None


def _may_state(source: str) -> bool:
    """Tell whether a module that can be parsed may have a function that states an identity."""
    return any(_binds(each, IDENTITY) for each in ast.walk(ast.parse(source)))


def _plainly_written(function: str, source: str) -> bool:
    """Tell whether the module defines the function itself, once."""
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError):
        return False
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    defined = [each for each in ast.walk(ast.Module(statements, [])) if _binds(each, function)]
    return (
        len(defined) == 1
        and isinstance(defined[0], kinds)
        and defined[0] in statements
        and not defined[0].decorator_list
    )


def _binds(node: ast.AST, name: str) -> bool:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return node.name == name
    if isinstance(node, ast.alias):
        return (node.asname or node.name) in (name, "*")
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name
