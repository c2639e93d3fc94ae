"""Which names a test takes from elsewhere: from ``before=``, from modules, from the program."""

from __future__ import annotations

import ast
import builtins
import symtable
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TestCode:
    """A test as it is run. ``names``: what it may take from the program; ``modules``: what is imported for it, by name;
    ``only_builtins``: it names nothing else that a program could define.
    """

    __test__ = False

    source: str
    names: tuple[str, ...]
    wanted: tuple[str, ...]
    modules: Mapping[str, str]
    only_builtins: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "source": self.source,
            "names": list(self.names),
            "modules": dict(self.modules),
            "only_builtins": self.only_builtins,
        }


def analyse(source: str, before: str, entry_point: str | None) -> TestCode:
    """Return a test with the names that it needs. ``before`` is what `trusted_head` returned. Raises `SyntaxError`."""
    tree = ast.parse(source)
    free = free_names(source)
    given = set(defined(ast.parse(before))) if before else set()
    modules = {name: name for name in sorted(free - given) if _is_module(name, tree)}
    wanted = free - given - set(modules)
    other = {name for name in wanted if not hasattr(builtins, name)}
    if entry_point is not None and _defines_check(tree):
        source = f"{source}\n\ncheck(__candidate__)\n"
        wanted -= {"__candidate__"}
    names = (free_names(before) | free if before else free) | ({entry_point} if entry_point else set())
    called = {name for name in wanted if hasattr(builtins, name) and name in _called(tree)}
    functions = other or called
    return TestCode(
        source,
        tuple(sorted(names - set(modules))),
        (entry_point,) if entry_point else tuple(sorted(functions)),
        modules,
        only_builtins=not other,
    )


def free_names(source: str) -> set[str]:
    """Return the global names that code uses and does not make."""
    table = symtable.symtable(source, "<tests>", "exec")
    made = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    for scope in _scopes(table):
        used |= {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global() and symbol.is_referenced()}
    return used - made - {"__name__", "__file__", "__doc__"}


def _scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _scopes(child)


def _is_module(name: str, tree: ast.Module) -> bool:
    """Tell whether a name of the standard library is used as its modules are: with a dot behind it, and not otherwise."""
    if name not in sys.stdlib_module_names or name.startswith("_") or hasattr(builtins, name):
        return False
    dotted = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return all(id(node) in dotted for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name)


def _called(tree: ast.AST) -> set[str]:
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def _defines_check(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body)


def checks_nothing(tree: ast.Module, *, entry_point: bool) -> bool:
    """Tell whether a test only defines things: nothing of it could fail."""
    if entry_point and _defines_check(tree):
        return False
    return all(
        isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Pass))
        or (isinstance(node, (ast.Expr, ast.Assign, ast.AnnAssign)) and not _does_something(node))
        for node in tree.body
    )


def _does_something(node: ast.AST) -> bool:
    kinds = (ast.Name, ast.Call, ast.Await)
    return any(
        isinstance(part, kinds) and not isinstance(getattr(part, "ctx", None), ast.Store) for part in ast.walk(node)
    )


def defined(tree: ast.AST) -> Iterator[str]:
    """Return the names that a module gives something to, also in its ``if`` and ``try``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                yield node.id
        elif not isinstance(node, ast.Lambda):
            yield from defined(node)


# -- The code in front of a program, which is the author's.


def trusted_head(before: str, entry_point: str | None, *, goes_on: bool) -> str:
    """Return what of ``before`` tests may use without asking the program: everything but what the program is to fill in.

    ``goes_on``: the program is the rest of its last function. What cannot be parsed is left to the program.
    """
    tree = _completed(before)
    if tree is None:
        return ""
    kept: Sequence[ast.stmt] = [
        node
        for node in tree.body
        if not (isinstance(node, _DEFINITIONS) and (node.name == entry_point or _is_stub(node)))
    ]
    if goes_on and tree.body and kept and kept[-1] is tree.body[-1] and isinstance(kept[-1], _DEFINITIONS):
        kept = kept[:-1]
    return ast.unparse(ast.Module(list(kept), [])) if any(map(_does_more, kept)) else ""


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _completed(before: str) -> ast.Module | None:
    for end in ("", "\n    pass", "\n        pass", " pass"):
        try:
            return ast.parse(before.rstrip() + end)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def _is_stub(node: ast.stmt) -> bool:
    if not isinstance(node, _DEFINITIONS):
        return False
    return all(
        isinstance(part, (ast.Pass, ast.AnnAssign))
        or (isinstance(part, ast.Raise) and "NotImplementedError" in ast.unparse(part))
        or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
        or (isinstance(node, ast.ClassDef) and _is_stub(part))
        for part in node.body
    ) and not _is_data(node)


def _is_data(node: ast.stmt) -> bool:
    """Tell whether a class is made of its annotations, as dataclasses are, or is an exception."""
    return isinstance(node, ast.ClassDef) and (
        bool(node.bases) or any(isinstance(part, ast.AnnAssign) for part in node.body)
    )


def _does_more(node: ast.stmt) -> bool:
    return not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def class_names(source: str) -> list[str]:
    """Return the classes that code defines at its top."""
    return [node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)] if source else []


def wanted_names(tests: Iterable[TestCode]) -> tuple[str, ...]:
    """Return the names that the tests take from the program, each once."""
    return tuple(dict.fromkeys(name for test in tests for name in test.wanted))
