"""A suite: its cases, each with all that its turn needs, and its gates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_evals.case import Case
from pytest_evals.completion import Message
from pytest_evals.datasets.loading import load
from pytest_evals.datasets.rows import Dataset, Row
from pytest_evals.errors import DatasetError, EvalsError, GateError, SuiteError, did_you_mean
from pytest_evals.gates import Gate, has_value, parse_gate, resolve, unresolved
from pytest_evals.generation import GenerationParams, parse_generation
from pytest_evals.hashing import hashed_slug, row_id
from pytest_evals.media.sources import NOWHERE, Fetch, MediaPlaces
from pytest_evals.suites.conversation import CONVERSATION, RecordedCompletion, prompt_of, recorded_of
from pytest_evals.suites.declaration import EvalDeclaration
from pytest_evals.suites.fewshot import FewShot, read_fewshot
from pytest_evals.suites.skipping import check_skip, skip_reason
from pytest_evals.templates.rendering import render
from pytest_evals.text import pluralize


@dataclass(frozen=True, slots=True)
class Prepared:
    """A case with all that its turn needs. ``prompt`` is empty and ``problem`` says why, when the suite has no
    conversation for it.
    """

    case: Case
    prompt: tuple[Message, ...]
    recorded: str | RecordedCompletion | None
    params: GenerationParams
    problem: str | None = None
    cluster: str | None = None
    """What the case shares with others that belong together."""
    source: tuple[Path, int] | None = None
    """The file and the line of its row, where it has one: see `Dataset.source`."""
    places: MediaPlaces = NOWHERE
    """Where its images and audio are looked for."""
    skip: str | None = None
    """Why it does not run, where the suite says so. Nothing else of it is checked then."""


@dataclass(frozen=True, slots=True, eq=False)
class Suite:
    """One dataset under one declaration. ``cases`` keep the order of the rows."""

    declaration: EvalDeclaration
    dataset: Dataset
    cases: Mapping[str, Prepared]
    gates: tuple[Gate, ...]

    def check_gates(
        self,
        name: str,
        graders: Sequence[str],
        gates: Iterable[Gate],
        why_not: Callable[[str], str] = lambda _: "",
    ) -> None:
        """Raise `GateError` for a gate of this suite that names a grader, slice field or value that it does not have.
        ``why_not`` says why a name is not a grader.
        """
        for gate in gates:
            if resolve(gate, name, graders) is None:
                why = why_not(gate.target.rpartition(".")[2])
                raise GateError(
                    f"{self.declaration.place}: gate {gate.text!r}: {name} has {unresolved(gate, graders)}{why}"
                )
            if gate.slice:
                self._check_slice(gate, *gate.slice)

    def has_slice(self, field: str, value: str) -> bool:
        """Tell whether some row is in the slice."""
        return field not in CONVERSATION and any(has_value(row, field, value) for row in self.dataset.rows)

    def _check_slice(self, gate: Gate, field: str, value: str) -> None:
        fields = dict.fromkeys(name for row in self.dataset.rows for name in row if name not in CONVERSATION)
        if field not in fields:
            hint = did_you_mean(field, fields)
            raise GateError(
                f"{self.declaration.place}: gate {gate.text!r}: no row has a field {field!r} (fields: {', '.join(fields)}){hint}"
            )
        if not any(has_value(row, field, value) for row in self.dataset.rows):
            found = list(dict.fromkeys(str(row[field]) for row in self.dataset.rows if field in row))
            raise GateError(
                f"{self.declaration.place}: gate {gate.text!r}: no row has {field}={value} (values: {', '.join(found[:8])})"
            )


# -- A declaration -> its suite. Everything that can be wrong with it alone is found here, before any model loads.


def build_suite(declaration: EvalDeclaration, base: Path, limit: int | None, fetch: Fetch | None = None) -> Suite:
    """Read and check everything of a suite.

    ``base`` is the folder of the test file; ``limit`` is ``--evals-limit``: the smaller of it and
    the suite's own holds. ``fetch`` brings images and audio from addresses, `None` where that is not allowed.

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
    places = _media_places(dataset, base, fetch)
    fewshot = _fewshot(declaration, dataset, base)
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
        prepared[case.id] = _prepare(declaration, case, dataset.source(index), places, fewshot)
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
    "images": ((str, list, tuple), "a locator as 'item.photo', or a list of locators"),
    "tools": ((list, tuple, str), "a list of JSON schemas or Python functions, or a locator of one"),
}


def _check_declaration(declaration: EvalDeclaration) -> None:
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
    try:
        check_skip(declaration.skip)
    except EvalsError as error:
        raise type(error)(f"{place}: {error}") from error
    for argument in ("limit", "repeat"):
        number = getattr(declaration, argument)
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise SuiteError(f"{place}: {argument} must be a whole number of at least 1, not {number!r}")


def _media_places(dataset: Dataset, base: Path, fetch: Fetch | None) -> MediaPlaces:
    """Return where the media of rows are: below the test file's folder, as all paths of a suite, or below that of the data."""
    folders = [base] if dataset.path is None else [base, dataset.path.parent]
    return MediaPlaces(tuple(dict.fromkeys(folders)), fetch)


def _fewshot(declaration: EvalDeclaration, dataset: Dataset, base: Path) -> FewShot | None:
    try:
        return read_fewshot(declaration.fewshot, declaration.prompt, dataset, base)
    except EvalsError as error:
        raise type(error)(f"{declaration.place}: {error}") from error


def _prepare(
    declaration: EvalDeclaration,
    case: Case,
    source: tuple[Path, int] | None,
    places: MediaPlaces,
    fewshot: FewShot | None,
) -> Prepared:
    where = f"{declaration.place}: {case.place}"
    try:
        reason = skip_reason(declaration.skip, case.scope)
        if reason is not None:
            return Prepared(case, (), None, GenerationParams(), "is skipped", None, source, places, reason)
        recorded = recorded_of(case)
        prompt, problem = prompt_of(declaration, case, places, fewshot)
        params = parse_generation(generation_of(declaration, case))
        cluster = cluster_of(declaration, case)
    except EvalsError as error:
        raise type(error)(f"{where}: {error}") from error
    return Prepared(case, tuple(prompt), recorded, params, problem, cluster, source, places)


def generation_of(declaration: EvalDeclaration, case: Case) -> dict[str, Any]:
    """Return the generation parameters of a case as they are written, its tools among them. Raises `SuiteError` for tools in two
    places.
    """
    generation: dict[str, Any] = render(dict(declaration.generation or {}), case.scope)
    tools = declaration.tools
    if tools is None:
        return generation
    if "tools" in generation:
        raise SuiteError("give either tools= or generation={'tools': ...}, not both")
    # A schema is data: what looks like a template in one is part of it.
    if isinstance(tools, str):
        return {**generation, "tools": render(tools, case.scope)}
    return {
        **generation,
        "tools": [render(tool, case.scope) if isinstance(tool, str) else tool for tool in tools],
    }


# -- What a row says of its case besides the fields: its id, its files, its metadata, what it belongs to.


def case_ids(dataset: Dataset, declaration: EvalDeclaration, place: str) -> list[str]:
    """Return the id of each row: a hash joins it where ids that differ in the data would be the same.

    Raises `DatasetError` for a row without one, and for two that have the same.
    """
    field = declaration.id
    for row, row_place in zip(dataset.rows, dataset.places, strict=True):
        if field is not None and row.get(field) in (None, ""):
            hint = did_you_mean(field, row)
            raise DatasetError(f"{place}: {row_place}: no field {field!r} for the id (fields: {', '.join(row)}){hint}")
    ids = [row_id(row, field) for row in dataset.rows]
    if field is not None:
        ids = _told_apart(ids, [str(row[field]) for row in dataset.rows])
    seen: dict[str, int] = {}
    for index, (row, case_id) in enumerate(zip(dataset.rows, ids, strict=True)):
        if case_id in seen:
            first = dataset.places[seen[case_id]]
            what = f"the id {row[field]!r} (as {case_id!r})" if field is not None else "the same content"
            advice = "ids must be unique" if field is not None else "remove one, or name an id field with id="
            raise DatasetError(f"{place}: {first} and {dataset.places[index]} both have {what}; {advice}")
        seen[case_id] = index
    return ids


def _told_apart(ids: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Return the ids with a hash at those that several texts come to. A text that is its id already keeps it, so that no id
    depends on the order of the rows.
    """
    meant: dict[str, set[str]] = {}
    for case_id, text in zip(ids, texts, strict=True):
        meant.setdefault(case_id, set()).add(text)
    return [
        hashed_slug(text, case_id) if len(meant[case_id]) > 1 and text != case_id else case_id
        for case_id, text in zip(ids, texts, strict=True)
    ]


def files_of(declaration: EvalDeclaration, dataset: Dataset, index: int, base: Path) -> dict[str, Path]:
    """Return the files of a row, by name. Raises `SuiteError` where they are not declared as such or do not exist."""
    listed = declaration.files
    if listed is None:
        return {}
    if len(listed) != len(dataset.rows):
        raise SuiteError(
            f"{declaration.place}: files has {pluralize(len(listed), 'mapping')} for {pluralize(len(dataset.rows), 'row')}; there must be one a row"
        )
    if not isinstance(listed[index], Mapping):
        raise SuiteError(
            f"{declaration.place}: entry {index + 1} of files must be a mapping of name to path, not {type(listed[index]).__name__}"
        )
    paths = {name: base / path for name, path in listed[index].items()}
    for name, path in paths.items():
        if not path.is_file():
            raise SuiteError(f"{declaration.place}: {dataset.places[index]}: file {name!r} not found: {path}")
    return paths


def metadata_of(declaration: EvalDeclaration, row: Row, place: str) -> dict[str, Any]:
    """Return the metadata of a row over those of its suite. Raises `DatasetError` for what is not an object."""
    own = row.get("metadata") or {}
    if not isinstance(own, Mapping):
        raise DatasetError(
            f"{declaration.place}: {place}: the field 'metadata' must be an object, not {type(own).__name__}"
        )
    return {**(declaration.metadata or {}), **own}


def cluster_of(declaration: EvalDeclaration, case: Case) -> str | None:
    """Return what a case shares with others that belong together, `None` where the suite names no field for it. Raises
    `DatasetError` for a row without it.
    """
    field = declaration.cluster
    if field is None:
        return None
    value = case.get(field)
    if value is None or value == "":
        raise DatasetError(
            f"no field {field!r} for the cluster (fields: {', '.join(case)}){did_you_mean(field, case)}; every row needs one"
        )
    if not isinstance(value, (str, int, float)):
        raise DatasetError(
            f"the field {field!r} for the cluster must be a text or a number, not {type(value).__name__}"
        )
    return str(value)
