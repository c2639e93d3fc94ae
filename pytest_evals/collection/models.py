"""Which models a test is run with, and what they are called in the ids of its items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from pytest_evals.declaration import Declaration
from pytest_evals.engines.spec import EMBEDDED, spec_of_record
from pytest_evals.errors import EvalsError
from pytest_evals.settings import Settings, model_text


def models_for(definition: pytest.Item, declaration: Declaration, settings: Settings) -> tuple[str, ...]:
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


def check_models(models: Iterable[str], settings: Settings, where: str) -> None:
    """Raise `ModelError` for a model that a grader names and nobody can load."""
    for model in models:
        try:
            model_text(model, settings.root, settings.root, settings.aliases)
        except EvalsError as error:
            raise type(error)(f"{where}: {error}") from error


def short_names(models: Sequence[str], root: Path) -> dict[str | None, str]:
    """Return a name for each model, for ids; equal ones are numbered."""
    names: dict[str | None, str] = {}
    for model in models:
        short = spec_of_record(model, root).short
        taken = sum(name == short or name.startswith(f"{short}-") for name in names.values())
        names[model] = f"{short}-{taken + 1}" if taken else short
    return names
