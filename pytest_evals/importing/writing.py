"""A suite that was read is written: the test file, and its rows beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_evals.importing.suite import ImportFileError, Suite


def write(suite: Suite, folder: Path, *, force: bool = False) -> list[Path]:
    """Write the files of ``suite`` into ``folder``, which is made if needed, and return their paths.

    Raises `ImportFileError` where one exists already and ``force`` is false: then nothing is written.
    """
    files = {folder / f"test_{suite.name}.py": suite.source()}
    files |= {folder / name: "".join(map(_line, rows)) for name, rows in suite.rows.items()}
    there = [str(path) for path in files if path.exists()]
    if there and not force:
        raise ImportFileError(
            f"{', '.join(there)} exists already; choose another folder with --output, or add --force to overwrite it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8", newline="\n")
    return list(files)


def _line(row: dict[str, Any]) -> str:
    # YAML has dates, which JSON does not: they are written as in the file, in ISO 8601.
    return f"{json.dumps(row, ensure_ascii=False, default=str, allow_nan=False)}\n"
