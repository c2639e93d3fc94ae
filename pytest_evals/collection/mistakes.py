"""What the author of a suite meant, where Python or pytest can only say that it does not work.

Each function returns what to say, or an empty value where it has nothing to add.
"""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import pytest_evals
from pytest_evals.collection.closure import Lookup
from pytest_evals.errors import did_you_mean
from pytest_evals.fixtures.declaration import declaration_of
from pytest_evals.suites.suite import Suite

_UNKNOWN = re.compile(r"\A(?P<function>[\w.]+)\(\) got an unexpected keyword argument '(?P<argument>\w+)'")
_MISSING = re.compile(r"\A(?P<function>[\w.]+)\(\) missing \d+ required [\w-]+ arguments?: (?P<arguments>.+)\Z")
_POSITIONAL = re.compile(
    r"\A(?P<function>[\w.]+)\(\) takes (?:from \d+ to )?\d+ positional arguments? but \d+ (?:positional arguments? .*)?(?:was|were) given"
)
_IMPORT = re.compile(r"\Acannot import name '(?P<name>\w+)' from 'pytest_evals'")

# -- A module of tests that cannot be imported.


def explain_import(error: BaseException) -> str:
    """Say what was meant by a call or an import of this package's that failed while a module was imported."""
    if isinstance(error, pytest.Collector.CollectError) and isinstance(error.__cause__, ImportError):
        match = _IMPORT.match(str(error.__cause__))
        return _unknown_name(match["name"]) if match else ""
    return _wrong_call(error) if isinstance(error, TypeError) else ""


def _unknown_name(name: str) -> str:
    if name in pytest_evals.graders.__all__:
        return (
            f"pytest_evals has no {name!r}; it is a grader: from pytest_evals import graders, then graders.{name}(...)"
        )
    return f"pytest_evals has no {name!r}{did_you_mean(name, pytest_evals.__all__)}"


def _wrong_call(error: TypeError) -> str:
    text = str(error)
    unknown, missing = _UNKNOWN.match(text), _MISSING.match(text)
    match = unknown or missing or _POSITIONAL.match(text)
    function = _ours(error, match["function"].split(".")) if match else None
    if match is None or function is None:
        return ""
    signature = {name: each for name, each in inspect.signature(function).parameters.items() if name != "self"}
    parameters = list(signature)
    if not (unknown or missing):
        named = [name for name, each in signature.items() if each.kind is inspect.Parameter.KEYWORD_ONLY]
        if not named:
            return ""
        first = ", ".join([*(name for name in parameters if name not in named), f"{named[0]}=..."])
        return f"{match['function']}() takes {', '.join(named)} by name only: write {match['function']}({first})"
    if unknown:
        hint = did_you_mean(unknown["argument"], parameters) or f" (it has {', '.join(parameters)})"
        return f"{match['function']}() has no argument {unknown['argument']!r}{hint}"
    if match["function"] == "Judge.__call__":
        return (
            "graders.judge() with a prompt of your own needs 'response', the class of the reply; to have one criterion judged, write "
            "graders.judge.binary('The answer is polite.') (docs/judges.md has the others)"
        )
    return f"{match['function']}() needs {match['arguments']} (its arguments: {', '.join(parameters)})"


def _ours(error: BaseException, path: Sequence[str]) -> Callable[..., Any] | None:
    """Return the public function of this package that a module called last; `None` where it called something else."""
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames or Path(frames[-1][0].f_code.co_filename).is_relative_to(Path(pytest_evals.__file__).parent):
        return None
    judge = pytest_evals.graders.judge
    for home in (frames[-1][0].f_globals.get(path[0]), pytest_evals, pytest_evals.graders, judge):
        found = home if callable(home) and len(path) == 1 and not isinstance(home, type) else None
        found = found or getattr(home, path[-1], None)
        if inspect.isroutine(found) and (found.__module__ or "").startswith("pytest_evals"):
            return found
    return None


# -- A name that is defined twice: Python keeps the second one without a word, and the first is gone.


def defined_twice(module: ModuleType) -> str:
    """Name the first eval, grader or task of a module that a later definition of the same name replaces."""
    path = getattr(module, "__file__", None)
    return _defined_twice(Path(path)) if path else ""


@functools.lru_cache(maxsize=256)  # asked for each suite of a module
def _defined_twice(path: Path) -> str:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ""
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    for body in bodies:
        seen: dict[str, int] = {}
        for name, kind, line in _definitions(body):
            if name in seen:
                return (
                    f"{path.name}:{line}: {kind} {name!r} is defined a second time (first in line {seen[name]}), which "
                    "replaces the first one; give one of them another name"
                )
            seen[name] = line
    return ""


def _definitions(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str, int]]:
    """Yield name, kind and line of each eval, grader and task among some statements."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            marks = {_root_and_last(decorator)[1] for decorator in node.decorator_list}
            kind = next((kind for kind in ("cases", "grader", "task") if kind in marks), None)
            if kind is not None:
                yield node.name, "the test" if kind == "cases" else f"the {kind}", node.lineno
        elif isinstance(node, ast.Assign) and _root_and_last(node.value)[0] == "graders":
            targets = (target for target in node.targets if isinstance(target, ast.Name))
            yield from ((target.id, "the grader", node.lineno) for target in targets)


def _root_and_last(node: ast.expr) -> tuple[str, str]:
    """Return the first and the last name of ``a.b.c``, called or not."""
    last = ""
    while isinstance(node, ast.Call | ast.Attribute):
        if isinstance(node, ast.Call):
            node = node.func
        else:
            last = last or node.attr
            node = node.value
    root = node.id if isinstance(node, ast.Name) else ""
    return root, last or root


# -- A name that is not a grader, and one that is not a fixture.


def not_asked_for(lookup: Lookup) -> Callable[[str], str]:
    """Return a function that says why a name in a gate is not a grader of the test."""

    def explain(name: str) -> str:
        declaration = declaration_of(lookup.function(name))
        if declaration is not None and declaration.kind == "grader":
            return f"; the test does not ask for the grader {name!r}: name it among the arguments of the test"
        if declaration is None and lookup.function(name) is not None:
            return f"; {name!r} is a fixture, and no grader: write @grader in the place of @pytest.fixture"
        return ""

    return explain


def no_fixture(name: str, names: Mapping[str, Any]) -> str:
    """Say what the module has under a name that is not a fixture."""
    found = names.get(name)
    if isinstance(found, FunctionType):
        code = found.__code__
        return (
            f"; {name} is a plain function ({Path(code.co_filename).name}:{code.co_firstlineno}): write @grader above it, or "
            "@task where others build on its result"
        )
    return ""


def fields_as_text(suite: Suite, grader: str, settings: Mapping[str, Any]) -> list[str]:
    """Warn of a text of a ready-made grader that is the name of a field, and has no field in it."""
    fields = set(suite.dataset.rows[0])
    written = [value for value in settings.values() if isinstance(value, str) and value in fields]
    return [
        f"the grader {grader!r} is given the text {value!r}, which is the name of a field of the rows; for the field's value "
        f"write '{{{{item.{value}}}}}'"
        for value in written
        if not any(str(row.get(value)) == value for row in suite.dataset.rows)
    ]


# -- A case that is named on the command line and does not exist.


def nearest_cases(message: str, arguments: Sequence[str], known: Sequence[str]) -> str:
    """Return pytest's message that a test was not found, with the nearest case for each that was named."""
    lines = []
    for argument in arguments:
        test, bracket, _ = argument.partition("[")
        file, colons, function = test.partition("::")
        if not bracket or not colons or f"{Path(file).name}::{function}" not in message:
            continue
        close = difflib.get_close_matches(argument, [nodeid for nodeid in known if f"::{function}[" in nodeid], n=1)
        if close and close[0] != argument:
            lines.append(f"{argument}: there is no such case; did you mean {close[0]}?")
    return "\n".join([message, *lines])
