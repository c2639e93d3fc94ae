"""Says in one sentence what a path holds that was named as a model but is not a transformers model folder, and what to do."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_evals.engines.checkpoints.adapters import CONFIG, WEIGHTS
from pytest_evals.engines.checkpoints.architectures import check_architectures
from pytest_evals.engines.checkpoints.quantization import check_quantized
from pytest_evals.engines.checkpoints.safetensors_files import check_weight_files
from pytest_evals.errors import ModelError

_EMBEDS = "is a model of sentence-transformers: it turns texts into vectors and writes none (graders.embedding_similarity(model=...) takes it)"
_KINDS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({CONFIG}), "is an adapter, and no base for another one; name its base before ?adapter="),
    (frozenset({"modules.json", "config_sentence_transformers.json"}), _EMBEDS),
    (frozenset({"model_index.json"}), "is a pipeline of diffusers, which makes images and no text"),
    (frozenset(WEIGHTS), f"holds the weights of an adapter without its {CONFIG}; copy that file there too"),
    (
        frozenset({"params.json", "consolidated.safetensors"}),
        (
            "holds weights in the format of their authors (params.json, consolidated.*), without a config.json; use the same model in the "
            "format of transformers"
        ),
    ),
)
"""What a folder without a config.json is, by a file that it contains; the most telling file comes first."""


def missing_path(path: Path, written: str) -> ModelError:
    """Return the error of a path at which nothing is."""
    what = "file" if path.suffix == ".gguf" else "folder"
    siblings = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
    alike = difflib.get_close_matches(path.name, siblings, n=1, cutoff=0.6)
    hint = f"; did you mean {path.parent / alike[0]}?" if alike else ""
    return ModelError(f"model {written!r}: no such {what}: {path}{hint}")


def not_a_model_file(path: Path, written: str) -> ModelError:
    """Return the error of a file that is named in the place of its folder."""
    if path.suffix in (".safetensors", ".bin", ".json"):
        return ModelError(f"model {written!r}: {path} is one file of a model; name its folder: {path.parent}")
    return ModelError(f"model {written!r}: {path} is a file, and a model is a folder or a .gguf file")


def without_config(folder: Path, written: str) -> ModelError:
    """Return the error of a folder that has no config.json, by what it does have."""
    return ModelError(f"model {written!r}: {folder} {_held(folder)}")


def _held(folder: Path) -> str:
    return next(_findings(folder, {entry.name for entry in folder.iterdir()}))


def _findings(folder: Path, names: set[str]) -> Iterator[str]:
    """Yield what a folder with these names is, the most telling first."""
    for files, text in _KINDS:
        if names & files:
            yield text
    for name in sorted(names):
        if name.endswith(".gguf"):
            yield f"holds GGUF files; name one of them, as {folder / name}"
    below = sorted((path.parent for name in ("config.json", CONFIG) for path in folder.glob(f"*/{name}")), key=_age)
    if below:
        yield f"{_NO_CONFIG}; there are models below it, the latest at {below[-1]}"
    for name in sorted(names):
        if name.endswith((".safetensors", ".bin", ".pt", ".pth", ".onnx")):
            yield (
                f"{_NO_CONFIG}; it has weights ({name}): copy the config.json and the tokenizer of the model that they belong to there too"
            )
    yield _NO_CONFIG


_NO_CONFIG = "has no config.json, so it is not a transformers model"


def _age(folder: Path) -> tuple[float, str]:
    return folder.stat().st_mtime, folder.name


def check_model_files(folder: Path, written: str, options: Mapping[str, Any]) -> None:
    """Raise `ModelError` for a folder with a config.json that cannot be used for what its files say."""
    config = read_config(folder / "config.json", written)
    if (folder / "modules.json").is_file():
        raise ModelError(f"model {written!r}: {folder} {_EMBEDS}")
    if (folder / CONFIG).is_file():
        raise ModelError(
            f"model {written!r}: {folder} holds a whole model and an adapter, and which is meant is not clear; move {CONFIG} and the "
            f"adapter's weights into a folder of their own, and write {written.partition('?')[0]}?adapter=THAT_FOLDER for both"
        )
    check_architectures(config, written, str(folder))
    check_quantized(config, options.get("quantize"), options.get("device"), written)
    check_weight_files(folder, written)


def read_config(path: Path, written: str) -> dict[str, Any]:
    """Return a config.json. Raises `ModelError` for one that is not a JSON object."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"model {written!r}: {path} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"model {written!r}: {path} is not a JSON object")
    return config
