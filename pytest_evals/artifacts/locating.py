"""What a user calls a run -> the file it is in: a path, a folder, ``latest``, or the name of a baseline."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_evals.artifacts.reader import STANDARD_INPUT
from pytest_evals.errors import ArtifactError, did_you_mean

ARTIFACTS = ".evals"
"""Where artifacts go unless the configuration says otherwise."""
BASELINES = "evals_baselines"
"""Where named baselines are kept."""
_LATEST = re.compile(r"latest(?:~(\d{1,6}))?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_STARTS = (b'{"type": "run"', b"\x1f\x8b")


def locate(written: str | Path, here: Path | None = None, artifacts: Path | None = None) -> Path | str:
    """Return the path of the artifact or baseline that ``written`` means, seen from ``here`` (default: the current folder).

    A file is itself; a folder is the newest artifact in it; ``latest`` is the newest in the folder ``artifacts`` (default:
    ``.evals``, here or in the nearest folder above), and ``latest~1`` the one before; anything else is the name of a baseline.
    ``-`` is the standard input. Raises `ArtifactError` that says what there is.
    """
    if written == STANDARD_INPUT:
        return STANDARD_INPUT
    if not str(written):
        raise ArtifactError("the path of the run is empty")
    here = here or Path.cwd()
    path = here / Path(written).expanduser()
    if path.is_dir():
        return newest(shortened(path, here))
    if path.exists():
        return shortened(path, here)
    latest = _LATEST.fullmatch(str(written))
    if latest:
        return newest(shortened(artifacts or find_artifacts(here), here), int(latest[1] or 0))
    folder = find_baselines(here)
    if _NAME.fullmatch(str(written)) and (folder / f"{written}.jsonl").is_file():
        return shortened(folder / f"{written}.jsonl", here)
    raise ArtifactError(_nothing(str(written), path, folder, here))


def none_yet(written: str, here: Path, artifacts: Path) -> bool:
    """Tell whether ``written`` is the name of a baseline, or ``latest``, and none has been made so far, as before a first run."""
    if _LATEST.fullmatch(written):
        return not any(True for pattern in ("*.jsonl", "*.jsonl.gz") for _ in artifacts.glob(pattern))
    named = _NAME.fullmatch(written) and not written.endswith((".jsonl", ".jsonl.gz", ".py", ".json"))
    return bool(named) and not (here / written).exists() and not baseline_names(find_baselines(here))


def _nothing(written: str, path: Path, baselines: Path, here: Path) -> str:
    """Say that there is no such run, and which one may be meant."""
    names = baseline_names(baselines)
    files = [shortened(each, here) for each in sorted(path.parent.glob("*.jsonl*"))] if path.parent.is_dir() else []
    hint = did_you_mean(written, [*map(str, files), *names, "latest"])
    if not _NAME.fullmatch(written):
        return f"there is no file {written!r}{hint}"
    known = f"; baselines: {', '.join(names)}" if names else ""
    return f"there is no file {written!r}, and no baseline of this name in {shortened(baselines, here)}{known}{hint}"


def newest(folder: Path, back: int = 0) -> Path:
    """Return the artifact in ``folder`` that was written last, or the one ``back`` before it. Raises `ArtifactError`."""
    try:
        found = [path for pattern in ("*.jsonl", "*.jsonl.gz") for path in folder.glob(pattern) if _is_artifact(path)]
        found.sort(key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    except OSError as error:
        raise ArtifactError(f"the folder {folder} cannot be read: {error.strerror or error}") from error
    if back >= len(found):
        if not found:
            raise ArtifactError(
                f"there is not an artifact in {folder}: 'pytest --evals' writes one; else give the path of one"
            )
        raise ArtifactError(f"there is not an artifact {back} before the newest in {folder}: it holds {len(found)}")
    return found[back]


def _is_artifact(path: Path) -> bool:
    if not path.is_file():
        # To open a pipe is to wait for who writes to it.
        return False
    with path.open("rb") as file:
        return file.read(16).startswith(_STARTS)


def means_latest(written: str) -> bool:
    """Tell whether this is ``latest`` or ``latest~N``."""
    return _LATEST.fullmatch(written) is not None


def find_artifacts(here: Path) -> Path:
    """Return the folder of artifacts where none is configured: the nearest one here or above, else where it would be here."""
    return _above(ARTIFACTS, here)


def find_baselines(here: Path) -> Path:
    """Return the folder of named baselines: the nearest one here or above, else the one that would be made here."""
    return _above(BASELINES, here)


def baseline_names(folder: Path) -> list[str]:
    """Return the names of the baselines in ``folder``."""
    return sorted(path.stem for path in folder.glob("*.jsonl")) if folder.is_dir() else []


def baseline_path(name: str, folder: Path) -> Path:
    """Return where the baseline ``name`` is kept. Raises `ArtifactError` for what cannot be the name of a file."""
    if not _NAME.fullmatch(name) or len(name) > 100 or _LATEST.fullmatch(name):
        raise ArtifactError(
            f"{name!r} cannot be the name of a baseline: use letters, digits, '.', '_' and '-' (and not 'latest')"
        )
    return folder / f"{name}.jsonl"


def _above(name: str, here: Path) -> Path:
    return next((folder / name for folder in (here, *here.parents) if (folder / name).is_dir()), here / name)


def shortened(path: Path, here: Path) -> Path:
    """Return the path as a user standing ``here`` would write it."""
    return path.relative_to(here) if here == Path.cwd() and path.is_relative_to(here) else path
