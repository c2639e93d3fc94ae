"""Finds the fixtures that a test sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Lookup:
    """Finds the fixtures that a test sees: those that it asks for, and others by name."""

    def __init__(self, definition: Any) -> None:
        # Not public in pytest, and used by other plugins in the same way; custom items lack it.
        info = getattr(definition, "_fixtureinfo", None)
        self._asked: Mapping[str, Sequence[Any]] = getattr(info, "name2fixturedefs", {})
        self._manager = getattr(definition.session, "_fixturemanager", None)
        self._node = definition

    def __call__(self, name: str) -> Sequence[Any]:
        """Return the definitions of a fixture, the one that wins last; none for an unknown name."""
        found: Sequence[Any] | None = self._asked.get(name)
        if not found and self._manager is not None:
            found = self._manager.getfixturedefs(name, self._node)
        return found or ()

    def function(self, name: str) -> Any:
        """Return the function of the definition that wins, `None` for an unknown name."""
        definitions = self(name)
        return definitions[-1].func if definitions else None

    def parameters(self) -> set[str]:
        """Return the arguments that the test's own marks ``parametrize`` give values to."""
        found: set[str] = set()
        for mark in self._node.iter_markers("parametrize"):
            argnames = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
            names = [name.strip() for name in argnames.split(",")] if isinstance(argnames, str) else list(argnames)
            indirect = mark.kwargs.get("indirect", mark.args[2] if len(mark.args) > 2 else False)
            found.update(name for name in names if indirect is not True and name not in (indirect or ()))
        return found

    def names(self) -> set[str]:
        """Return every name of a fixture that the test could ask for, for a hint."""
        tables = ("_arg2fixturedefs", "_arg2node2fixturedefs", "_arg2nodeid2fixturedefs")
        defined = {*self._asked, *(name for table in tables for name in getattr(self._manager, table, {}))}
        return {name for name in defined if self(name)}
