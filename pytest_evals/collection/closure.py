"""What a test asks for, itself or through others: graders, steps, and what it wants of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_evals.fixtures.declaration import Asks, FixtureSpec, declaration_of, grader_of
from pytest_evals.fixtures.dependencies import TaskGraph, build_task_graph
from pytest_evals.fixtures.provided import Provided, provided_by


@dataclass(frozen=True, slots=True)
class RequestedFixtures:
    """``graders`` are by name, in the order in which they are asked for. ``completion``: whether the test wants the default
    turn; ``model`` and ``judge``: whether it calls the model under test, and the one that judges.
    """

    workflow: TaskGraph
    graders: Mapping[str, FixtureSpec]
    asks: Mapping[str, Asks]
    """Those graders that need likelihoods, with what tells the texts."""
    conditions: Mapping[str, tuple[str, str]]
    """The ``run_if`` of each step and grader that has one, with who it is."""
    completion: bool
    model: bool
    judge: bool


def find_requested(names: Sequence[str], lookup: Lookup) -> RequestedFixtures:
    """Return what a test asks for that asks for the fixtures of these names. Raises `SuiteError` for steps that cannot
    work.
    """
    workflow = build_task_graph(names, lookup, lookup.names, lookup.parameters())
    known = dict.fromkeys((*names, *workflow.steps))
    found = {name: grader_of(lookup.function(name)) for name in known}
    graders = {name: grader for name, grader in found.items() if grader is not None}

    def calls(handle: Provided) -> bool:
        itself = handle in names and provided_by(lookup.function(handle)) == handle
        return itself or workflow.asks_for(handle)

    return RequestedFixtures(
        workflow,
        graders,
        {name: grader.asks for name, grader in graders.items() if grader.asks is not None},
        _conditions(names, lookup, workflow),
        completion=_gets_default_turn(names, lookup) or workflow.asks_for("completion"),
        model=calls("model"),
        judge=calls("judge"),
    )


def _conditions(names: Sequence[str], lookup: Lookup, workflow: TaskGraph) -> dict[str, tuple[str, str]]:
    conditions = workflow.conditions()
    for name in names:
        declaration = declaration_of(lookup.function(name))
        if declaration is not None and declaration.run_if is not None:
            who = declaration.called(name)
            conditions.setdefault(name, (declaration.run_if, who))
    return conditions


def _gets_default_turn(names: Sequence[str], lookup: Lookup) -> bool:
    """Tell whether a test gets the plugin's own ``completion``, itself or through a fixture that overrides and uses it."""
    for definition in reversed(lookup("completion") if "completion" in names else ()):
        if provided_by(definition.func) == "completion":
            return True
        if "completion" not in definition.argnames:
            return False
    return False


# -- Finds the fixtures that a test sees.


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
