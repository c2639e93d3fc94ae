"""What identifies a function in a model's place, read from its module's file: nothing is imported."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_evals.ids import content_hash


def identity_of(name: str, source: str | None) -> dict[str, Any]:
    """Return the identity of the script ``name`` whose module reads ``source``: after a change it is another model."""
    return {
        "engine": "scripted",
        "function": name,
        "source": None if source is None else content_hash(source, length=16),
    }


def script_identity(name: str, path: Sequence[str]) -> dict[str, Any] | None:
    """Return the identity that the script ``name`` will have, `None` where only importing it can tell: it is not written
    in the module itself, or decorated.
    """
    module, _, function = name.partition(":")
    file = _file_of(module, path)
    if file is None:
        return None
    linecache.checkcache(str(file))
    # As `inspect.getsource` reads it.
    source = "".join(linecache.getlines(str(file)))
    return identity_of(name, source) if _plainly_written(function, source) else None


def _file_of(module: str, path: Sequence[str]) -> Path | None:
    relative = Path(*module.split("."))
    for folder in path:
        for found in (Path(folder, relative, "__init__.py"), Path(folder, relative).with_suffix(".py")):
            if found.is_file():
                return found
    return None


def _plainly_written(function: str, source: str) -> bool:
    """Tell whether the module defines the function itself, once."""
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError):
        return False
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    defined = [each for each in ast.walk(ast.Module(statements, [])) if _binds(each, function)]
    return (
        len(defined) == 1
        and isinstance(defined[0], kinds)
        and defined[0] in statements
        and not defined[0].decorator_list
    )


def _binds(node: ast.AST, name: str) -> bool:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return node.name == name
    if isinstance(node, ast.alias):
        return (node.asname or node.name) in (name, "*")
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name
