"""A suite: a declaration with its rows read, its templates rendered and its gates parsed.

Everything that can be wrong with a suite is found here, while it is collected and before any model loads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_evals.case import Case
from pytest_evals.completion import Message
from pytest_evals.datasets import Dataset, Row, load
from pytest_evals.declaration import Declaration
from pytest_evals.errors import DatasetError, EvalsError, GateError, SuiteError, TemplateError, did_you_mean
from pytest_evals.gates import Gate, has_value, parse_gate, resolve, unresolved
from pytest_evals.generation import GenerationParams, parse_generation
from pytest_evals.ids import row_id
from pytest_evals.templates import holds, names_in, render, render_apart_from, render_text

CONVERSATION = ("messages", "completion")
"""Fields of a row that are the conversation itself; the others describe the case."""
ROLES = ("system", "user", "assistant", "tool", "developer")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A case with all that its turn needs. ``prompt`` is empty and ``problem`` says why, when the suite has no
    conversation for it.
    """

    case: Case
    prompt: tuple[Message, ...]
    recorded: str | None
    params: GenerationParams
    problem: str | None = None
    cluster: str | None = None
    """What the case shares with others that belong together."""


@dataclass(frozen=True, slots=True, eq=False)
class Suite:
    """One dataset under one declaration. ``cases`` keep the order of the rows."""

    declaration: Declaration
    dataset: Dataset
    cases: Mapping[str, Prepared]
    gates: tuple[Gate, ...]

    def check_gates(self, name: str, graders: Sequence[str], gates: Iterable[Gate]) -> None:
        """Raise `GateError` for a gate of this suite that names a grader, slice field or value that it does not have."""
        for gate in gates:
            if resolve(gate, name, graders) is None:
                raise GateError(f"{self.declaration.place}: gate {gate.text!r}: {name} has {unresolved(gate, graders)}")
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
    ids = _ids(dataset, declaration, place)
    prepared: dict[str, Prepared] = {}
    for index in range(size):
        row = dataset.rows[index]
        case = Case(
            ids[index],
            row,
            files=_files(declaration, dataset, index, base),
            metadata=_metadata(declaration, row, dataset.places[index]),
            place=dataset.places[index],
        )
        prepared[case.id] = _prepare(declaration, case)
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


def _ids(dataset: Dataset, declaration: Declaration, place: str) -> list[str]:
    field = declaration.id
    ids: list[str] = []
    seen: dict[str, int] = {}
    for index, row in enumerate(dataset.rows):
        if field is not None and row.get(field) in (None, ""):
            hint = did_you_mean(field, row)
            raise DatasetError(
                f"{place}: {dataset.places[index]}: no field {field!r} for the id (fields: {', '.join(row)}){hint}"
            )
        case_id = row_id(row, field)
        if case_id in seen:
            first = dataset.places[seen[case_id]]
            what = f"the id {row[field]!r} (as {case_id!r})" if field is not None else "the same content"
            advice = "ids must be unique" if field is not None else "remove one, or name an id field with id="
            raise DatasetError(f"{place}: {first} and {dataset.places[index]} both have {what}; {advice}")
        seen[case_id] = index
        ids.append(case_id)
    return ids


def _files(declaration: Declaration, dataset: Dataset, index: int, base: Path) -> dict[str, Path]:
    listed = declaration.files
    if listed is None:
        return {}
    if len(listed) != len(dataset.rows):
        raise SuiteError(
            f"{declaration.place}: files has {len(listed)} entries for {len(dataset.rows)} rows; there must be one a row"
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


def _metadata(declaration: Declaration, row: Row, place: str) -> dict[str, Any]:
    own = row.get("metadata") or {}
    if not isinstance(own, Mapping):
        raise DatasetError(
            f"{declaration.place}: {place}: the field 'metadata' must be an object, not {type(own).__name__}"
        )
    return {**(declaration.metadata or {}), **own}


def _prepare(declaration: Declaration, case: Case) -> Prepared:
    where = f"{declaration.place}: {case.place}"
    try:
        recorded = _recorded(case)
        prompt, problem = _prompt(declaration, case)
        params = parse_generation(render(dict(declaration.generation or {}), case.scope))
        cluster = _cluster(declaration, case)
    except EvalsError as error:
        raise type(error)(f"{where}: {error}") from error
    return Prepared(case, tuple(prompt), recorded, params, problem, cluster)


def _cluster(declaration: Declaration, case: Case) -> str | None:
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


def _recorded(case: Case) -> str | None:
    recorded = case.get("completion")
    if recorded is not None and not isinstance(recorded, str):
        raise DatasetError(f"the field 'completion' must be the recorded text, not {type(recorded).__name__}")
    return recorded


def _prompt(declaration: Declaration, case: Case) -> tuple[list[Message], str | None]:
    """Return the conversation of the case, or none and why there is none."""
    if declaration.prompt is not None:
        messages: object = [{"role": "user", "content": render_text(declaration.prompt, case.scope)}]
    elif declaration.messages is not None:
        messages = _render_messages(declaration.messages, case)
    elif "messages" in case:
        messages = case["messages"]
    else:
        return [], "has no prompt: give cases(..., prompt=...) or messages=, or rows with a 'messages' field"
    checked = check_messages(messages)
    if declaration.system is not None:
        system = {"role": "system", "content": render_text(declaration.system, case.scope)}
        checked = [system, *(message for message in checked if message["role"] != "system")]
    return checked, None


def _render_messages(messages: str | Sequence[Mapping[str, Any]], case: Case) -> object:
    if isinstance(messages, str):
        return render(messages, case.scope)
    rendered = []
    for message in messages:
        if not isinstance(message, Mapping):
            raise SuiteError(f"messages must be a list of {{'role', 'content'}}, found {type(message).__name__}")
        content = message.get("content")
        text = render_text(content, case.scope) if isinstance(content, str) else content
        rendered.append(
            {**render({key: value for key, value in message.items() if key != "content"}, case.scope), "content": text}
        )
    return rendered


def check_messages(messages: object) -> list[Message]:
    """Return the conversation. Raises `DatasetError` unless it is a list of messages with a known role and a text."""
    if not isinstance(messages, (list, tuple)) or not messages:
        raise DatasetError(
            f"messages must be a list of {{'role', 'content'}} with at least one entry, not {messages!r:.80}"
        )
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise DatasetError(f"message {number} must be an object with 'role' and a text 'content'")
        if message.get("role") not in ROLES:
            raise DatasetError(f"message {number} has the role {message.get('role')!r} (known: {', '.join(ROLES)})")
    return [dict(message) for message in messages]


def check_settings(
    suite: Suite,
    grader: str,
    settings: object,
    check: Callable[[Mapping[str, Any]], object] | None = None,
    later: Collection[str] = (),
    among: Collection[str] | None = None,
) -> None:
    """Raise `TemplateError` when a template in a grader's settings names a field that some case of the suite lacks, and what
    ``check`` raises of the settings as they are for a case. ``later``: names that have values only when the grader runs.
    ``among``: the ids of the cases to which the grader applies, if not to all.
    """
    later = names_in(settings) & set(later)
    for prepared in suite.cases.values():
        if among is not None and prepared.case.id not in among:
            continue
        try:
            rendered = render_apart_from(settings, prepared.case.scope, later)
            if check is not None and not later:
                check(rendered)
        except (SuiteError, TemplateError) as error:
            raise type(error)(f"{suite.declaration.place}: {prepared.case.place}: grader {grader}: {error}") from error


def applies(suite: Suite, where: str, condition: str) -> frozenset[str]:
    """Return the ids of the cases for which a ``run_if`` holds. Raises `TemplateError` when it cannot be told for some."""
    found = set()
    for prepared in suite.cases.values():
        try:
            if holds(condition, prepared.case.scope):
                found.add(prepared.case.id)
        except TemplateError as error:
            raise TemplateError(f"{suite.declaration.place}: {prepared.case.place}: {where}: {error}") from error
    return frozenset(found)


def check_asks(suite: Suite, grader: str, asks: Callable[[Mapping[str, Any]], object]) -> None:
    """Raise `SuiteError` when the texts whose likelihood a grader asks for make no sense for some case."""
    for prepared in suite.cases.values():
        try:
            asks(prepared.case.scope)
        except SuiteError as error:
            raise SuiteError(f"{suite.declaration.place}: {prepared.case.place}: grader {grader}: {error}") from error
