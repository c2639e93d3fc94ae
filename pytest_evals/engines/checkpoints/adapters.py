"""Adapters of PEFT (LoRA and others): which base they are for, and whether they can be used with the one that is named."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_evals.engines.checkpoints.quantization import installed
from pytest_evals.engines.checkpoints.safetensors_files import check_weight_files
from pytest_evals.engines.embedded import EMBEDDED, EMBEDDED_REPOSITORY
from pytest_evals.errors import ModelError

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_BEFORE_THE_PROMPT = frozenset(
    {
        "PROMPT_TUNING",
        "P_TUNING",
        "PREFIX_TUNING",
        "MULTITASK_PROMPT_TUNING",
        "CPT",
        "ADAPTION_PROMPT",
        "CARTRIDGE",
        "XLORA",
        "POLY",
        "SHADOW",
    }
)
"""Kinds that are more than changed layers: virtual tokens before the prompt, or a choice among several adapters."""
_OTHER_TASKS = frozenset({"SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"})
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What an adapter says of itself: its ``kind``, its ``task``, and the base that it was trained on."""

    kind: str
    task: str | None
    base: str | None
    revision: str | None


def is_adapter(folder: Path) -> bool:
    """Tell whether a folder holds an adapter and no whole model beside it."""
    whole = [
        path
        for pattern in ("*.safetensors", "pytorch_model*.bin")
        for path in folder.glob(pattern)
        if path.name not in WEIGHTS
    ]
    return (folder / CONFIG).is_file() and not ((folder / "config.json").is_file() and whole)


def read_adapter(path: Path, written: str) -> AdapterConfig:
    """Return what the configuration file of an adapter says. Raises `ModelError` for one that cannot be used at all."""
    try:
        told: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"model {written!r}: {path} cannot be read: {error}") from error
    if not isinstance(told, dict) or not isinstance(told.get("peft_type"), str):
        raise ModelError(f"model {written!r}: {path} is no configuration of an adapter: it has no peft_type")
    kind, task = told["peft_type"].upper(), told.get("task_type")
    if kind in _BEFORE_THE_PROMPT:
        raise ModelError(
            f"model {written!r}: the adapter at {path.parent} is of the kind {kind}, which is more than changed layers and is not "
            "supported; LoRA, DoRA, IA3 and other kinds that change layers are"
        )
    if task in _OTHER_TASKS:
        raise ModelError(
            f"model {written!r}: the adapter at {path.parent} makes a classifier or an encoder of its base (task_type {task}), and "
            "does not write text"
        )
    return AdapterConfig(kind, task, told.get("base_model_name_or_path") or None, told.get("revision") or None)


def check_adapter_folder(folder: Path, written: str) -> AdapterConfig:
    """Return what an adapter in a folder says of itself. Raises `ModelError` for one that cannot be used."""
    if not folder.is_dir():
        raise ModelError(f"model {written!r}: no such folder with an adapter: {folder}")
    if not (folder / CONFIG).is_file():
        inside = [f"{folder.name}/{path.parent.name}" for path in sorted(folder.glob(f"*/{CONFIG}"))]
        hint = f"; there are adapters below it: {', '.join(inside[:5])}" if inside else ""
        raise ModelError(f"model {written!r}: {folder} has no {CONFIG}, so it is not an adapter{hint}")
    config = read_adapter(folder / CONFIG, written)
    if not any((folder / name).is_file() and (folder / name).stat().st_size for name in WEIGHTS):
        raise ModelError(
            f"model {written!r}: {folder} holds no weights of its adapter (looked for {' and '.join(WEIGHTS)})"
        )
    check_weight_files(folder, written)
    check_installed(written)
    return config


def check_installed(written: str) -> None:
    """Raise `ModelError` where adapters cannot be loaded, for want of PEFT."""
    if not installed("peft"):
        raise ModelError(
            f"model {written!r}: adapters need peft, which is not installed here: pip install 'pytest-evals-hf[adapters]'"
        )


def base_of(config: AdapterConfig, folder: Path, written: str) -> str:
    """Return the base that an adapter's configuration names, as a folder or a name on the hub. Raises `ModelError` where
    there is none.
    """
    remedy = f"name it yourself: BASE?adapter={written.partition('?')[0].removeprefix('hf:')}"
    if config.base is None:
        raise ModelError(
            f"model {written!r}: {folder} is an adapter, and its {CONFIG} does not name its base; {remedy}"
        )
    here = _existing(config.base, folder)
    if here is not None:
        return str(here)
    if config.base.startswith((".", "/", "~")) or not _REPOSITORY.fullmatch(config.base):
        raise ModelError(
            f"model {written!r}: {folder} is an adapter of {config.base!r}, which is neither a folder here nor a hub name; {remedy}"
        )
    return config.base if config.revision is None else f"{config.base}@{config.revision}"


def _existing(base: str, folder: Path) -> Path | None:
    for path in (Path(base).expanduser(), folder / base, folder.parent / base):
        if (path / "config.json").is_file():
            return path.resolve()
    return None


def check_base(config: AdapterConfig, base: str, folder: Path, written: str) -> None:
    """Raise `ModelError` for an adapter that was made for another base than the one that is named. Where its configuration
    names a folder that is not here, it is the weights' shapes that tell, when it is loaded.
    """
    if config.base is None:
        return
    named = Path(base)
    known = _existing(config.base, folder)
    if named.is_dir():
        other = known is not None and known != named.resolve()
    else:
        ours = EMBEDDED_REPOSITORY if base == EMBEDDED else base
        other = known is not None or (bool(_REPOSITORY.fullmatch(config.base)) and config.base.lower() != ours.lower())
    if other:
        raise ModelError(
            f"model {written!r}: the adapter at {folder} was made for the base {config.base!r}, and not for {base!r}; name that "
            f"base, or write the other one into base_model_name_or_path of its {CONFIG} if the weights are the same"
        )
