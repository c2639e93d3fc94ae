"""The steps that a test needs, in an order in which each follows what it builds on; found and checked at collection.

Dependencies are argument names, as for any fixture, and aliases of tasks in the templates of graders. What cannot work is
refused here with the function, its place, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_evals.errors import SuiteError, did_you_mean
from pytest_evals.marking import Provided, provided_by
from pytest_evals.steps.step import Declaration, declaration_of
from pytest_evals.templates.rendering import names_in

Source = Provided | Literal["step", "fixture", "parameter"]
Lookup = Callable[[str], Sequence[Any]]
"""From a name to the fixture definitions of it that the test sees, the one that wins last."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step of a test's cases.

    ``key`` is its name, with a number where it is one that another definition overrides. ``sources`` say where its arguments
    come from, ``needs`` which steps come before it: those behind arguments (``arguments``) and in templates (``aliases``).
    ``fixtures`` are the definitions of ordinary fixtures among the arguments; ``late``: it, or what it builds on, waits for
    such a fixture.
    """

    key: str
    name: str
    declaration: Declaration
    sources: Mapping[str, Source]
    arguments: Mapping[str, str]
    aliases: Mapping[str, str]
    fixtures: Mapping[str, Any]
    late: bool

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the steps that come before it."""
        return tuple(dict.fromkeys((*self.arguments.values(), *self.aliases.values())))

    def __str__(self) -> str:
        return self.declaration.called(self.name)


@dataclass(slots=True)
class Workflow:
    """The steps of a test, in order. ``aliases``: tasks that the templates of its graders name, by grader.
    ``applies_to``: the cases for which a step or grader with ``run_if`` runs, by its key.
    """

    steps: dict[str, Step] = field(default_factory=dict)
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    applies_to: dict[str, frozenset[str]] = field(default_factory=dict)

    def asks_for(self, source: Source) -> bool:
        """Tell whether some step asks for this itself."""
        return any(source in step.sources.values() for step in self.steps.values())

    def conditions(self) -> dict[str, tuple[str, str]]:
        """Return the ``run_if`` of each step that has one, with who it is."""
        found = {key: (step.declaration.run_if, str(step)) for key, step in self.steps.items()}
        return {key: (condition, who) for key, (condition, who) in found.items() if condition is not None}

    def find(self, name: str, declaration: Declaration) -> Step | None:
        """Return the step of a fixture, `None` when it is none."""
        step = self.steps.get(name)
        if step is not None and step.declaration is declaration:
            return step
        return next((other for other in self.steps.values() if other.declaration is declaration), None)


def build_workflow(
    names: Sequence[str], lookup: Lookup, known: Callable[[], Collection[str]], parameters: Collection[str] = ()
) -> Workflow:
    """Return the workflow of a test that asks for ``names``, itself or through others; ``known`` are all names of fixtures,
    ``parameters`` those of the test itself (``parametrize``).

    Raises `SuiteError` for what cannot work.
    """
    builder = _Builder(lookup, known, parameters)
    for name in names:
        definitions = lookup(name)
        for level in range(len(definitions)):
            declaration = declaration_of(definitions[level].func)
            if declaration is None:
                continue
            if declaration.kind == "grader" and level == len(definitions) - 1:
                builder.note_aliases(name, declaration)
            if declaration.runs_ahead and level == len(definitions) - 1:
                builder.add(name, level)
    return builder.workflow


class _Builder:
    def __init__(self, lookup: Lookup, known: Callable[[], Collection[str]], parameters: Collection[str]) -> None:
        self.workflow = Workflow()
        self._lookup = lookup
        self._known = known
        self._parameters = parameters
        self._path: list[tuple[str, str]] = []

    def note_aliases(self, grader: str, declaration: Declaration) -> dict[str, str]:
        """Add the tasks that a grader's templates name; return their steps by alias."""
        found = {}
        for name in sorted(names_in(declaration.settings) - set(declaration.names)):
            definitions = self._lookup(name)
            task = declaration_of(definitions[-1].func) if definitions else None
            if task is not None and task.kind == "task":
                found[name] = self.add(name, len(definitions) - 1)
        if found:
            self.workflow.aliases[grader] = tuple(found)
        return found

    def add(self, name: str, level: int) -> str:
        """Add a step and what it needs, if it is not there; return its key."""
        definitions = self._lookup(name)
        declaration = declaration_of(definitions[level].func)
        if declaration is None:
            raise SuiteError(f"fixture {name!r} is neither task nor grader")
        overridden = len(definitions) - 1 - level
        key = f"{name}^{overridden}" if overridden else name
        self._check_cycle(key, declaration)
        if key in self.workflow.steps:
            return key
        self._path.append((key, declaration.called(name)))
        step = self._make(key, name, level, declaration)
        self._path.pop()
        self.workflow.steps[key] = step
        return key

    def _check_cycle(self, key: str, declaration: Declaration) -> None:
        keys = [each for each, _ in self._path]
        if key in keys:
            circle = " -> ".join(who for _, who in [*self._path[keys.index(key) :], self._path[keys.index(key)]])
            raise SuiteError(f"{declaration.kind}s ask for each other in a circle: {circle}; break it")

    def _make(self, key: str, name: str, level: int, declaration: Declaration) -> Step:
        who = declaration.called(name)
        sources: dict[str, Source] = {}
        arguments: dict[str, str] = {}
        for parameter in declaration.parameters:
            if parameter == "request" and declaration.ready_made:
                continue
            sources[parameter], needed = self._source(parameter, name, level, who)
            if needed is not None:
                arguments[parameter] = needed
        aliases = self.note_aliases(name, declaration) if declaration.kind == "grader" else {}
        steps = self.workflow.steps
        fixtures = {
            parameter: self._lookup(parameter)[_level(parameter, name, level)]
            for parameter, source in sources.items()
            if source == "fixture"
        }
        late = bool(fixtures) or any(steps[needed].late for needed in (*arguments.values(), *aliases.values()))
        return Step(key, name, declaration, sources, arguments, aliases, fixtures, late)

    def _source(self, parameter: str, name: str, level: int, who: str) -> tuple[Source, str | None]:
        if parameter in self._parameters:
            # It takes the place of a fixture of that name.
            return "parameter", None
        definitions = self._lookup(parameter)
        if not definitions or (parameter == name and level == 0):
            raise self._unknown(parameter, name, who)
        at = _level(parameter, name, level) % len(definitions)
        definition = definitions[at]
        provided = provided_by(definition.func)
        if provided is not None:
            return provided, None
        declaration = declaration_of(definition.func)
        if declaration is not None:
            self._check_runs_ahead(parameter, declaration, who)
            return "step", self.add(parameter, at)
        if definition.scope == "function":
            raise SuiteError(
                f"{who} asks for the fixture {parameter!r}, which is made anew for each test; tasks and async graders run ahead "
                "of all tests, so make it class-, module-, package- or session-scoped (or a @task)"
            )
        return "fixture", None

    def _check_runs_ahead(self, parameter: str, declaration: Declaration, who: str) -> None:
        """A sync grader that a step builds on runs ahead too."""
        names = declaration.parameters
        if names[:1] == ["self"] or ("request" in names and not declaration.ready_made):
            what = "is a method" if names[:1] == ["self"] else "asks for 'request'"
            raise SuiteError(
                f"{who} builds on the {declaration.called(parameter)}, which {what}, so that it cannot run ahead of "
                "the tests; write it as a function that asks for what it needs by name"
            )

    def _unknown(self, parameter: str, name: str, who: str) -> SuiteError:
        if parameter == name:
            return SuiteError(f"{who} asks for its own name, and overrides nothing")
        hint = did_you_mean(parameter, self._known())
        return SuiteError(f"{who} asks for {parameter!r}, and there is no task, grader or fixture of that name{hint}")


def _level(parameter: str, name: str, level: int) -> int:
    """Return which definition of a parameter is meant: one that asks for its own name gets the one that it overrides."""
    return level - 1 if parameter == name else -1
