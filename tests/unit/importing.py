"""Help for tests of importers: configurations are written, read, and looked at as the suites that they become."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pytest_evals.importing.suite import Suite


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write files by their names."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def assignments(suite: Suite) -> dict[str, str]:
    """Return the source of what each name of the suite is, on one line."""
    found = {}
    for node in ast.parse(suite.source()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.unparse(node.value)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = ast.unparse(node)
    return found


def check_form(*suites: Suite) -> None:
    """Check that suites compile and are as ruff writes them, without names that are unknown or not used."""
    ruff = [sys.executable, "-m", "ruff"]
    for suite in suites:
        text = suite.source()
        compile(text, suite.name, "exec", dont_inherit=True)
        formatted = subprocess.run(
            [*ruff, "format", "--isolated", "-"], input=text, capture_output=True, text=True, check=True, cwd=sys.prefix
        )
        assert formatted.stdout == text
        checked = subprocess.run(
            [*ruff, "check", "--isolated", "--select", "F,I", "--output-format", "concise", "-"],
            input=text, capture_output=True, text=True, check=False, cwd=sys.prefix,
        )  # fmt: skip
        assert checked.returncode == 0, checked.stdout
