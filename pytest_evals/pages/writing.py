"""Writes what was rendered, as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pytest_evals.artifacts.recorder import replacing


def write_text(path: Path, pieces: Iterable[str]) -> None:
    """Write a file; folders are made. Raises `ArtifactError` when it cannot be written."""
    with replacing(path) as file:
        file.writelines(pieces)
