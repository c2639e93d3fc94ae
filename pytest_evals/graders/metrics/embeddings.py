"""Cosine similarity of embeddings, computed by the encoder engine: in a process of the model's own, for all cases together."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_evals.engines.encoder_kind import ENCODER, WORDLLAMA
from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.context import current_scope
from pytest_evals.fixtures.grader import Fixture, grader_fixture
from pytest_evals.graders.metrics.base import as_references, check_threshold
from pytest_evals.graders.templating import check_static, depends_on_case, graded_part, require
from pytest_evals.templates.rendering import render
from pytest_evals.text import quotation

if TYPE_CHECKING:
    from pytest_evals.case import Case
    from pytest_evals.runner.model import Encoders

NAME = "embedding_similarity"


def check_model(model: str, base: Path) -> str:
    """Return the model's name; a folder relative to ``base`` becomes a path. Raises `SuiteError` for what cannot be loaded."""
    if not isinstance(model, str) or not model.strip() or "?" in model:
        raise SuiteError(f"{NAME}: model must be a name or a folder, not {model!r}")
    if model == WORDLLAMA:
        require("wordllama", "embeddings", NAME)
        return model
    require("sentence_transformers", "sentence-transformers", f"{NAME}(model={model!r})")
    if not model.startswith((".", "/", "~")) and not Path(model).is_absolute():
        return model
    folder = (base / Path(model).expanduser()).resolve()
    if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
        raise SuiteError(f"{NAME}: no model in {folder}: it has neither modules.json nor config.json")
    return str(folder)


def similarity_fixture(
    reference: object, model: str, device: str, threshold: float | None, of: str | None, run_if: str | None
) -> Fixture:
    """Return the grader's fixture. ``model`` is what `check_model` returned; the rest is as for `metric_fixture`."""
    check_threshold(threshold, NAME, -1)
    check_static(reference, lambda value: as_references(value, NAME))
    settings = {"reference": reference} if depends_on_case(reference) else {}
    part = graded_part(of, NAME)
    spec = f"{ENCODER}:{model}?head=embedding&device={device}"

    async def measured(*, case: Case, _evals_encoder: Encoders, **given: Any) -> Any:
        from pytest_evals.grades import Grade

        del case
        text, problem = part.read(given[part.name])
        if problem is not None:
            return Grade(False, "", problem)
        references = as_references(render(reference, current_scope()) if settings else reference, NAME)
        turns = [{"role": "user", "content": each} for each in (text, *references)]
        found = await _evals_encoder.ask(spec, turns)  # type: ignore[arg-type]  # messages of texts alone
        values = [(found.scores or {})[str(place)] for place in range(len(references))]
        value = max(values)
        nearest = references[values.index(value)]
        details = {"definition": _definition(model), **({"truncated": True} if found.finish_reason == "length" else {})}
        passed = None if threshold is None else value >= threshold
        return Grade(
            value, "", f"similarity {value:.3f} of {quotation(text)} to {quotation(nearest)}", passed, metadata=details
        )

    names = dict.fromkeys(("case", "_evals_encoder", part.name))
    kind = inspect.Parameter.KEYWORD_ONLY
    measured.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]  # read by pytest and by the plugin
    measured.__doc__ = f"The metric {NAME} of the completion."

    def check(found: Mapping[str, Any]) -> object:
        return as_references(found.get("reference", reference), NAME)

    return grader_fixture(
        measured,
        bounds=(-1, 1),
        settings=settings,
        check=check,
        run_if=run_if,
        models=(spec,),
        encodes=True,
    )


def _definition(model: str) -> str:
    """Return how the value is defined: library, version and model."""
    if model == WORDLLAMA:
        return f"cosine, wordllama {metadata.version('wordllama')}, l2_supercat, 256 dimensions"
    return f"cosine, sentence-transformers {metadata.version('sentence-transformers')}, {model}"
