"""Where a model of transformers is: the embedded one, a folder, a GGUF file, an adapter, or a name on the hub; checked without
loading it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_evals.engines.embedded import EMBEDDED
from pytest_evals.errors import ModelError

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
GGUF = ".gguf"


def complete_model(name: str, options: Mapping[str, Any], written: str, root: Path) -> tuple[str, dict[str, Any]]:
    """Return a model's name, with the base in the place of an adapter that is named as a model, and its options with absolute
    paths.

    Raises `ModelError` for options that contradict each other, and for an adapter that cannot be used.
    """
    found = dict(options)
    for option in ("adapter", "tokenizer"):
        if option in found and is_path(found[option]):
            found[option] = str((root / Path(found[option]).expanduser()).resolve())
    if is_path(name) and not is_gguf(name) and "subfolder" in found:
        name = str(_below((root / Path(name).expanduser()).resolve(), found.pop("subfolder"), written))
    if is_path(name) and "adapter" not in found:
        folder = (root / Path(name).expanduser()).resolve()
        if (folder / "adapter_config.json").is_file():
            from pytest_evals.engines.checkpoints.adapters import base_of, check_adapter_folder, is_adapter

            if is_adapter(folder):
                name, found["adapter"] = base_of(check_adapter_folder(folder, written), folder, written), str(folder)
    if found.keys() & {"adapter", "quantize", "subfolder", "tokenizer", "revision"}:
        _check_options(name, found, written, root)
    return _at_revision(name, found.pop("revision", None), written), found


def _at_revision(name: str, revision: str | None, written: str) -> str:
    """Return a name on the hub with the revision that an option asks for."""
    before = name.partition("@")[2]
    if revision is None or revision == before:
        return name
    if before:
        raise ModelError(
            f"model {written!r}: it names two revisions, {before!r} and {revision!r}; leave one of them out"
        )
    return f"{name.removesuffix('@')}@{revision}"


def _check_options(name: str, options: Mapping[str, Any], written: str, root: Path) -> None:
    for option in ("adapter", "quantize"):
        if option in options and options.get("tp", 1) > 1:
            raise ModelError(f"model {written!r}: {option} cannot be combined with tp, which divides the weights")
    if "subfolder" in options and (name == EMBEDDED or is_path(name)):
        raise ModelError(f"model {written!r}: subfolder is for folders and for models of the hub")
    if "revision" in options and (name == EMBEDDED or is_path(name)):
        raise ModelError(f"model {written!r}: revision is for models of the hub; a folder has none")
    if "adapter" in options:
        from pytest_evals.engines.checkpoints.adapters import check_adapter_folder, check_base, check_installed

        if is_path(options["adapter"]):
            folder = Path(options["adapter"])
            base = str((root / Path(name).expanduser()).resolve()) if is_path(name) else name.partition("@")[0]
            check_base(check_adapter_folder(folder, written), base, folder, written)
        elif not REPOSITORY.fullmatch(options["adapter"].partition("@")[0]):
            raise ModelError(
                f"model {written!r}: adapter must be a folder (./dir) or a hub name (org/name), not {options['adapter']!r}"
            )
        else:
            check_installed(written)


def locate_model(name: str, options: Mapping[str, Any], written: str, root: Path) -> tuple[str, str | None]:
    """Return a model's name or folder, and its revision; a path is relative to ``root``.

    Raises `ModelError` for a text that cannot name a model, and for a folder or file that cannot be one.
    """
    _check_wishes(options, written)
    if name == EMBEDDED:
        return name, None
    if is_path(name):
        path = (root / Path(name).expanduser()).resolve()
        _check_path(path, written, options)
        return str(path), None
    name, _, revision = name.partition("@")
    if not REPOSITORY.fullmatch(name):
        beside = f"; for the folder {root / name} write ./{name}" if name and (root / name).is_dir() else ""
        raise ModelError(
            f"model {written!r}: {name!r} is neither '{EMBEDDED}', a folder (./dir) nor a hub name (org/name){beside}"
        )
    if any((root / name / file).is_file() for file in ("config.json", "adapter_config.json")):
        raise ModelError(
            f"model {written!r}: {name!r} is a name on the hub, and there is a folder of that name; for the folder write ./{name}"
        )
    return name, revision or None


def _check_wishes(options: Mapping[str, Any], written: str) -> None:
    if "quantize" in options:
        from pytest_evals.engines.checkpoints.quantization import check_quantized

        check_quantized({}, options["quantize"], options.get("device"), written)
    if "tokenizer" in options and not is_path(options["tokenizer"]):
        if not REPOSITORY.fullmatch(options["tokenizer"].partition("@")[0]):
            raise ModelError(
                f"model {written!r}: tokenizer must be a folder (./dir) or a hub name (org/name), not {options['tokenizer']!r}"
            )
    elif "tokenizer" in options and not has_tokenizer(Path(options["tokenizer"])):
        raise ModelError(
            f"model {written!r}: {options['tokenizer']} has no tokenizer (tokenizer.json or tokenizer_config.json)"
        )


def _below(folder: Path, subfolder: str, written: str) -> Path:
    path = (folder / subfolder).resolve()
    if not path.is_relative_to(folder):
        raise ModelError(f"model {written!r}: subfolder {subfolder!r} is not below {folder}")
    return path


def is_gguf(name: str) -> bool:
    """Tell whether a name is the path of a GGUF file."""
    return name.endswith(GGUF) and is_path(name)


def is_path(name: str) -> bool:
    """Tell whether a name is written as a path."""
    return name.startswith((".", "/", "~", "\\")) or (len(name) > 1 and name[1] == ":") or Path(name).is_absolute()


def _check_path(path: Path, written: str, options: Mapping[str, Any]) -> None:
    if path.is_file() and path.suffix == GGUF:
        from pytest_evals.engines.checkpoints.gguf_files import check_gguf

        check_gguf(path, written, needs_template=not _templates(options))
        return
    if not path.is_dir():
        from pytest_evals.engines.checkpoints.folders import missing_path, not_a_model_file

        raise not_a_model_file(path, written) if path.exists() else missing_path(path, written)
    _check_folder(path, written, options)


def _check_folder(folder: Path, written: str, options: Mapping[str, Any]) -> None:
    from pytest_evals.engines.checkpoints.folders import check_model_files, without_config

    if not (folder / "config.json").is_file():
        raise without_config(folder, written)
    if not any(path.stat().st_size for pattern in _WEIGHTS for path in folder.glob(pattern)):
        raise ModelError(f"model {written!r}: {folder} holds no weights (looked for {' and '.join(_WEIGHTS)})")
    check_model_files(folder, written, options)
    if "tokenizer" not in options and not has_tokenizer(folder):
        raise ModelError(
            f"model {written!r}: {folder} has no tokenizer (tokenizer.json or tokenizer_config.json); with that of another model: "
            f"{written.partition('?')[0]}?tokenizer=FOLDER_OR_NAME"
        )
    if not _templates(options) and ("tokenizer" in options or not has_chat_template(folder)):
        raise ModelError(
            f"model {written!r}: {folder} has no chat template; a base model is given plain prompts with {written.partition('?')[0]}"
            "?template=none, and another template with ?template=FILE"
        )


def _templates(options: Mapping[str, Any]) -> bool:
    """Tell whether options bring a chat template, or may bring one from the hub."""
    if "template" in options:
        return True
    places = [options[name] for name in ("tokenizer", "adapter") if name in options]
    return any(not is_path(place) or has_chat_template(Path(place)) for place in places)


def has_tokenizer(folder: Path) -> bool:
    """Tell whether a tokenizer was saved in ``folder``."""
    return (folder / "tokenizer_config.json").is_file() or (folder / "tokenizer.json").is_file()


def has_chat_template(folder: Path) -> bool:
    """Tell whether the tokenizer saved in ``folder`` brings a chat template."""
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and bool(config.get("chat_template"))
