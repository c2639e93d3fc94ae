"""What is kept of models on this machine from run to run, and digests of their files. Nothing here needs torch."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from pytest_evals.hashing import content_hash

CONVERSION = 1
"""Raise it when the conversion of the embedded default changes, so that older results are not used."""
_PROBE = 1 << 20
_WORTH_KEEPING = 16 * _PROBE
"""A digest of fewer bytes is made anew each time."""


def cache_folder() -> Path:
    """Return where this is kept: ``PYTEST_EVALS_CACHE``, or ``pytest-evals`` in the user's cache folder."""
    chosen = os.environ.get("PYTEST_EVALS_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    return Path(chosen).expanduser() if chosen else Path(base).expanduser() / "pytest-evals"


def conversion_of(gguf: Path) -> Path:
    """Return the folder that holds the weights of ``gguf`` as safetensors, once they are converted."""
    return cache_folder() / "gguf" / f"{gguf.stem}-{gguf_digest(gguf)}-{CONVERSION}-{metadata.version('transformers')}"


def gguf_digest(gguf: Path) -> str:
    """Return a digest of the whole content of a file."""
    return _kept_digest("content", gguf, [_seen(gguf)], lambda: _content_digest(gguf))


def files_digest(folder: Path) -> str:
    """Return a digest of names, sizes, and the first and last MiB of the files: other weights are told apart without
    reading gigabytes.
    """
    files = sorted(entry for entry in folder.iterdir() if entry.is_file())
    return _kept_digest("files", folder, [_seen(path) for path in files], lambda: _probes_digest(files))


def _seen(path: Path) -> list[str | int]:
    """Return what changes whenever a file does."""
    stat = path.stat()
    return [path.name, stat.st_size, stat.st_mtime_ns]


def _content_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _probes_digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_PROBE))
            file.seek(max(0, size - _PROBE))
            digest.update(file.read(_PROBE))
    return digest.hexdigest()[:16]


def _kept_digest(kind: str, path: Path, seen: list[list[str | int]], compute: Callable[[], str]) -> str:
    """Return the digest of what is at ``path``: computed now, or kept from when the files were last ``seen`` like this."""
    most = sum(int(size) if kind == "content" else min(int(size), 2 * _PROBE) for _, size, _ in seen)
    if most < _WORTH_KEEPING:
        return compute()
    place = Path("digests", f"{content_hash([kind, str(path.resolve())], 24)}.json")
    kept = read_kept(place)
    if kept.get("seen") == seen and isinstance(kept.get("digest"), str):
        return str(kept["digest"])
    digest = compute()
    keep(place, {"path": str(path), "seen": seen, "digest": digest})
    return digest


def read_kept(place: Path) -> dict[str, Any]:
    """Return what was kept at ``place`` in the cache folder; nothing where that is not there or cannot be read."""
    with suppress(OSError, ValueError):
        found = json.loads((cache_folder() / place).read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def keep(place: Path, data: Mapping[str, Any]) -> None:
    """Keep plain data at ``place``, whole or not at all; where nothing can be kept, the next run finds out again."""
    path = cache_folder() / place
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f"{path.stem}-", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(data, file)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
