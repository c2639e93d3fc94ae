"""The command that goes on with a run which was cut short."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, pairwise
from pathlib import Path, PurePath
from typing import Any

_ARTIFACT, _RESUME = "--evals-artifact", "--evals-resume"
_REPLAY = "--evals-replay"


def resume_command(words: Sequence[str], artifact: Path, addopts: str | None = None) -> str | None:
    """Return a command that can be pasted in a shell: what stood on the command line of pytest (``words``), with ``artifact`` as
    the run to resume, and a file of its own where the run had been given one. ``addopts`` is what ``PYTEST_ADDOPTS`` was.

    `None` of a replay, in which nothing is computed that could be lost.
    """
    options = words[: words.index("--")] if "--" in words else words
    if any(word == _REPLAY or word.startswith(f"{_REPLAY}=") for word in (*options, *_split(addopts))):
        return None
    given = [*options, *_split(addopts)]
    named = any(word == _ARTIFACT or word.startswith(f"{_ARTIFACT}=") for word in given)
    # An address outside of this machine gets the whole run in the place of its beginning, which is here.
    away = any(word.startswith(f"{_ARTIFACT}=") and "://" in word for word in given) or any(
        before == _ARTIFACT and "://" in word for before, word in pairwise(given)
    )
    kept = list(_without(options, (_RESUME,) if away else (_ARTIFACT, _RESUME)))
    command = [
        *(["pytest"] if "--evals" in kept else ["pytest", "--evals"]),
        *kept,
        *([f"{_ARTIFACT}={_another(artifact)}"] if named and not away else []),
        f"{_RESUME}={artifact}",
        *words[len(options) :],
    ]
    if os.name == "nt":
        return subprocess.list2cmdline(command)
    return f"PYTEST_ADDOPTS={shlex.quote(addopts)} {shlex.join(command)}" if addopts else shlex.join(command)


def command_of_run(run: Mapping[str, Any], artifact: Path | str) -> str | None:
    """Return the command for a recorded run, from its first line; one that was started in another folder goes there first."""
    if not isinstance(artifact, Path):
        return None
    folder = run.get("folder")
    elsewhere = isinstance(folder, str) and Path(folder) != Path.cwd() and Path(folder).is_dir()
    path = artifact.resolve() if elsewhere else artifact
    words = [str(word) for word in run["command"]][1:]
    command = resume_command(words, path, run.get("addopts"))
    return f"cd {shlex.quote(str(folder))} && {command}" if command and elsewhere else command


def _split(addopts: str | None) -> list[str]:
    try:
        return shlex.split(addopts or "")
    except ValueError:
        return []


def _without(words: Sequence[str], options: Sequence[str]) -> Iterator[str]:
    """Yield the words that are none of the ``options`` nor their values."""
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in options:
            skip = True
        elif not word.startswith(tuple(f"{option}=" for option in options)):
            yield word


def _another(artifact: Path) -> PurePath:
    """Return the path of a file that is not there yet: ``run-2.jsonl`` beside ``run.jsonl``."""
    ending = "".join(artifact.suffixes[-2:]) if artifact.name.endswith(".gz") else artifact.suffix
    stem = artifact.name.removesuffix(ending)
    base, dash, number = stem.rpartition("-")
    first = int(number) + 1 if dash and number.isdigit() and len(number) < 4 else 2
    name = base if first > 2 or (dash and number == "1") else stem
    paths = (artifact.with_name(f"{name}-{each}{ending.removesuffix('.gz')}") for each in count(first))
    return next(path for path in paths if not path.exists())
