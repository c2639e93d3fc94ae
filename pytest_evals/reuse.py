"""What a run takes from earlier ones, as options and configuration file say it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CACHE_MODES = ("off", "read", "write")
_CACHE_FOLDER = "cache"


@dataclass(frozen=True, slots=True)
class Reuse:
    """``replay`` and ``resume`` are artifacts, ``cache`` is a mode. See `pytest_evals.recall`."""

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
    here = config.invocation_params.dir
    replay = _run("--evals-replay", config.getoption("evals_replay"), here)
    resume = _run("--evals-resume", config.getoption("evals_resume"), here)
    mode = config.getoption("evals_cache") or config.getini("evals_cache")
    if mode not in CACHE_MODES:
        option = "--evals-cache" if config.getoption("evals_cache") else "evals_cache"
        raise pytest.UsageError(f"{option}: {mode!r} is unknown (known: {', '.join(CACHE_MODES)})")
    if replay:
        _check_replay(config)
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
    "evals_plan": ("--evals-plan", "no model under test is asked"),
}


def _check_replay(config: pytest.Config) -> None:
    for name, (option, why) in _NOT_REPLAYED.items():
        if config.getoption(name):
            raise pytest.UsageError(f"--evals-replay cannot be had with {option}: {why}")


def _run(option: str, written: str | None, here: Path) -> Path | None:
    if written is None:
        return None
    path = here / Path(written).expanduser()
    if not written or not path.is_file():
        raise pytest.UsageError(
            f"{option}: there is no artifact {written!r}; it is the path of a file that a run has written"
        )
    return path
