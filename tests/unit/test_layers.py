"""Imports between packages run one way: a package imports from layers below its own, never from those above."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest_evals

ROOT = Path(pytest_evals.__file__).parent

# From the bottom to the top. Packages of one layer do not import each other, except at the two lowest.
LAYERS = [
    ("errors", "text", "hashing", "options", "invocation", "notes", "processes", "redaction", "sinks"),
    ("statistics",),
    ("completion", "generation", "grades", "case", "replies", "tools", "tool_calls"),
    ("media",),
    ("templates", "datasets"),
    ("questions",),
    ("engines",),
    ("scores",),
    ("artifacts",),
    ("baselines", "agreement", "export"),
    ("gates",),
    ("scorecard",),
    ("suites",),
    ("fixtures",),
    ("reuse_options",),
    ("settings",),
    ("reuse",),
    ("collection",),
    ("runner",),
    ("reports",),
    ("session", "review"),
    ("graders", "testing"),
    ("importing", "diagnostics"),
    ("cli",),
    ("xdist",),
    ("hookspecs", "registration"),
    ("plugin",),
]
RANKS = {package: rank for rank, layer in enumerate(LAYERS) for package in layer}
SINGLE_MODULES = {RANKS["errors"], RANKS["completion"]}
# The front door names everything lazily, and `python -m pytest_evals` is the command.
DOORS = {"__init__", "__main__"}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each package of ours that a module imports, anywhere in it, with the line; imports for types alone count."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "pytest_evals":
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pytest_evals."):
            yield (node.module or "").split(".")[1], node.lineno
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            yield from ((name[1], node.lineno) for name in names if name[0] == "pytest_evals" and len(name) > 1)


def modules() -> Iterator[tuple[Path, str]]:
    """Yield every module with the package that it belongs to."""
    for path in sorted(ROOT.rglob("*.py")):
        package = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if package not in DOORS:
            yield path, package


def runs_up(package: str, target: str) -> bool:
    """Tell whether an import of ``target`` in ``package`` breaks the order."""
    if target == package:
        return False
    if RANKS[target] == RANKS[package]:
        return RANKS[target] not in SINGLE_MODULES
    return RANKS[target] > RANKS[package]


def test_imports_between_packages_run_one_way() -> None:
    upward = [
        f"{path.relative_to(ROOT)}:{line} imports {target}"
        for path, package in modules()
        for target, line in imports(path)
        if runs_up(package, target)
    ]
    assert upward == []


def test_every_package_has_its_layer() -> None:
    assert {package for _, package in modules()} == RANKS.keys()


def test_modules_are_short_enough_to_be_read_from_top_to_bottom() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path, _ in modules()}
    assert {path: length for path, length in lengths.items() if length > 400} == {}


def test_an_artifact_is_read_without_pytest_and_torch() -> None:
    code = (
        "import sys, pytest_evals.artifacts.artifact; "
        "print([name for name in ('pytest', '_pytest', 'torch', 'transformers') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
