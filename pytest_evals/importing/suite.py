"""A suite that was read from another tool's configuration: what is written to files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_evals.errors import EvalsError
from pytest_evals.importing.python_source import (
    WIDTH,
    Call,
    Code,
    assignment,
    block_literal,
    comment,
    identifier,
    source,
)

RESERVED = frozenset(
    [
        "case",
        "cases",
        "completion",
        "grader",
        "graders",
        "item",
        "json",
        "judge",
        "math",
        "model",
        "pytest",
        "re",
        "record",
        "request",
        "string",
        "task",
    ]
)
"""Names that a written suite uses for something else."""


class ImportFileError(EvalsError):
    """A configuration of another tool cannot be read, or describes nothing that could be a suite."""


@dataclass
class ImportedEval:
    """One function with ``@cases``. ``asserted`` graders decide about a case, ``scored`` ones are only measured."""

    function: str
    data: str | Code
    options: dict[str, Any]
    asserted: list[str] = field(default_factory=list)
    scored: list[str] = field(default_factory=list)

    def source(self) -> str:
        """Return decorator and function."""
        decorated = Call("cases", (self.data,), self.options)
        names = list(dict.fromkeys([*self.asserted, *self.scored])) or ["completion"]
        head = source(Call(f"def {self.function}", tuple(map(Code, names))), after=1 if self.asserted else 5)
        return f"@{source(decorated, before=1)}\n{head}:{self._body()}"

    def _body(self) -> str:
        if not self.asserted:
            return " ..."
        together = f"    assert {' and '.join(self.asserted)}"
        if len(together) <= WIDTH:
            return f"\n{together}"
        return "".join(f"\n    assert {name}" for name in self.asserted)


@dataclass
class Suite:
    """All of a test file, and the files of rows beside it.

    ``notes`` say what differs or was not carried over: they are comments in the file, and are printed. ``hints`` are only printed.
    ``fields`` are those of the row that its templates ask for.
    """

    name: str
    tool: str
    origin: str
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    evals: list[ImportedEval] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    fields: set[str] = field(default_factory=set)
    _imports: dict[str, set[str]] = field(default_factory=dict)
    _blocks: list[tuple[bool, str]] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)

    def note(self, text: str) -> None:
        """Add a note, once."""
        text = " ".join(text.split())
        if text not in self.notes:
            self.notes.append(text)

    def name_for(self, wanted: str) -> str:
        """Return a name that the file does not use yet, and keep it."""
        name = identifier(wanted, {*self._names, *RESERVED})
        self._names[name] = ""
        return name

    def uses(self, module: str, *names: str) -> None:
        """Import a module, or names of it."""
        self._imports.setdefault(module, set()).update(names)

    def grader(self, wanted: str, call: Call) -> str:
        """Add a ready-made grader, and return its name. One that is the same is not added again."""
        written = source(call)
        same = [name for name, known in self._names.items() if known == written]
        if same:
            return same[0]
        name = self.name_for(wanted)
        self._names[name] = written
        self.uses("pytest_evals", "graders")
        self._blocks.append((False, assignment(name, call)))
        return name

    def function(self, wanted: str, code: str, *, parts: Mapping[str, str] | None = None, graded: bool = True) -> str:
        """Add a function, whose name is ``NAME`` in ``code`` (other words are replaced by ``parts``), and return its name."""
        for word, text in (parts or {}).items():
            code = code.replace(word, text)
        same = [name for name, known in self._names.items() if known == code]
        if same:
            return same[0]
        name = self.name_for(wanted)
        self._names[name] = code
        if graded:
            self.uses("pytest_evals", "grader")
        self._blocks.append((True, code.replace("NAME", name).strip("\n")))
        return name

    def constant(self, wanted: str, value: Any) -> str:
        """Add a constant, and return its name in capitals. One that is the same is not added again."""
        written = source(value)
        name = next((name for name, known in self._names.items() if known == f"constant {written}"), None)
        if name is None:
            name = self.name_for(wanted)
            self._names[name] = f"constant {written}"
            self._blocks.append((False, assignment(name.upper(), value)))
        return name.upper()

    def add_block(self, code: str) -> None:
        """Add a class or a function as it is."""
        self._blocks.append((True, code))

    def text(self, value: str, wanted: str) -> str | Code:
        """Return a text for an argument: one of several lines becomes a constant."""
        if "\n" not in value or len(source(value)) <= WIDTH - 24:
            return value
        written = block_literal(value)
        same = [name for name, known in self._names.items() if known == written]
        if same:
            return Code(same[0].upper())
        name = self.name_for(wanted)
        self._names[name] = written
        self._blocks.append((False, f"{name.upper()} = {written}"))
        return Code(name.upper())

    def source(self) -> str:
        """Return the text of the test file."""
        self.uses("pytest_evals", "cases")
        opening = f'"""{self.name}: made by `pytest-evals import {self.tool}` from {self.origin}."""'
        parts = [opening.replace("\\", "/"), *self._comments(), "\n".join(self._import_lines())]
        text = "\n\n".join(parts)
        after_function = False
        for number, (is_function, block) in enumerate(self._blocks):
            apart = is_function or after_function
            text += f"{chr(10) * (3 if apart else 2 if number == 0 else 1)}{block}"
            after_function = is_function
        return "\n\n\n".join([text, *(each.source() for each in self.evals)]) + "\n"

    def _comments(self) -> list[str]:
        if not self.notes:
            return []
        lines = ["# Not carried over, or not quite the same:"]
        lines += [line for note in self.notes for line in comment(note, "# - ", "#   ")]
        return ["\n".join(lines)]

    def _import_lines(self) -> Iterable[str]:
        ours: list[str] = []
        others: list[str] = []
        standard: list[str] = []
        for module, names in sorted(self._imports.items()):
            line = f"from {module} import {', '.join(sorted(names))}" if names else f"import {module}"
            place = ours if module == "pytest_evals" else others if module == "pydantic" else standard
            place.append(line)
        standard.sort(key=lambda line: (line.startswith("from"), line))
        return [*standard, *([""] if standard else []), *others, *ours]
