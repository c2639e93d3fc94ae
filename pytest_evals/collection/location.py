"""Where a case is in the sources of its project: the line of its row, else that of its suite."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, NamedTuple

from pytest_evals.collection.item import EvalItem
from pytest_evals.suites.declaration import EvalDeclaration


class Location(NamedTuple):
    """A line of a file. ``path`` is seen from pytest's root folder, with slashes on every system."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


def suite_location(declaration: EvalDeclaration, definition: Any, root: Path) -> Location:
    """Return where a suite is declared; of a declaration that comes from outside of the project, where it is used."""
    if declaration.path == definition.path:
        return Location(definition.nodeid.partition("::")[0], declaration.line)
    if declaration.path.is_relative_to(root):
        return Location(seen_from(root, declaration.path), declaration.line)
    path, line, _ = definition.location
    return Location(Path(path).as_posix(), (line or 0) + 1)


def row_location(found: EvalItem, root: Path) -> Location | None:
    """Return where the row of a case is; `None` where it is not on a line of a file."""
    source = found.prepared.source
    return Location(seen_from(root, source[0]), source[1]) if source else None


def location_of(found: EvalItem, root: Path) -> Location:
    """Return where a case is."""
    return row_location(found, root) or Location(found.info.path, found.info.line)


@functools.lru_cache(maxsize=1024)  # all rows of a file have the same answer
def seen_from(folder: Path, path: Path) -> str:
    """Return ``path`` relative to ``folder``, also where it is beside or above of it."""
    full = os.path.normpath(path)
    try:
        return Path(os.path.relpath(full, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return Path(full).as_posix()
