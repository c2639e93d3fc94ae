"""A declaration -> its suite. Everything that can be wrong with it alone is found here, before any model loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_evals.case import Case
from pytest_evals.conversation import prompt_of, recorded_of
from pytest_evals.datasets.loading import load
from pytest_evals.declaration import Declaration
from pytest_evals.errors import EvalsError, SuiteError
from pytest_evals.gates import parse_gate
from pytest_evals.generation import parse_generation
from pytest_evals.suites.rows import case_ids, cluster_of, files_of, metadata_of
from pytest_evals.suites.suite import Prepared, Suite
from pytest_evals.templates.rendering import render


def build_suite(declaration: Declaration, base: Path, limit: int | None) -> Suite:
    """Read and check everything of a suite.

    ``base`` is the folder of the test file; ``limit`` is ``--evals-limit``, of which and the suite's own the smaller
    one holds.

    Raises an `EvalsError` that names the place.
    """
    place = declaration.place
    _check_declaration(declaration)
    try:
        dataset = load(declaration.data, base)
        gates = tuple(parse_gate(text) for text in declaration.gates)
    except EvalsError as error:
        raise type(error)(f"{place}: {error}") from error
    sizes = [size for size in (declaration.limit, limit) if size is not None]
    size = min([*sizes, len(dataset.rows)])
    ids = case_ids(dataset, declaration, place)
    prepared: dict[str, Prepared] = {}
    for index in range(size):
        row = dataset.rows[index]
        case = Case(
            ids[index],
            row,
            files=files_of(declaration, dataset, index, base),
            metadata=metadata_of(declaration, row, dataset.places[index]),
            place=dataset.places[index],
        )
        prepared[case.id] = _prepare(declaration, case, dataset.source(index))
    return Suite(declaration, dataset, prepared, gates)


# What the arguments of ``cases`` may be, besides `None`, where a template or a file would only fail in obscure ways.
_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "system": (str, "a string"),
    "id": (str, "the name of a field"),
    "cluster": (str, "the name of a field"),
    "name": (str, "a string"),
    "generation": (Mapping, "a mapping of parameters"),
    "metadata": (Mapping, "a mapping"),
    "files": ((list, tuple), "a list with one mapping of name to path a row"),
}


def _check_declaration(declaration: Declaration) -> None:
    place = declaration.place
    for argument, (kinds, described) in _TYPES.items():
        value = getattr(declaration, argument)
        if value is not None and not isinstance(value, kinds):
            raise SuiteError(f"{place}: {argument} must be {described}, not {type(value).__name__}")
    if declaration.prompt is not None and declaration.messages is not None:
        raise SuiteError(f"{place}: give either prompt= or messages=, not both")
    if declaration.prompt is not None and not isinstance(declaration.prompt, str):
        raise SuiteError(
            f"{place}: prompt must be a string, not {type(declaration.prompt).__name__}; a conversation goes into messages="
        )
    for argument in ("limit", "repeat"):
        number = getattr(declaration, argument)
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise SuiteError(f"{place}: {argument} must be a whole number of at least 1, not {number!r}")


def _prepare(declaration: Declaration, case: Case, source: tuple[Path, int] | None) -> Prepared:
    where = f"{declaration.place}: {case.place}"
    try:
        recorded = recorded_of(case)
        prompt, problem = prompt_of(declaration, case)
        params = parse_generation(render(dict(declaration.generation or {}), case.scope))
        cluster = cluster_of(declaration, case)
    except EvalsError as error:
        raise type(error)(f"{where}: {error}") from error
    return Prepared(case, tuple(prompt), recorded, params, problem, cluster, source)
