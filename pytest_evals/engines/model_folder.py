"""Where a model of transformers is: the embedded one, a folder, or a name on the hub; checked without loading it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_evals.engines.embedded import EMBEDDED
from pytest_evals.errors import ModelError

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def locate_model(name: str, options: Mapping[str, Any], written: str, root: Path) -> tuple[str, str | None]:
    """Return a model's name or folder, and its revision; a path is relative to ``root``.

    Raises `ModelError` for a text that cannot name a model, and for a folder without weights, tokenizer or chat template.
    """
    if name == EMBEDDED:
        return name, None
    if is_path(name):
        folder = (root / Path(name).expanduser()).resolve()
        _check_folder(folder, written, options)
        return str(folder), None
    name, _, revision = name.partition("@")
    if not _REPOSITORY.fullmatch(name):
        raise ModelError(
            f"model {written!r}: {name!r} is neither '{EMBEDDED}', a folder (./dir) nor a hub name (org/name)"
        )
    return name, revision or None


def is_path(name: str) -> bool:
    """Tell whether a name is written as a path."""
    return name.startswith((".", "/", "~", "\\")) or (len(name) > 1 and name[1] == ":") or Path(name).is_absolute()


def _check_folder(folder: Path, written: str, options: Mapping[str, Any]) -> None:
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
