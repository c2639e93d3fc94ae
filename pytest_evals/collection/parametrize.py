"""The items of a test: one for each case and model, with ids that stay the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_evals.collection.closure import RequestedFixtures
from pytest_evals.collection.item import RECORDED, CaseKey
from pytest_evals.engines.embedded import EMBEDDED
from pytest_evals.engines.short_names import short_names
from pytest_evals.engines.spec import ModelSpec, parse_spec, spec_of_record
from pytest_evals.errors import EvalsError, SuiteError
from pytest_evals.hashing import slug
from pytest_evals.media.parts import media_of
from pytest_evals.settings import Settings, model_text
from pytest_evals.suites.declaration import EvalDeclaration
from pytest_evals.suites.suite import Prepared, Suite


def case_keys(suite: Suite, models: Sequence[str], asked: RequestedFixtures, where: str) -> list[CaseKey]:
    """Return what tells the items apart, model by model, so that one model's cases are next to each other.

    Raises `SuiteError` for a case that brings a completion where a model is asked too, and for one without a prompt where
    there must be one.
    """
    keys: list[CaseKey] = []
    open_cases: list[Prepared] = []
    for prepared in suite.cases.values():
        if not (asked.completion or asked.asks or asked.model):
            keys.append(CaseKey(prepared.case.id, None))
        elif asked.completion and prepared.recorded is not None:
            if asked.asks or asked.model:
                raise SuiteError(
                    f"{where}: {prepared.case.place} brings a completion, and the test or a grader of it asks a model: "
                    "which one wrote the completion is not known; grade recorded completions in a test of their own"
                )
            keys.append(CaseKey(prepared.case.id, RECORDED))
        elif prepared.problem and prepared.skip is None and (asked.completion or asked.asks):
            raise SuiteError(f"{where}: {prepared.case.place} {prepared.problem}")
        else:
            open_cases.append(prepared)
    return [*keys, *(CaseKey(prepared.case.id, model) for model in models for prepared in open_cases)]


def item_ids(keys: Sequence[CaseKey], models: Sequence[str]) -> list[str]:
    """Return the ids of items: those of their cases, with the model's short name where there are several."""
    names = id_names(models) if len(models) > 1 else {}
    return [f"{key.case_id}-{names[key.model]}" if key.model in names else key.case_id for key in keys]


def asked_by(suite: Suite, settings: Settings, models: Sequence[str]) -> str:
    """Return by what the suite or the run says that a model is to be asked, an empty text where nothing says so."""
    declared = suite.declaration
    by = [f"{name}=" for name in ("prompt", "messages", "model") if getattr(declared, name) is not None]
    if settings.models:
        by.append("--evals-model")
    elif not by and tuple(models) != (EMBEDDED,) and any(prepared.prompt for prepared in suite.cases.values()):
        # A conftest or the configuration file chose one, and the rows have conversations for it.
        by.append(f"the model {', '.join(models)}")
    return " and ".join(by)


def check_recorded(suite: Suite, keys: Sequence[CaseKey], by: str, where: str) -> None:
    """Raise `SuiteError` where a case brings its completion although a model is to be asked."""
    recorded = next((key for key in keys if key.model == RECORDED), None)
    if recorded is not None and by:
        place = suite.cases[recorded.case_id].case.place
        raise SuiteError(
            f"{where}: {place} brings a completion, beside {by}, so that no model would be asked for it, and "
            "evals_recorded = refuse; drop the field 'completion', or what asks a model"
        )


# -- Which models a test is run with, and what they are called in the ids of its items.


def models_for(definition: pytest.Item, declaration: EvalDeclaration, settings: Settings) -> tuple[str, ...]:
    """Return the models of a test: those of the command line, else of the suite, else of the nearest conftest, else of the
    configuration file, else the embedded default. Raises an `EvalsError` for a specification that is wrong.
    """
    if settings.models:
        return settings.models
    own = [declaration.model] if isinstance(declaration.model, str) else declaration.model
    found = own or definition.ihook.pytest_evals_models(config=definition.config)
    if isinstance(found, str):
        found = [found]
    if not found:
        return settings.default_models or (EMBEDDED,)
    base = definition.path.parent if own else settings.root
    try:
        return tuple(dict.fromkeys(model_text(text, base, settings.root, settings.aliases) for text in found))
    except EvalsError as error:
        raise type(error)(f"{declaration.place}: {error}") from error


def check_models(
    models: Iterable[str],
    settings: Settings,
    where: str,
    check: Callable[[ModelSpec], object] | None = None,
    *,
    encodes: bool = False,
) -> None:
    """Raise `ModelError` for a model that a grader names and that cannot be loaded, and what ``check`` raises for one.
    ``encodes``: they may be encoders.
    """
    for model in models:
        try:
            text = model_text(model, settings.root, settings.root, settings.aliases, encodes=encodes)
            if check is not None:
                check(parse_spec(text, settings.root))
        except EvalsError as error:
            raise type(error)(f"{where}: {error}") from error


def check_abilities(
    suite: Suite, keys: Iterable[CaseKey], asked: RequestedFixtures, settings: Settings, where: str
) -> None:
    """Raise `SuiteError` for a model that cannot be shown the tools of some case, or cannot read its images or audio, where that can be
    told without loading it.
    """
    loops = {
        case
        for node in asked.workflow.steps.values()
        if node.declaration.offers_tools
        for case in asked.workflow.applies_to.get(node.key, suite.cases)
    }
    wanted: dict[tuple[str, str], Prepared] = {}
    reads = asked.completion or bool(asked.asks)
    for key in keys:
        if key.model in (None, RECORDED):
            continue
        prepared = suite.cases[key.case_id]
        params = prepared.params
        if key.case_id in loops or (asked.completion and params.tools and params.tool_choice != "none"):
            wanted.setdefault((str(key.model), "tools"), prepared)
        for part in media_of(prepared.prompt) if reads else ():
            wanted.setdefault((str(key.model), part["type"]), prepared)
    for (model, what), prepared in wanted.items():
        spec = spec_of_record(model, settings.root)
        files = spec.kind.files(spec)
        if files is None:
            continue
        why = files.without_tools() if what == "tools" else files.without_media(what)
        if why is not None:
            advice = "; leave them out for this model, or give it a template that knows them with ?template=FILE"
            raise SuiteError(
                f"{where}: {prepared.case.place}: {what}: {model} {why}{advice if what == 'tools' else ''}"
            )


def id_names(models: Sequence[str]) -> dict[str | None, str]:
    """Return what ids call each model: its short name, with characters that ids can have. Equal ones are numbered."""
    names: dict[str | None, str] = {}
    for model, short in short_names(models).items():
        name = slug(short)
        taken = sum(each == name or each.startswith(f"{name}-") for each in names.values())
        names[model] = f"{name}-{taken + 1}" if name in names.values() else name
    return names


# -- Repeats: the same case several times, as items of their own with ids that stay the same.


@dataclass(frozen=True, slots=True)
class RecordedParametrization:
    """The models of a suite, and how often each case runs, where a recorded run decides."""

    models: tuple[str, ...]
    repeats: int


def repeated(keys: Sequence[CaseKey], ids: Sequence[str], counts: Sequence[int]) -> tuple[list[CaseKey], list[str]]:
    """Return keys and ids with each as often as ``counts`` says, repeats of a case together.

    The number joins the id only where there are several.
    """
    found = [
        (dataclasses.replace(key, repeat=number), f"{name}-r{number}" if count > 1 else name)
        for key, name, count in zip(keys, ids, counts, strict=True)
        for number in range(1, count + 1)
    ]
    return [key for key, _ in found], [name for _, name in found]


def count_greedy(suite: Suite, keys: Sequence[CaseKey], root: Path) -> int:
    """Return how many completions are greedy, of models that give the same answer each time."""
    models = {key.model for key in keys} - {None, RECORDED}
    same = {model for model in models if spec_of_record(str(model), root).deduplicates}
    return sum(key.model in same and suite.cases[key.case_id].params.greedy for key in keys)


def same_note(suite: str, greedy: int, total: int) -> list[str]:
    """Say that repeats of ``greedy`` of ``total`` cases tell nothing new; nothing where there are none."""
    if not greedy:
        return []
    which = "its completions are greedy" if greedy == total else f"{greedy} of {total} completions are greedy"
    return [
        f"{suite}: {which}, and repeats of a greedy completion are the same; a temperature above 0 makes them differ"
    ]
