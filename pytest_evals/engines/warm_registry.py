"""Where warm engines are found: a folder of the user's own has one file for each, with its address, key and what it was loaded as.

A user who can read the file can connect, so the folder and the files are the owner's alone. A folder that is not is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_evals.engines.identity import adapter_identity, loaded_from, tokenizer_identity
from pytest_evals.engines.model_cache import cache_folder
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.errors import EvalsError
from pytest_evals.hashing import content_hash

_DECIDES = (
    "CUDA_",
    "HIP_",
    "ROCR_",
    "HSA_",
    "NVIDIA_",
    "TORCH",
    "PYTORCH_",
    "HF_",
    "TRANSFORMERS_",
    "OMP_",
    "GOMP_",
    "MKL_",
    "KMP_",
    "PYTEST_EVALS_",
)
"""Environment variables that may decide how a model is loaded and run begin so."""


@dataclass(frozen=True, slots=True)
class WarmEntry:
    """A warm engine. ``key`` says what it was loaded as, ``slot`` what it was loaded from: a later version of the same has the same
    slot. ``secret`` is for connecting to ``address``. ``started`` is in seconds since the epoch.
    """

    key: str
    slot: str
    model: str
    pid: int
    address: str
    secret: str
    started: float
    keep: float


def warm_folder() -> Path:
    """Return the folder of the entries, which is made here. Raises `EvalsError` where others can get into it."""
    if not hasattr(os, "getuid"):
        raise EvalsError("models cannot stay loaded on this system, which has no Unix sockets")
    folder = cache_folder() / "warm"
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise EvalsError(f"{folder}, for engines that stay, cannot be made: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise EvalsError(
            f"{folder}, for engines that stay, must be a folder of yours that no one else can enter; run: chmod 700 {folder}"
        )
    return folder


def warm_keys(spec: ModelSpec, options: Mapping[str, Any], path: Sequence[str], date: str) -> tuple[str, str] | None:
    """Return the key and the slot of an engine, `None` where it cannot be told what its model is loaded from.

    Args:
        spec: The model, without options that only say how prompts are written.
        options: What its engine is told.
        path: Where modules are looked for.
        date: The date that prompts may have.
    """
    weights = loaded_from(spec, path)
    if weights is None:
        return None
    named = tokenizer_identity(spec), adapter_identity(spec)
    variables = {name: value for name, value in sorted(os.environ.items()) if name.startswith(_DECIDES)}
    # It is another number in each process.
    variables.pop("PYTEST_EVALS_PARENT_PIPE", None)
    asked = [spec.engine, spec.name, spec.revision, dict(spec.options), dict(options)]
    # Modules of the user's are imported by scripts alone; an IDE starts pytest with another path than a shell does.
    modules = None if spec.kind.keeps_identity else list(path)
    slot = content_hash([platform.node(), sys.executable, Path.cwd().as_posix(), *asked, modules, variables], 24)
    return content_hash([slot, weights, named, date, _installed()], 24), slot


def _installed() -> list[list[Any]]:
    """Return what changes whenever a package that engines are made of does."""
    from importlib import metadata

    found: list[list[Any]] = []
    for name in ("torch", "transformers", "tokenizers", "numba", "safetensors", "accelerate", "peft"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append([name, metadata.version(name)])
    own = Path(__file__).parents[1]
    for file in sorted(own.rglob("*.py")):
        seen = file.stat()
        found.append([str(file), seen.st_mtime_ns, seen.st_size])
    return found


def entries() -> Iterator[WarmEntry]:
    """Yield every entry that can be read."""
    for path in sorted(warm_folder().glob("*.json")):
        entry = read_entry(path)
        if entry is not None:
            yield entry


def read_entry(path: Path) -> WarmEntry | None:
    """Return the entry in a file; `None` where there is none, or it is damaged."""
    try:
        return WarmEntry(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def place_of_entry(key: str) -> Path:
    """Return where the entry of an engine is."""
    return warm_folder() / f"{key}.json"


def claim(entry: WarmEntry) -> bool:
    """Write an entry, whole or not at all; return false where there is another one under its key. What cannot be read is none."""
    path = place_of_entry(entry.key)
    if path.exists() and read_entry(path) is None:
        path.unlink(missing_ok=True)
    work = path.with_suffix(f".{entry.pid}.part")
    descriptor = os.open(work, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(entry), file)
        # Unlike a rename, a link never takes the place of a file that is there.
        os.link(work, path)
    except FileExistsError:
        return False
    finally:
        work.unlink(missing_ok=True)
    return True


def forget(entry: WarmEntry) -> None:
    """Remove an entry, unless another engine has taken its place."""
    path = place_of_entry(entry.key)
    if read_entry(path) == entry:
        path.unlink(missing_ok=True)
