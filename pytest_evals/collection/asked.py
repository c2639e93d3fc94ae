"""What a test asks for, itself or through others: graders, steps, and what it wants of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_evals.collection.lookup import Lookup
from pytest_evals.marking import Provided, provided_by
from pytest_evals.steps.step import Asks, Declaration, declaration_of, grader_of
from pytest_evals.steps.workflow import Workflow, build_workflow


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


def find_asked(names: Sequence[str], lookup: Lookup) -> Asked:
    """Return what a test asks for that asks for the fixtures of these names. Raises `SuiteError` for steps that cannot
    work.
    """
    workflow = build_workflow(names, lookup, lookup.names, lookup.parameters())
    known = dict.fromkeys((*names, *workflow.steps))
    found = {name: grader_of(lookup.function(name)) for name in known}
    graders = {name: grader for name, grader in found.items() if grader is not None}

    def calls(handle: Provided) -> bool:
        itself = handle in names and provided_by(lookup.function(handle)) == handle
        return itself or workflow.asks_for(handle)

    return Asked(
        workflow,
        graders,
        {name: grader.asks for name, grader in graders.items() if grader.asks is not None},
        _conditions(names, lookup, workflow),
        completion=_gets_default_turn(names, lookup) or workflow.asks_for("completion"),
        model=calls("model"),
        judge=calls("judge"),
    )


def _conditions(names: Sequence[str], lookup: Lookup, workflow: Workflow) -> dict[str, tuple[str, str]]:
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
