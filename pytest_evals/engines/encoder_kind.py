"""Encoders: sequence classifiers, reward models and models that embed, which give numbers and write nothing.

``encoder:NAME@REVISION?OPTION=VALUE``, as graders name them. What can be told from the files of a model is told here, without torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_evals.engines.embedded import EMBEDDED
from pytest_evals.engines.kind import EngineKind, EngineOption, Report, one_of, tell_progress, whole_number
from pytest_evals.engines.model_folder import has_chat_template, has_tokenizer, is_path, locate_model
from pytest_evals.errors import ModelError, SuiteError, did_you_mean

if TYPE_CHECKING:
    from pytest_evals.engines.protocol import Engine, EngineInfo
    from pytest_evals.engines.resources import Footprint
    from pytest_evals.engines.spec import ModelSpec

ENCODER = "encoder"
WORDLLAMA = "wordllama"
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
HEAD = "ForSequenceClassification"
PROMPT_OPTIONS = ("input", "values", "truncate")
"""Options that say how one request is read: models that differ in nothing else share one copy."""


def encoder_text(model: str, **prompt: str) -> str:
    """Return the specification of the encoder that a grader names by ``model``, with its engine and how requests are read.

    A script may replace it. Raises `SuiteError` for a text that does not name one.
    """
    if not isinstance(model, str) or not model.strip().removeprefix(f"{ENCODER}:"):
        raise SuiteError(f"model must be the name of a model, as 'org/name' or './folder', not {model!r:.80}")
    written = model.strip()
    if written.startswith("scripted:"):
        return written
    body, mark, query = written.removeprefix(f"{ENCODER}:").partition("?")
    own = [part.partition("=")[0] for part in query.split("&")]
    told = [name for name in PROMPT_OPTIONS if name in own]
    if told:
        raise SuiteError(f"model {written!r}: {told[0]} is set by the grader; leave it out")
    options = "&".join([*([query] if mark and query else []), *(f"{name}={value}" for name, value in prompt.items())])
    return f"{ENCODER}:{body}" + (f"?{options}" if options else "")


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """What the configuration of a classifier says. ``labels`` are in the order of its outputs."""

    labels: tuple[str, ...]
    problem: str | None
    architectures: tuple[str, ...]
    chats: bool | None = None

    @property
    def regresses(self) -> bool:
        """Tell whether its output is a number that is not a probability."""
        return self.problem == "regression"


def label_names(given: Any, count: int | None) -> tuple[str, ...]:
    """Return the labels of an ``id2label``, in the order of its ids; without one as transformers names them."""
    if isinstance(given, Mapping) and given:
        return tuple(str(given[key]) for key in sorted(given, key=int))
    return tuple(f"LABEL_{number}" for number in range(count or 2))


def head_config(spec: ModelSpec) -> HeadConfig | None:
    """Return what the files of a model say of its head; `None` where they are not on this disk, or cannot be read."""
    path = _config_path(spec)
    if path is None:
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        labels = label_names(config.get("id2label"), config.get("num_labels"))
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    chats = has_chat_template(path.parent)
    return HeadConfig(labels, config.get("problem_type"), tuple(config.get("architectures") or ()), chats)


def _config_path(spec: ModelSpec) -> Path | None:
    folder = Path(spec.name)
    if folder.is_absolute():
        return folder / "config.json"
    try:
        import huggingface_hub as hub

        found = hub.try_to_load_from_cache(spec.name, "config.json", revision=spec.revision)
    except Exception:  # noqa: BLE001 - whatever is odd about the cache is said when the model is loaded
        return None
    return Path(found) if isinstance(found, str) else None


def check_head(spec: ModelSpec, head: HeadConfig) -> None:
    """Raise `ModelError` for a model without a head that classifies: its weights would be made up."""
    if head.architectures and not any(name.endswith(HEAD) for name in head.architectures):
        raise ModelError(
            f"model {spec.text!r} is a {', '.join(head.architectures)}, which has no head that classifies; name a fine-tuned sequence "
            f"classifier (its config.json has an architecture *{HEAD})"
        )


def find_label(labels: Sequence[str], wanted: str, model: str) -> str:
    """Return the label of a model that is meant: in its spelling, or in another case where that is one alone.

    Raises `SuiteError` that names the model's labels.
    """
    if wanted in labels:
        return wanted
    same = [label for label in labels if label.casefold() == wanted.casefold()]
    if len(same) == 1:
        return same[0]
    shown = ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")
    raise SuiteError(f"{model} has no label {wanted!r} (labels: {shown}){did_you_mean(wanted, labels)}")


# -- The kind.


def _locate(name: str, options: Mapping[str, Any], written: str, root: Path) -> tuple[str, str | None]:
    if options.get("head") == "embedding":
        return _locate_embedder(name, written, root)
    if name == EMBEDDED:
        raise ModelError(f"model {written!r}: {EMBEDDED} writes texts and has no head that classifies")
    if is_path(name):
        folder = (root / Path(name).expanduser()).resolve()
        _check_files(folder, written)
        return str(folder), None
    return locate_model(name, {}, written, root)


def _check_files(folder: Path, written: str) -> None:
    """Raise `ModelError` for a folder without what a classifier is made of; one that reads single texts needs no chat template."""
    if not folder.is_dir():
        raise ModelError(f"model {written!r}: no such folder: {folder}")
    if not (folder / "config.json").is_file():
        raise ModelError(f"model {written!r}: {folder} has no config.json, so it is not a transformers model")
    if not any(path.stat().st_size for pattern in _WEIGHTS for path in folder.glob(pattern)):
        raise ModelError(f"model {written!r}: {folder} holds no weights (looked for {' and '.join(_WEIGHTS)})")
    if not has_tokenizer(folder):
        raise ModelError(f"model {written!r}: {folder} has no tokenizer (tokenizer.json or tokenizer_config.json)")


def _locate_embedder(name: str, written: str, root: Path) -> tuple[str, str | None]:
    """Return what wordllama or sentence-transformers loads, which knows more names than those of the hub."""
    if not is_path(name):
        return name, None
    folder = (root / Path(name).expanduser()).resolve()
    if not any((folder / each).is_file() for each in ("modules.json", "config.json")):
        raise ModelError(f"model {written!r}: no model in {folder}: it has neither modules.json nor config.json")
    return str(folder), None


def _load(spec: ModelSpec, options: dict[str, Any], report: Report) -> Engine:
    if _embeds(spec):
        from pytest_evals.engines.embeddings import load_embeddings

        return load_embeddings(spec, options, report)
    tell_progress(report, "importing transformers")
    from pytest_evals.engines.transformers.encoder.engine import load

    return load(spec, options, report)


def _embeds(spec: ModelSpec) -> bool:
    return spec.options.get("head") == "embedding"


def _identity(spec: ModelSpec, options: Mapping[str, Any], path: Sequence[str]) -> EngineInfo | None:
    from pytest_evals.engines.identity import kept_identity

    del path
    if _embeds(spec):
        from pytest_evals.engines.embeddings import embeddings_identity
        from pytest_evals.engines.protocol import EngineInfo

        return EngineInfo(identity=embeddings_identity(spec))
    return kept_identity(spec, options)


def _footprint(spec: ModelSpec) -> Footprint | None:
    from pytest_evals.engines.resources import Footprint, footprint_of_files

    if spec.name == WORDLLAMA:
        return Footprint(_WORDLLAMA_PARAMETERS, 0)
    return footprint_of_files(spec.name)


_WORDLLAMA_PARAMETERS = 32_000 * 256


def encoder_kind(device: EngineOption) -> EngineKind:
    """Return the kind. ``device`` is the option that says where a model is computed."""
    return EngineKind(
        ENCODER,
        _load,
        options={
            "dtype": one_of("auto", "fp32", "bf16", "fp16"),
            "device": device,
            "head": one_of("classifier", "embedding"),
            "batch": whole_number("auto or a number of tokens of at least 1", auto=True),
            "replicas": whole_number("auto or a whole number from 1 to 99", 99, auto=True),
            "input": EngineOption("text or conversation", one_of("text", "conversation").read, of_prompts=True),
            "values": EngineOption("probabilities or logits", one_of("probabilities", "logits").read, of_prompts=True),
            "truncate": EngineOption("true or false", one_of("true", "false").read, of_prompts=True),
        },
        locate=_locate,
        identity=_identity,
        footprint=_footprint,
        keeps_identity=True,
    )
