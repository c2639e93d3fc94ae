"""The header of a GGUF file: what the model is, whether it brings a tokenizer and a chat template. Its tensors are not read.

The format is described at https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pytest_evals.engines.resources import Footprint
from pytest_evals.errors import ModelError

_MAGIC = b"GGUF"
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST = 1 << 26
"""Entries and bytes of one value; a file that claims more is damaged."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The ``metadata`` of a file, in which an array is told by its length, and its ``tensors``: how many numbers each has."""

    metadata: Mapping[str, Any]
    tensors: Mapping[str, int]

    @property
    def parameters(self) -> int:
        """How many numbers all tensors have."""
        return sum(self.tensors.values())

    @property
    def architecture(self) -> str:
        """What kind of model it is."""
        return str(self.metadata.get("general.architecture", ""))


def read_gguf(path: Path) -> GgufHeader:
    """Return the header of a GGUF file. Raises `ValueError` for another file, or a damaged one."""
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            raise ValueError("it does not begin as GGUF files do")
        try:
            version, tensors, entries = struct.unpack("<IQQ", file.read(20))
            if version not in (2, 3):
                raise ValueError(f"it is of version {version}, and 2 and 3 are known")
            if max(tensors, entries) > _MOST:
                raise ValueError("its header is damaged")
            metadata = {_string(file): _value(file) for _ in range(entries)}
            sizes = dict(_tensor(file) for _ in range(tensors))
        except (struct.error, UnicodeDecodeError, KeyError, MemoryError, OverflowError) as error:
            raise ValueError("its header is cut off or damaged") from error
    return GgufHeader(metadata, sizes)


def _string(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _MOST:
        raise struct.error("a string without end")
    data = file.read(length)
    if len(data) < length:
        raise struct.error("the file ends")
    return data.decode("utf-8", errors="replace")


def _value(file: BinaryIO) -> Any:
    (kind,) = struct.unpack("<I", file.read(4))
    return _value_of(file, kind)


def _value_of(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        inner, count = struct.unpack("<IQ", file.read(12))
        if count > _MOST:
            raise struct.error("an array without end")
        if inner in _SCALARS:
            # Vocabularies are long, and of no interest here.
            file.seek(count * struct.calcsize(f"<{_SCALARS[inner]}"), 1)
        else:
            for _ in range(count):
                _value_of(file, inner)
        return count
    form = f"<{_SCALARS[kind]}"
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _tensor(file: BinaryIO) -> tuple[str, int]:
    name = _string(file)
    (dimensions,) = struct.unpack("<I", file.read(4))
    if dimensions > 8:
        raise struct.error("a tensor of too many dimensions")
    numbers = 1
    for extent in struct.unpack(f"<{dimensions}Q", file.read(8 * dimensions)):
        numbers *= extent
    if len(file.read(12)) < 12:
        raise struct.error("the file ends")
    return name, numbers


def check_gguf(path: Path, written: str, *, needs_template: bool) -> None:
    """Raise `ModelError` for a GGUF file that is not a whole language model."""
    try:
        header = read_gguf(path)
    except ValueError as error:
        raise ModelError(f"model {written!r}: {path} is not a GGUF file that can be read: {error}") from error
    parts = header.metadata.get("split.count", 0)
    if isinstance(parts, int) and parts > 1:
        raise ModelError(
            f"model {written!r}: {path} is one of {parts} parts, and only whole GGUF files can be read; join them with: "
            "llama-gguf-split --merge FIRST_PART WHOLE"
        )
    if header.architecture in ("clip", "mmproj"):
        raise ModelError(
            f"model {written!r}: {path} is the part of a model that reads images; name the file of the language model"
        )
    if not header.architecture or not header.parameters:
        raise ModelError(f"model {written!r}: {path} holds no model (no architecture, or no weights)")
    if needs_template and "tokenizer.chat_template" not in header.metadata:
        raise ModelError(
            f"model {written!r}: {path} has no chat template; a base model is given plain prompts with {written.partition('?')[0]}"
            "?template=none, and another template with ?template=FILE"
        )


def gguf_footprint(path: Path) -> Footprint | None:
    """Return what the model in a GGUF file takes, `None` where its header does not tell."""
    try:
        header = read_gguf(path)
        told = {
            name.partition(".")[2]: value
            for name, value in header.metadata.items()
            if name.startswith(f"{header.architecture}.")
        }
        heads = int(told["attention.head_count"])
        size = int(told.get("attention.key_length", int(told["embedding_length"]) // heads))
        keys = int(told.get("attention.head_count_kv", heads))
        return Footprint(header.parameters, 2 * int(told["block_count"]) * keys * size)
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None
