"""Damage of weight files that shows without reading them whole: cut files, missing shards, pointers in the place of weights."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from pytest_evals.errors import ModelError

_POINTER = b"version https://git-lfs"
_MOST_HEADER = 1 << 27


def check_weight_files(folder: Path, written: str) -> None:
    """Raise `ModelError` for weights in ``folder`` that cannot be whole."""
    for path in sorted(
        (*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin"), *folder.glob("adapter_model.bin"))
    ):
        problem = _pointer(path) or (cut(path) if path.suffix == ".safetensors" else None)
        if problem:
            raise ModelError(f"model {written!r}: {path} {problem}")
    for index in (folder / "model.safetensors.index.json", folder / "pytorch_model.bin.index.json"):
        missing = _missing_shards(index) if index.is_file() else []
        if missing:
            raise ModelError(
                f"model {written!r}: {len(missing)} of the files with weights that {index.name} names are not in {folder}: "
                f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}; copy them there too"
            )


def _pointer(path: Path) -> str | None:
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            return "is a pointer of Git LFS and not the file itself; run: git lfs pull"
    return None


def cut(path: Path) -> str | None:
    """Return what is wrong with a safetensors file, `None` where its length is right."""
    size = path.stat().st_size
    try:
        header, begin = read_header(path)
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error, OSError):
        return "is no safetensors file, or its beginning is damaged; copy or download it again"
    whole = begin + max(ends, default=0)
    return None if size >= whole else f"is cut off: {size:,} of {whole:,} bytes; copy or download it again"


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file, and where its data begin. Raises `ValueError` for another file."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(_MOST_HEADER, path.stat().st_size):
            raise ValueError(f"{path} is no safetensors file")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError(f"{path} is no safetensors file")  # noqa: TRY004 - what is wrong is the file's content
    return header, 8 + length


def _missing_shards(index: Path) -> list[str]:
    try:
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return sorted(str(name) for name in named if not (index.parent / str(name)).is_file())
