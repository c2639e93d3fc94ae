"""What a run takes from earlier ones, as options and configuration file say it: ``--evals-replay``, ``--evals-resume``, ``--evals-cache``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.artifacts.locating import locate
from pytest_evals.errors import ArtifactError

CACHE_MODES = ("off", "read", "write")
_CACHE_FOLDER = "cache"


@dataclass(frozen=True, slots=True)
class Reuse:
    """``replay`` and ``resume`` are artifacts, ``cache`` is a mode. See `pytest_evals.reuse`."""

    replay: Path | None = None
    resume: Path | None = None
    strict: bool = False
    cache: str = "off"
    cache_folder: Path = Path()

    def to_options(self) -> dict[str, Any]:
        """Return what the artifact says of it."""
        paths = {name: getattr(self, name) for name in ("replay", "resume")}
        return {**{name: str(path) for name, path in paths.items() if path}, "cache": self.cache}


def read_reuse(config: pytest.Config, artifact: Path | None, folder: Path) -> Reuse:
    """Return the checked options. Raises `pytest.UsageError` for combinations that make no sense.

    ``artifact`` is where this run's goes if that was said, ``folder`` where artifacts go by default.
    """
    if config.getoption("evals_replay"):
        _check_replay(config)
    replay = _run(config, "--evals-replay", "evals_replay", folder)
    resume = _run(config, "--evals-resume", "evals_resume", folder)
    mode = config.getoption("evals_cache") or config.getini("evals_cache")
    if mode not in CACHE_MODES:
        option = "--evals-cache" if config.getoption("evals_cache") else "evals_cache"
        raise pytest.UsageError(f"{option}: {mode!r} is unknown (known: {', '.join(CACHE_MODES)})")
    for option, path in (("--evals-replay", replay), ("--evals-resume", resume)):
        if path and artifact and path.resolve() == artifact.resolve():
            raise pytest.UsageError(
                f"{option} and --evals-artifact name the same file, which would be lost; write to another"
            )
    cache_folder = config.getini("evals_cache_dir")
    return Reuse(
        replay,
        resume,
        strict=bool(config.getini("evals_replay_strict")),
        cache=mode,
        cache_folder=config.rootpath / cache_folder if cache_folder else folder / _CACHE_FOLDER,
    )


# What has no meaning beside --evals-replay, and why.
_NOT_REPLAYED = {
    "evals_resume": ("--evals-resume", "give one of the two"),
    "evals_model": ("--evals-model", "the models are those of the run that is replayed"),
    "evals_repeat": ("--evals-repeat", "the repeats are those of the run that is replayed"),
    "evals_audit": ("--evals-audit", "nothing is computed that could be audited"),
}


def _check_replay(config: pytest.Config) -> None:
    for name, (option, why) in _NOT_REPLAYED.items():
        if config.getoption(name):
            raise pytest.UsageError(f"--evals-replay cannot be combined with {option}: {why}")


def _run(config: pytest.Config, option: str, name: str, folder: Path) -> Path | None:
    written, here = config.getoption(name), config.invocation_params.dir
    if written is None:
        return None
    try:
        found = locate(written, here, folder)
    except ArtifactError as error:
        raise pytest.UsageError(f"{option}: {error}") from error
    if not isinstance(found, Path):
        raise pytest.UsageError(f"{option} takes a file, not the standard input")
    # Workers of pytest-xdist get what was found: for one that starts late, the latest run would be this one.
    path = (here / found).resolve()
    setattr(config.option, name, str(path))
    return path
