"""What a test asks for, itself or through others: graders, steps, and what it wants of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pytest_evals.collection.lookup import Lookup
from pytest_evals.marking import is_default_turn, is_judge_handle, is_model_handle
from pytest_evals.steps.step import Asks, Declaration, declaration_of, grader_of
from pytest_evals.steps.workflow import Source, Workflow, build_workflow


@dataclass(frozen=True, slots=True)
class Asked:
    """``graders`` are by name, in the order in which they are asked for. ``completion``: whether the test wants the default
    turn; ``model`` and ``judge``: whether it calls the model under test, and the one that judges.
    """

    workflow: Workflow
    graders: Mapping[str, Declaration]
    asks: Mapping[str, Asks]
    """Those graders that need likelihoods, with what tells the texts."""
    conditions: Mapping[str, tuple[str, str]]
    """The ``run_if`` of each step and grader that has one, with who it is."""
    completion: bool
    model: bool
    judge: bool

    @property
    def calls(self) -> bool:
        """Whether it calls models on its own."""
        return self.model or self.judge


def find_asked(names: Sequence[str], lookup: Lookup) -> Asked:
    """Return what a test asks for that asks for the fixtures of these names. Raises `SuiteError` for steps that cannot
    work.
    """
    workflow = build_workflow(names, lookup, lookup.names)
    known = dict.fromkeys((*names, *workflow.steps))
    found = {name: grader_of(lookup.function(name)) for name in known}
    graders = {name: grader for name, grader in found.items() if grader is not None}

    def wants(source: Source, is_it: Callable[[object], bool]) -> bool:
        return (source in names and is_it(lookup.function(source))) or workflow.asks_for(source)

    return Asked(
        workflow,
        graders,
        {name: grader.asks for name, grader in graders.items() if grader.asks is not None},
        _conditions(names, lookup, workflow),
        completion=_gets_default_turn(names, lookup) or workflow.asks_for("completion"),
        model=wants("model", is_model_handle),
        judge=wants("judge", is_judge_handle),
    )


def _conditions(names: Sequence[str], lookup: Lookup, workflow: Workflow) -> dict[str, tuple[str, str]]:
    conditions = workflow.conditions()
    for name in names:
        declaration = declaration_of(lookup.function(name))
        if declaration is not None and declaration.run_if is not None:
            who = f"{declaration.kind} {name!r} ({declaration.place})"
            conditions.setdefault(name, (declaration.run_if, who))
    return conditions


def _gets_default_turn(names: Sequence[str], lookup: Lookup) -> bool:
    """Tell whether a test gets the plugin's own ``completion``, itself or through a fixture that overrides and uses it."""
    for definition in reversed(lookup("completion") if "completion" in names else ()):
        if is_default_turn(definition.func):
            return True
        if "completion" not in definition.argnames:
            return False
    return False
