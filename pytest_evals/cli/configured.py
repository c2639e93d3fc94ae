"""What pytest's configuration file says to commands, which run without pytest: where artifacts and the cache are.

It is found and read by pytest itself. What stands on a command line of pytest (``-o evals_dir=...``) is not known here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_evals.errors import ArtifactError


def find_run(written: str) -> Path | str:
    """Return the path of the run that ``written`` means; see `locate`."""
    from pytest_evals.artifacts.locating import locate, means_latest

    return locate(written, artifacts=configured_folder("evals_dir") if means_latest(written) else None)


def artifacts_folder() -> Path:
    """Return the folder of artifacts: as configured, else the nearest ``.evals`` here or above."""
    from pytest_evals.artifacts.locating import find_artifacts, shortened

    return shortened(configured_folder("evals_dir") or find_artifacts(Path.cwd()), Path.cwd())


def cache_folder() -> Path:
    """Return the folder of the cache: as configured, else ``cache`` in the folder of artifacts."""
    from pytest_evals.artifacts.locating import shortened

    found = configured_folder("evals_cache_dir")
    return shortened(found, Path.cwd()) if found else artifacts_folder() / "cache"


def configured_folder(option: str) -> Path | None:
    """Return the folder that ``option`` names in the configuration file that pytest would use here, `None` if it does not.

    Raises `ArtifactError` for a file that pytest refuses, and for an option that is no path.
    """
    import pytest

    try:
        root, options = _read(Path.cwd())
    except (pytest.UsageError, pytest.fail.Exception) as error:
        raise ArtifactError(f"the configuration of pytest cannot be read: {error}") from error
    value = getattr(options.get(option), "value", None)
    if value in (None, ""):
        return None
    if not isinstance(value, str):
        raise ArtifactError(f"{option} in the configuration of pytest is no path: {value!r}")
    return root / Path(value)


def _read(here: Path) -> tuple[Path, dict[str, Any]]:
    try:
        from _pytest.config.findpaths import (
            locate_config,
        )  # the only way that pytest has: making a whole Config runs code

        root, _, options, *_ = locate_config(here, [here])
    except (ImportError, TypeError, ValueError):
        # It is not public, so another pytest may have it otherwise: then it is as if nothing were configured.
        return here, {}
    return root or here, options
