"""What a script consists of: its module, and what that imports from the project, read from the files. Nothing is imported.

Modules of the standard library and of installed packages are left out: their versions change with the environment, and what a
script is follows from them as little as from the weather. What a script reads at run time cannot be told from its files.
"""

from __future__ import annotations

import ast
import functools
import site
import sysconfig
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_OWN = "pytest_evals"
# Calls by which a program depends on more than its modules say.
_READING = ("open", "exec", "eval", "read_text", "read_bytes", "getenv")
_IMPORTING = ("import_module", "__import__")


@dataclass(frozen=True, slots=True)
class ScriptSources:
    """``texts`` are the sources of the modules by name. ``reads`` says, as ``file:line``, where one of them first reads a file, a
    variable of the environment, or a module whose name is not written there; `None` where nothing does.
    """

    texts: Mapping[str, str]
    reads: str | None


def script_sources(module: str, path: Sequence[str]) -> ScriptSources:
    """Return the sources of a module and of all that it imports from the project; ``path`` is where modules are looked for."""
    folders = [Path(folder) for folder in path if not _is_installed(Path(folder))]
    waiting, texts, reads = _with_parents(module), dict[str, str](), list[str]()
    while waiting:
        name = waiting.pop(0)
        file = file_of(name, folders)
        if name in texts or file is None:
            continue
        texts[name] = source_of(file)
        tree = _parsed(texts[name])
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        for found in _imported(tree, package):
            waiting += [each for each in _with_parents(found) if each not in texts]
        reads += [f"{file.name}:{line}" for line in _reading(tree)]
    return ScriptSources(dict(sorted(texts.items())), reads[0] if reads else None)


def file_of(module: str, folders: Sequence[Path]) -> Path | None:
    """Return the file of a module, `None` where none of the folders has it."""
    relative = Path(*module.split("."))
    for folder in folders:
        for found in (folder / relative / "__init__.py", (folder / relative).with_suffix(".py")):
            if found.is_file():
                return found
    return None


def source_of(file: Path) -> str:
    """Return what a module reads, as `inspect.getsource` does."""
    try:
        with tokenize.open(file) as lines:
            text = lines.read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return ""
    return text if not text or text.endswith("\n") else f"{text}\n"


def _with_parents(module: str) -> list[str]:
    """Return a module and the packages that are imported before it."""
    parts = module.split(".")
    names = [".".join(parts[: count + 1]) for count in range(len(parts))]
    return [] if parts[0] == _OWN else names


@functools.cache
def _is_installed(folder: Path) -> bool:
    """Tell whether this is where the standard library or installed packages are."""
    places = sysconfig.get_paths()
    installed = [places[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed += [*site.getsitepackages(), site.getusersitepackages()]
    resolved = folder.resolve()
    return any(resolved == (place := Path(name).resolve()) or place in resolved.parents for name in installed)


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield the modules that a module imports, anywhere in it; of ``from a import b``, b may be one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            if base:
                yield base
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and _called(node) in _IMPORTING:
            name = _written(node)
            if name:
                yield name


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    around = parts[: len(parts) - node.level + 1]
    return ".".join([*around, *([node.module] if node.module else [])])


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def _written(node: ast.Call) -> str | None:
    """Return the absolute name that a call imports, `None` where it is not written there."""
    first = node.args[0] if node.args else None
    name = first.value if isinstance(first, ast.Constant) else None
    return name if isinstance(name, str) and not name.startswith(".") else None


def _reading(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = _called(node)
            if called in _READING or (called in _IMPORTING and not _written(node)):
                yield node.lineno
        elif isinstance(node, ast.Attribute) and node.attr == "environ":
            yield node.lineno
